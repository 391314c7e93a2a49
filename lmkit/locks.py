"""Locks on open files: one writer at a time, and a file system without locks told apart from it."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import Any

from lmkit.fields import InputError

HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
NONE = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


class NoLocks(InputError):
    """The file system knows no locks."""


def take(file: Any, path: Path) -> bool:
    """Lock an open file for as long as it is open; the lock goes with the process, killed or not.

    Args:
        file: open, or its number.
        path: of what is locked, for messages.
    Returns: False where somebody else holds the lock, in this process or another.
    Raises: NoLocks where the file system has none; InputError for another failure.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return False
        if error.errno in NONE:
            raise NoLocks(
                f"{path}: expected a file system with locks, which keep two processes from "
                f"writing one run, got: {error.strerror}; mount it with locks, or put outputs on "
                "a local disk"
            ) from None
        raise InputError(f"{path}: expected a file to lock, got: {error.strerror}") from None
    return True
