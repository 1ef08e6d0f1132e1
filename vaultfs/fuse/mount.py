"""Attaching to a mount point and letting go of it: our own `/dev/fuse` descriptor, so the unmount is ours too."""

from __future__ import annotations

import array
import errno
import os
import shutil
import socket
import stat
import subprocess

from vaultfs.errors import (
    BusyError,
    MountPointError,
    MountPointNotEmptyError,
    NoFuseError,
    NotMountedError,
    UsageError,
)
from vaultfs.fuse import kernel, mountinfo
from vaultfs.fuse.options import MountOptions

__all__ = ["MountOptions", "attach", "check_mountpoint", "detach", "is_mounted", "plain_words", "resolve"]

DEVICE = "/dev/fuse"
SUBTYPE = "vaultfs"
_HELPER_SECONDS = 30.0
_UNMOUNT_SECONDS = 600.0  # the kernel hands over its dirty pages first


def resolve(mountpoint: str | os.PathLike[str]) -> str:
    """The absolute path with symbolic links resolved, without touching the (perhaps dead) mount itself."""
    parent, name = os.path.split(os.path.abspath(os.fspath(mountpoint)))  # noqa: PTH100  pathlib would stat
    path = os.path.join(os.path.realpath(parent), name)  # noqa: PTH118
    try:
        if os.path.islink(path):  # noqa: PTH114
            return os.path.realpath(path)
    except OSError:
        pass
    return path


def is_mounted(mountpoint: str | os.PathLike[str]) -> bool:
    """Whether one of our mounts, alive or dead, is at this place."""
    return mountinfo.vault_at(resolve(mountpoint)) is not None


def check_mountpoint(mountpoint: str) -> list[str]:
    """Make sure we can mount at the resolved path; returns sentences about what had to be cleaned up.

    A dead vault (its daemon is gone) left there is unmounted. Raises MountPointError and
    MountPointNotEmptyError.
    """
    notes = []
    while True:
        try:
            found = _ask(mountpoint)
            break
        except OSError as error:
            if error.errno not in {errno.ENOTCONN, errno.ECONNABORTED}:
                raise MountPointError(path=mountpoint, detail=_reason(error)) from error
        if mountinfo.vault_at(mountpoint) is None:
            raise MountPointError(path=mountpoint, detail="a dead mount of another file system is there")
        detach(mountpoint, lazy=True)
        notes.append(f"A dead mount left at {mountpoint} was removed.")
    if not stat.S_ISDIR(found.st_mode):
        raise MountPointError(path=mountpoint, detail="it is not a directory")
    if mountinfo.vault_at(mountpoint) is not None:
        raise MountPointError(path=mountpoint, detail="a vault is mounted there already")
    try:
        with os.scandir(mountpoint) as entries:
            if next(entries, None) is not None:
                raise MountPointNotEmptyError(path=mountpoint)
    except OSError as error:
        raise MountPointError(path=mountpoint, detail=_reason(error)) from error
    return notes


def _ask(mountpoint: str) -> os.stat_result:
    """What is there; raises OSError, ENOTCONN for a dead mount."""
    if mountinfo.vault_at(mountpoint) is not None:
        try:
            # The kernel may remember a dead mount's attributes; this it always asks the daemon.
            os.statvfs(mountpoint)
        except OSError as error:
            if error.errno in {errno.ENOTCONN, errno.ECONNABORTED}:
                raise
    return os.stat(mountpoint)  # noqa: PTH116


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "it does not exist"
    if error.errno == errno.ENOTDIR:
        return "it is not a directory"
    return (error.strerror or str(error)).lower()


def attach(mountpoint: str, options: MountOptions) -> int:
    """Mount and return the descriptor of the connection (close-on-exec, blocking).

    The kernel's INIT request waits on it; until it is answered, whoever enters the mount waits too. Raises
    NoFuseError, MountPointError.
    """
    if os.geteuid() == 0:
        try:
            return _attach_as_root(mountpoint, options)
        except PermissionError:
            # Root of a container that may not mount; the helper may still be allowed to.
            if shutil.which("fusermount3") is None:
                raise NoFuseError(detail="this process is not allowed to mount") from None
    return _attach_by_helper(mountpoint, options)


def plain_words(options: MountOptions) -> set[str]:
    """The `-o` words for libfuse, where it does the mounting itself."""
    return {f"fsname={options.source}", f"subtype={SUBTYPE}", *options.fusermount_words()}


def _open_device() -> int:
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise NoFuseError(detail=f"{DEVICE}: {(error.strerror or str(error)).lower()}") from error


def _attach_as_root(mountpoint: str, options: MountOptions) -> int:
    device = _open_device()
    data = f"fd={device},rootmode={stat.S_IFDIR:o},user_id=0,group_id={os.getgid()}"
    data += ",default_permissions" if options.permissions else ""
    data += ",allow_other" if options.allow_other else ""
    try:
        kernel.mount(options.source, mountpoint, mountinfo.FILESYSTEM_TYPE, options.kernel_flags(), data)
    except OSError as error:
        os.close(device)
        if error.errno == errno.EPERM:
            raise
        if error.errno == errno.ENODEV:
            raise NoFuseError(detail="the kernel has no FUSE") from error
        raise MountPointError(path=mountpoint, detail=_reason(error)) from error
    return device


def _helper() -> str:
    path = shutil.which("fusermount3")
    if path is None:
        raise NoFuseError(detail="fusermount3 is not installed")
    return path


def _run_helper(
    arguments: list[str], *, comm: socket.socket | None = None, seconds: float = _HELPER_SECONDS
) -> subprocess.CompletedProcess[bytes]:
    # Only what it needs of our environment: nothing of a wallet or a key can be in there.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    passed: tuple[int, ...] = ()
    if comm is not None:
        environment["_FUSE_COMMFD"] = str(comm.fileno())
        passed = (comm.fileno(),)
    try:
        return subprocess.run(  # noqa: S603  a fixed program and our own words
            [_helper(), *arguments],
            env=environment,
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=seconds,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoFuseError(detail=f"fusermount3 does not run: {error}") from error


def _complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    text = done.stderr.decode("utf-8", "replace").strip().removeprefix("fusermount3: ")
    return text or f"fusermount3 ended with {done.returncode}"


def _attach_by_helper(mountpoint: str, options: MountOptions) -> int:
    os.close(_open_device())  # says clearly when the device is what is missing
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        done = _run_helper(["-o", ",".join(sorted(plain_words(options))), "--", mountpoint], comm=theirs)
        if done.returncode != 0:
            complaint = _complaint(done)
            if "user_allow_other" in complaint:
                raise UsageError(detail="allow_other needs the line 'user_allow_other' in /etc/fuse.conf")
            raise MountPointError(path=mountpoint, detail=complaint)
        ours.settimeout(_HELPER_SECONDS)
        return _receive_descriptor(ours, mountpoint)


def _receive_descriptor(comm: socket.socket, mountpoint: str) -> int:
    """The descriptor fusermount3 sends as SCM_RIGHTS."""
    size = array.array("i").itemsize
    _, ancillary, _, _ = comm.recvmsg(1, socket.CMSG_SPACE(size))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(data) >= size:
            (descriptor,) = array.array("i", data[:size])
            os.set_inheritable(descriptor, False)
            os.set_blocking(descriptor, True)
            return descriptor
    raise MountPointError(path=mountpoint, detail="fusermount3 handed over no descriptor")


def detach(mountpoint: str, *, lazy: bool = False) -> None:
    """Unmount; blocks until the kernel has handed over its dirty pages, so never call it in the serving loop.

    `lazy` takes it out of sight at once, whatever is still open. Raises BusyError, NotMountedError.
    """
    if os.geteuid() == 0:
        try:
            kernel.unmount(mountpoint, kernel.MNT_DETACH if lazy else 0)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise BusyError(path=mountpoint, detail="files are open or a process is in it") from error
            if error.errno != errno.EPERM:
                raise NotMountedError(what=mountpoint) from error
        else:
            return
    done = _run_helper(["-u", *(("-z",) if lazy else ()), "--", mountpoint], seconds=_UNMOUNT_SECONDS)
    if done.returncode != 0:
        complaint = _complaint(done)
        if "busy" in complaint.lower():
            raise BusyError(path=mountpoint, detail="files are open or a process is in it")
        if mountinfo.vault_at(mountpoint) is None:
            raise NotMountedError(what=mountpoint)
        raise MountPointError(path=mountpoint, detail=complaint)
