"""Where the ciphertext goes: put whole object, get range, list prefix, delete. The only room that knows rclone."""

from vaultfs.remote.base import Backend, Entry, Progress, Room
from vaultfs.remote.opening import open_remote
from vaultfs.remote.remote import Limits, Remote, Requests

__all__ = ["Backend", "Entry", "Limits", "Progress", "Remote", "Requests", "Room", "open_remote"]
