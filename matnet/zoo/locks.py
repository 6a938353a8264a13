"""A lock file, so that two processes that want one file do not both write it."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from matnet.errors import DownloadError

STALE_AFTER = 600.0  # seconds without a sign of life from the holder, which touches its lock as bytes come in
POLL = 0.2  # seconds between two looks at somebody else's lock


@contextmanager
def locked(target: Path, say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Hold `<target>.lock` for the block; its value is to be called now and then, as a sign of life.

    Waits for another holder. A lock is stale, and taken over, when its process on this machine is gone, or when
    it was not touched for ten minutes. Created with O_EXCL, which holds on network file systems too.
    """
    lock = target.with_name(f"{target.name}.lock")
    token = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "id": uuid.uuid4().hex})
    _acquire(lock, token, say)
    try:
        yield lambda: _touch(lock)
    finally:
        if _content(lock) == token:
            lock.unlink(missing_ok=True)


def _acquire(lock: Path, token: str, say: Callable[[str], None]) -> None:
    waiting = False
    while not _create(lock, token):
        holder = _content(lock)
        if holder is None:
            continue
        if _stale(lock, holder):
            _remove_stale(lock, holder)
            continue
        if not waiting:
            say(f"waiting for {_described(holder)}, which holds {lock}")
            waiting = True
        time.sleep(POLL)


def _create(lock: Path, token: str) -> bool:
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    except PermissionError as error:
        raise DownloadError(
            f"{lock.parent}: cannot write here ({error.strerror}); set MATNET_HOME to a folder that can be written"
        ) from None
    with os.fdopen(descriptor, "w") as file:
        file.write(token)
    return True


def _content(lock: Path) -> str | None:
    try:
        return lock.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _holder(content: str) -> tuple[int, str]:
    """Process and machine; (0, "") while the holder has not written them yet."""
    try:
        fields = json.loads(content)
        return int(fields["pid"]), str(fields["host"])
    except (ValueError, TypeError, KeyError):
        return 0, ""


def _described(content: str) -> str:
    pid, host = _holder(content)
    return f"process {pid} on {host}" if pid else "another process"


def _stale(lock: Path, content: str) -> bool:
    pid, host = _holder(content)
    if pid and host == socket.gethostname() and not _alive(pid):
        return True
    try:
        return time.time() - lock.stat().st_mtime > STALE_AFTER
    except FileNotFoundError:
        return False


def _alive(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # os.kill would end it; the lock's age decides
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _remove_stale(lock: Path, content: str) -> None:
    """Take the lock file away, unless somebody else has just done so and holds a fresh one."""
    aside = lock.with_name(f"{lock.name}.{uuid.uuid4().hex}")
    try:
        os.rename(lock, aside)
    except FileNotFoundError:
        return
    if _content(aside) != content and not lock.exists():
        os.rename(aside, lock)
    else:
        aside.unlink()


def _touch(lock: Path) -> None:
    try:
        os.utime(lock)
    except FileNotFoundError:
        return
