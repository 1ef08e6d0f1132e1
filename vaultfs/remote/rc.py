"""rclone's remote control: calls with JSON in and out, and objects by GET (`--rc-serve`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from vaultfs.remote.http import Connections, HttpError, Response

if TYPE_CHECKING:
    from collections.abc import Mapping

OK = 200
PARTIAL = 206
RANGE_NOT_SATISFIABLE = 416
_JSON = [("Content-Type", "application/json")]


@dataclass
class RcloneFault(Exception):  # noqa: N818 - what rclone calls an error; `faults.py` makes one of ours of it
    """rclone answered that it failed: HTTP status and its words."""

    status: int
    text: str


class Failure(msgspec.Struct):
    """The JSON rclone sends with an error status. Its other fields repeat our parameters, which may hold secrets."""

    error: str = ""


class RemoteControl:
    """Calls to one running rclone. Raises RcloneFault, or HttpError where no whole answer came."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def call(self, command: str, **parameters: Any) -> Any:
        """The decoded answer to `command`, such as operations/list."""
        body = msgspec.json.encode(parameters)
        response = await self._connections.request("POST", f"/{command}", _JSON, body)
        if response.status != OK:
            raise _fault(response)
        try:
            return msgspec.json.decode(response.body)
        except msgspec.DecodeError as error:
            raise HttpError("rclone's answer is no JSON") from error

    async def read(self, fs: str, name: str, offset: int, length: int | None) -> bytes:
        """The bytes of an object, as `Backend.get`."""
        end = "" if length is None else str(offset + length - 1)
        headers = [("Range", f"bytes={offset}-{end}")] if offset or length is not None else []
        # A store that does not know ranges sends everything: then what is wanted stands behind `offset`.
        enough = None if length is None else offset + length
        response = await self._connections.request("GET", f"/[{quote(fs)}]/{quote(name)}", headers, enough=enough)
        if response.status == RANGE_NOT_SATISFIABLE or _begins_behind_the_end(response.headers, offset):
            return b""
        if response.status not in {OK, PARTIAL}:
            raise _fault(response)
        data = response.body
        if response.status == OK and headers:
            data = data[offset:]
        return data if length is None else data[:length]

    async def close(self) -> None:
        """Hang up."""
        await self._connections.close()


def _begins_behind_the_end(headers: Mapping[str, str], offset: int) -> bool:
    # rclone names the size and then asks the store for the impossible range, which each refuses in its own words
    total = headers.get("content-range", "").rpartition("/")[2]
    return total.isdigit() and offset >= int(total)


def _fault(response: Response) -> RcloneFault:
    try:
        text = msgspec.json.decode(response.body, type=Failure).error
    except msgspec.MsgspecError:
        text = response.body[:200].decode("utf-8", "replace")
    return RcloneFault(response.status, text.strip() or f"HTTP status {response.status}")
