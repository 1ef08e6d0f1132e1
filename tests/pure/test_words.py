"""Recovery words: written down, typed again, mistyped."""

from __future__ import annotations

import random

import pytest

from vaultfs.crypto.words import COUNT, _word_list, new_words, parse_words
from vaultfs.errors import RecoveryWordsError

WORDS = new_words()


def test_thirteen_different_each_time() -> None:
    assert len(WORDS.split()) == COUNT == 13
    assert new_words() != new_words()
    assert len(_word_list()) == 2048
    assert len({word[:4] for word in _word_list()}) == 2048


def test_as_people_type_them() -> None:
    for text in (
        WORDS,
        WORDS.upper(),
        "  " + WORDS.replace(" ", "\n "),
        WORDS.replace(" ", ", "),
        " ".join(word[:4] for word in WORDS.split()),
    ):
        assert parse_words(text) == WORDS


def test_one_mistyped() -> None:
    words, chance = WORDS.split(), random.Random(1)
    noticed = 0
    for _ in range(300):
        place = chance.randrange(COUNT)
        other = chance.choice([word for word in _word_list() if word != words[place]])
        try:
            parse_words(" ".join([*words[:place], other, *words[place + 1 :]]))
        except RecoveryWordsError as error:
            assert "mistyped" in str(error)  # noqa: PT017 - a rare miss is allowed, see below
            noticed += 1
    assert noticed >= 298  # one in 2048 passes the check word, and is then "not this vault's"


def test_not_in_the_list() -> None:
    words = WORDS.split()
    for wrong in ("xyzzy", words[4] + "x", "abandonn", "a", "é", "\0"):
        with pytest.raises(RecoveryWordsError, match="word 5 ") as caught:
            parse_words(" ".join([*words[:4], wrong, *words[5:]]))
        assert wrong == "a" or wrong not in str(caught.value)  # words are secret, even wrong ones


@pytest.mark.parametrize("count", [0, 1, 12, 14, 24])
def test_wrong_number(count: int) -> None:
    with pytest.raises(RecoveryWordsError, match=f"{count} of them") as caught:
        parse_words(" ".join(["zoo"] * count))
    assert ("seed phrase" in str(caught.value)) == (count in {12, 24})
