"""Who wrote last below a directory, with few nodes read."""

from __future__ import annotations

import random

from msgspec.structs import replace

from tests.support.nodes import MemoryNodes
from tests.sync.pictures import DEVICES, KEY, directory, file
from vaultfs.format.node import Commit, Dot, Element, Entry
from vaultfs.format.node_codec import encode_node
from vaultfs.format.node_trie import Trie
from vaultfs.sync.touched import Write, top_names, touches

A, B = DEVICES[:2]


class Counted(MemoryNodes):
    """Counts the nodes that are read."""

    def __init__(self) -> None:
        super().__init__(KEY)
        self.reads = 0

    def get(self, node_id: bytes, /) -> bytes:
        self.reads += 1
        return super().get(node_id)


def test_the_last_write_of_each_device_is_found_by_reading_the_way_to_it() -> None:
    nodes, rnd = Counted(), random.Random(4)
    of = Trie(nodes)
    inside: list[Entry] = []
    expected: dict[bytes, Write] = {}
    for outer in range(20):
        entries = []
        for number in range(300):
            device, counter = rnd.choice((A, B)), rnd.randint(1, 1 << 40)
            name = b"f%d" % number
            element: Element = replace(file(name.ljust(16), b"x", dot=Dot(device, counter)), time=counter * 7)
            entries.append(Entry(name, (element,), None))
            if counter > expected.get(device, Write(0, 0)).counter:
                expected[device] = Write(counter, counter * 7)
        name = b"d%d" % outer
        inside.append(Entry(name, (directory(name.ljust(16), dot=Dot(A, 1)),), of.build(entries)))
    agent = Entry(b"hermes", (directory(b"hermes".ljust(16), dot=Dot(A, 1)),), of.build(inside))
    plain = Entry(b"plain", (replace(file(b"plain".ljust(16), b"x", dot=Dot(B, 3)), time=5),), None)
    root = nodes.put(encode_node(Commit((), of.build([agent, plain]), None)))

    nodes.reads = 0
    assert touches(nodes, root, (b"hermes",), [], but=b"", exact=True) == expected
    assert nodes.reads < 30, "of some hundred"
    assert touches(nodes, root, (b"hermes",), [], but=A, exact=True) == {B: expected[B]}
    nodes.reads = 0
    known = {B: expected[B]._replace(time=77)}
    assert touches(nodes, root, (b"hermes",), [known], but=A, exact=True) == known
    assert touches(nodes, root, (b"hermes",), [], but=A, exact=False) == {B: expected[B]._replace(time=0)}
    assert nodes.reads < 10, "the top alone"
    assert touches(nodes, root, (b"plain",), [], but=A, exact=True) == {B: Write(3, 5)}
    assert touches(nodes, root, (b"none", b"x"), [], but=A, exact=True) == {}
    assert top_names(nodes, root, 9) == [b"hermes"]
