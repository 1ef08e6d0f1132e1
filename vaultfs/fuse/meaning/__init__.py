"""What each request of the kernel means: plain calls over the tree, for both lanes.

They take and return plain values, never wait, and raise `OSError` with the errno the caller gets, or `NotHereError`
when what they need has to be fetched first. A lane decodes a request, calls one of them, and encodes what it returns.
"""

from __future__ import annotations

from vaultfs.fuse.meaning.attributes import AttributeCalls
from vaultfs.fuse.meaning.base import PERMISSIONS, ROOT, VIRTUAL, Caller, Node
from vaultfs.fuse.meaning.directories import DirectoryCalls
from vaultfs.fuse.meaning.files import FileCalls
from vaultfs.fuse.meaning.names import NameCalls


class Meaning(NameCalls, FileCalls, DirectoryCalls, AttributeCalls):
    """All that the kernel may ask of one mounted tree."""


__all__ = ["PERMISSIONS", "ROOT", "VIRTUAL", "Caller", "Meaning", "Node"]
