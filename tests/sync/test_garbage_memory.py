"""Since when something is not needed, as one machine remembers it."""

from __future__ import annotations

from vaultfs.sync.garbage_memory import APART, Memory


def test_the_grace_counts_from_when_something_was_first_seen() -> None:
    memory = Memory().look({"x"}, 10).look({"x", "y"}, 20)
    assert memory.since == {"x": 10, "y": 20}
    assert memory.look({"y"}, 30).since == {"y": 20}
    assert memory.look({"x"}, 5).since == {"x": 5}, "a clock that goes back"
    assert memory.without({"x"}).since == {"y": 20}


def test_what_was_needed_in_between_begins_anew() -> None:
    memory = Memory().look({"x"}, 10).look((), 20)
    assert memory.look({"x"}, 30).since == {"x": 30}


def test_looks_that_are_further_apart_than_late_heads_stay_say_nothing_of_the_time_between_them() -> None:
    memory = Memory().look({"x"}, 10)
    assert memory.look({"x"}, 10 + APART).since == {"x": 10}
    assert memory.look({"x"}, 11 + APART).since == {"x": 11 + APART}
