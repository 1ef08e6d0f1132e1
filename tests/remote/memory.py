"""A store in memory: the shortest backend that keeps the contract, for tests on a virtual clock."""

from __future__ import annotations

from pathlib import Path

import trio

from vaultfs.errors import RemoteGoneError, RemoteObjectMissingError
from vaultfs.remote import Backend, Entry


class MemoryBackend(Backend):
    """Whole objects in a dictionary."""

    def __init__(self, label: str = "memory", *, created: bool = True) -> None:
        self.label = label
        self.objects: dict[str, bytes] | None = {} if created else None

    def _there(self) -> dict[str, bytes]:
        if self.objects is None:
            raise RemoteGoneError(remote=self.label, detail="it was never made")
        return self.objects

    async def put(self, name: str, data: bytes | Path) -> None:
        await trio.lowlevel.checkpoint()
        self._there()[name] = content_of(data)

    async def get(self, name: str, offset: int, length: int | None) -> bytes:
        await trio.lowlevel.checkpoint()
        if name not in self._there():
            raise RemoteObjectMissingError(remote=self.label, object=name)
        return self._there()[name][offset : None if length is None else offset + length]

    async def list(self, prefix: str) -> list[Entry]:
        await trio.lowlevel.checkpoint()
        below = f"{prefix}/" if prefix else ""
        return [Entry(name, len(data)) for name, data in self._there().items() if name.startswith(below)]

    async def delete(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        self._there().pop(name, None)

    async def create(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.objects is None:
            self.objects = {}


def content_of(data: bytes | Path) -> bytes:
    """What a put is to store."""
    return data.read_bytes() if isinstance(data, Path) else data
