"""The two records of the FUSE handshake: the kernel's INIT request and the server's reply (linux/fuse.h).

Pure functions over bytes. Lengths are checked before anything is taken from a record.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

OPCODE_INIT = 26
MAJOR = 7
OLDEST_MINOR = 23  # replies before 7.23 are shorter; libfuse 3 needs newer ones anyway

PARALLEL_DIROPS = 1 << 18
ATOMIC_O_TRUNC = 1 << 3
DONT_MASK = 1 << 6
AUTO_INVAL_DATA = 1 << 12
WRITEBACK_CACHE = 1 << 16
POSIX_ACL = 1 << 20
CACHE_SYMLINKS = 1 << 23
HANDLE_KILLPRIV_V2 = 1 << 28
INIT_EXT = 1 << 30

_IN_HEADER = struct.Struct("=IIQQIIII")
_INIT_IN = struct.Struct("=IIII")
_INIT_IN_FLAGS2 = struct.Struct("=I")
_OUT_HEADER = struct.Struct("=IiQ")
_INIT_OUT = struct.Struct("=IIIIHHIIHHI")
_INIT_OUT_BYTES = 64
REPLY_BYTES = _OUT_HEADER.size + _INIT_OUT_BYTES


# What a kernel may lack, and what is less without it.
_USEFUL = {
    HANDLE_KILLPRIV_V2: "HANDLE_KILLPRIV_V2: each write asks for capabilities first",
    WRITEBACK_CACHE: "WRITEBACK_CACHE: each write waits for its answer",
    PARALLEL_DIROPS: "PARALLEL_DIROPS: names in one directory are looked up one after the other",
    CACHE_SYMLINKS: "CACHE_SYMLINKS: links are asked for each time",
    POSIX_ACL: "POSIX_ACL: no access control lists",
}


def missing(offered: int) -> list[str]:
    """What would be useful and is not among the flags that a kernel offers, in words for `status`."""
    return [text for flag, text in _USEFUL.items() if not offered & flag]


class ProtocolError(ValueError):
    """A record that is not what the protocol says it must be."""


@dataclass(frozen=True, slots=True)
class InitRequest:
    """What the kernel offers. `flags` are 64 bits: the second word of newer kernels is the upper half."""

    unique: int
    major: int
    minor: int
    max_readahead: int
    flags: int


def decode_request(record: bytes) -> InitRequest:
    """The kernel's INIT; raises ProtocolError for anything else."""
    if len(record) < _IN_HEADER.size + _INIT_IN.size:
        raise ProtocolError(f"an INIT request of {len(record)} bytes is too short")
    length, opcode, unique, *_ = _IN_HEADER.unpack_from(record)
    if length != len(record):
        raise ProtocolError(f"the INIT request says {length} bytes and has {len(record)}")
    if opcode != OPCODE_INIT:
        raise ProtocolError(f"the first request is {opcode}, not INIT")
    major, minor, max_readahead, flags = _INIT_IN.unpack_from(record, _IN_HEADER.size)
    if major != MAJOR or minor < OLDEST_MINOR:
        raise ProtocolError(f"the kernel speaks version {major}.{minor}")
    more_at = _IN_HEADER.size + _INIT_IN.size
    if flags & INIT_EXT and len(record) >= more_at + _INIT_IN_FLAGS2.size:
        flags |= _INIT_IN_FLAGS2.unpack_from(record, more_at)[0] << 32
    return InitRequest(unique, major, minor, max_readahead, flags)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to change in the reply: flags to add if the kernel offers them, flags to take out, queue lengths."""

    add: int = 0
    remove: int = 0
    max_background: int = 512
    congestion_threshold: int = 384


def max_write(reply: bytes) -> int:
    """The most bytes that the kernel may send in one WRITE, by an INIT reply that `amend_reply` has looked at."""
    return int(_INIT_OUT.unpack_from(reply, _OUT_HEADER.size)[6])


def amend_reply(reply: bytes, request: InitRequest, wishes: Wishes) -> tuple[bytes, int]:
    """The server's INIT reply with the wishes in it, and the flags that now stand there; raises ProtocolError."""
    if len(reply) != REPLY_BYTES:
        raise ProtocolError(f"an INIT reply of {len(reply)} bytes, not {REPLY_BYTES}")
    length, error, unique = _OUT_HEADER.unpack_from(reply)
    if length != len(reply) or unique != request.unique:
        raise ProtocolError("the INIT reply does not belong to the request")
    if error:
        raise ProtocolError(f"the INIT request was refused with {error}")
    fields = list(_INIT_OUT.unpack_from(reply, _OUT_HEADER.size))
    if fields[0] != MAJOR:
        raise ProtocolError(f"the INIT reply speaks version {fields[0]}.{fields[1]}")
    # Flags past the 32nd live in another word, and we have no use for one of them.
    flags = (fields[3] | (wishes.add & request.flags & 0xFFFFFFFF)) & ~wishes.remove
    fields[3] = flags
    fields[4], fields[5] = wishes.max_background, wishes.congestion_threshold
    body_at = _OUT_HEADER.size
    amended = _INIT_OUT.pack(*fields)
    return reply[:body_at] + amended + reply[body_at + len(amended) :], flags
