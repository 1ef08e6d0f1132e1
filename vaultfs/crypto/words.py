"""Recovery words: twelve random ones from the English BIP-39 list and a thirteenth that checks them.

The list is BIP-39's because its words are easy to read aloud and differ in their first four letters. Thirteen
words are no BIP-39 phrase, so a vault's words and a wallet's seed phrase cannot be taken for each other.
"""

from __future__ import annotations

import secrets
from functools import cache

from blake3 import blake3

from vaultfs.errors import RecoveryWordsError

COUNT = 13
_PREFIX_LETTERS = 4


def new_words() -> str:
    """Thirteen words, 132 bits of chance, in lower case with single spaces."""
    chosen = [secrets.choice(_word_list()) for _ in range(COUNT - 1)]
    return " ".join([*chosen, _check_word(chosen)])


def parse_words(text: str) -> str:
    """The words as `new_words` writes them. Case and commas don't matter; four letters a word will do.

    Raises:
        RecoveryWordsError: how many, which is in no list, or that one was mistyped. Does not repeat any word.
    """
    given = text.replace(",", " ").lower().split()
    if len(given) != COUNT:
        hint = "; a wallet's seed phrase does not belong here" if len(given) in {12, 24} else ""
        raise RecoveryWordsError(detail=f"there are {len(given)} of them instead of {COUNT}{hint}")
    words = [_complete(word, place) for place, word in enumerate(given, 1)]
    if words[-1] != _check_word(words[:-1]):
        raise RecoveryWordsError(detail="one is mistyped, or two are in the wrong order")
    return " ".join(words)


def _complete(word: str, place: int) -> str:
    """The list's word for `word`, which may be cut to its first four letters."""
    full = _by_prefix().get(word[:_PREFIX_LETTERS])
    if full is None or not full.startswith(word):
        raise RecoveryWordsError(detail=f"word {place} is not one of the list")
    return full


def _check_word(words: list[str]) -> str:
    digest = blake3(" ".join(words).encode(), derive_key_context="vaultfs/1 recovery words check").digest()
    return _word_list()[int.from_bytes(digest[:2], "little") % len(_word_list())]


@cache
def _word_list() -> list[str]:
    from mnemonic import Mnemonic  # noqa: PLC0415 - only few runs of the program need words

    return list(Mnemonic("english").wordlist)


@cache
def _by_prefix() -> dict[str, str]:
    return {word[:_PREFIX_LETTERS]: word for word in _word_list()}
