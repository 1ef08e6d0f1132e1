"""A machine that is set back to an older image makes files again where it had made others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.machines.test_two import settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machines.computer import Computer

pytestmark = pytest.mark.trio


async def test_files_of_before_and_after_are_not_one(computer: Callable[[str], Computer]) -> None:
    """They had one inode number, hence one id, and counted as two names of one file."""
    a, b = computer("a"), computer("b")
    await a.begin()
    await a.sync()
    image = a.image()
    await a.write("before", b"1")
    await a.sync()
    a.restore(image)
    await a.write("after", b"2")
    await a.begin()
    await b.begin()
    assert await settle(a, b) == {"before": b"1", "after": b"2"}
    await b.write("before", b"3")
    await b.write("after", b"4")
    assert await settle(b, a) == {"before": b"3", "after": b"4"}
    await a.write("before", b"5")
    assert await settle(a, b) == {"before": b"5", "after": b"4"}


async def test_a_file_keeps_its_id_when_its_machine_starts_again(computer: Callable[[str], Computer]) -> None:
    a = computer("a")
    ids = {}
    for number in range(3):
        await a.write(f"f{number}", b"x")
        await a.commit()
        ids[number] = a.tree.state.file_ids.of(a.tree.inode(await a.find(f"f{number}")))
        for _ in range(2):
            a.crash()
    assert ids == {n: a.tree.state.file_ids.of(a.tree.inode(await a.find(f"f{n}"))) for n in ids}
    assert len(set(ids.values())) == 3
