"""Version vectors: for every device the highest commit that is included."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaultfs.format.node import Dot, ElementBase, Ref

Vector = dict[bytes, int]


def covers(vector: Mapping[bytes, int], dot: Dot) -> bool:
    """Whether who has `vector` has seen that commit."""
    return vector.get(dot[0], 0) >= dot[1]


def includes(a: Mapping[bytes, int], b: Mapping[bytes, int]) -> bool:
    """Whether who has `a` has seen everything that `b` counts."""
    return all(a.get(device, 0) >= counter for device, counter in b.items())


def joined(a: Mapping[bytes, int], b: Mapping[bytes, int]) -> Vector:
    """What both have seen, together."""
    return {device: max(a.get(device, 0), b.get(device, 0)) for device in sorted(a.keys() | b.keys())}


def stepped(vector: Mapping[bytes, int], device: bytes, number: int) -> Vector:
    """What a commit of that number has seen that its device makes on top of this."""
    return dict(sorted({**vector, device: number}.items()))


def knows(vector: Mapping[bytes, int], element: ElementBase) -> bool:
    """Whether who has `vector` has seen this element: if it is not in their tree, they took it away."""
    return covers(vector, element.version) and (element.placed is None or covers(vector, element.placed))


def knows_all(vector: Mapping[bytes, int], ref: Ref) -> bool:
    """Whether every element below is known, told from the reference alone. False may also mean: look."""
    if ref.stamp is not None and not covers(vector, ref.stamp):
        return False
    return all(vector.get(span.device, 0) >= span.high for span in ref.versions) and all(
        covers(vector, dot) for dot in ref.placed
    )


def knows_none(vector: Mapping[bytes, int], ref: Ref) -> bool:
    """Whether no element below is known, told from the reference alone. False may also mean: look."""
    if ref.stamp is not None and not covers(vector, ref.stamp):
        return True
    return all(vector.get(span.device, 0) < span.low for span in ref.versions)
