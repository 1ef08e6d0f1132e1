"""Sets of elements: what merging does with them, and which one is in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultfs.format.node import Directory, Dot, Unit
from vaultfs.format.node_codec import encode_element, order
from vaultfs.sync.vectors import knows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vaultfs.format.node import Element, Entry

Identity = tuple[Dot, Dot | None, bytes]


def identity(element: Element) -> Identity:
    """What makes two elements the same: both dots and the file, as one commit may place two files at one name."""
    return element.version, element.placed, element.id


def sorted_elements(elements: Iterable[Element]) -> tuple[Element, ...]:
    """In their order, each once."""
    return tuple(sorted(set(elements), key=order))


def merged(
    a: tuple[Element, ...], b: tuple[Element, ...], vector_a: Mapping[bytes, int], vector_b: Mapping[bytes, int]
) -> tuple[Element, ...]:
    """What both have, and what one has and the other does not know."""
    if a == b:
        return a
    in_a, in_b = {identity(element) for element in a}, {identity(element) for element in b}
    kept = [element for element in a if identity(element) in in_b or not knows(vector_b, element)]
    kept += [element for element in b if identity(element) in in_a or not knows(vector_a, element)]
    return sorted_elements(kept)


def newness(element: Element) -> tuple[object, ...]:
    """Orders by time, then dots: a total order, the same on every machine."""
    return element.time, element.version, element.placed or (), element.id, encode_element(element)


def in_place(entry: Entry) -> Element | None:
    """What is seen under the name: the newest element, but a directory before everything else.

    None when there is something below and no element of a directory: a directory that one side removed while the
    other put something into it. What is in a directory must be reachable, so a file never stands in its place.
    """
    directories = [element for element in entry.elements if isinstance(element, Directory | Unit)]
    if directories:
        return max(directories, key=newness)
    return None if entry.below is not None else max(entry.elements, key=newness)


def siblings(entry: Entry) -> list[Element]:
    """The conflicts of the name: what is not in place. A directory's attributes are none: the newest count."""
    chosen = in_place(entry)
    return [element for element in entry.elements if element is not chosen and not isinstance(element, Directory)]


def is_loose(entry: Entry) -> bool:
    """Whether what is below the name is a conflict as a whole: a unit is in place, and does not include it."""
    return entry.below is not None and isinstance(in_place(entry), Unit)
