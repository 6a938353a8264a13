"""A lock file, so that only one process writes a file."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from matnet.errors import DownloadError
from matnet.files import process_exists

log = logging.getLogger(__name__)
LARGEST = 1 << 12  # bytes read from a lock file
STALE_AFTER = 600.0  # seconds without a heartbeat
WRITTEN_AFTER = 2.0  # seconds for a holder to write its lock
BEAT = 20.0  # seconds between heartbeats
POLL = 0.2  # seconds between checks of another holder's lock


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold `<target>.lock` for the block; a thread touches it every 20 s as a heartbeat.

    Waits for another holder. Stale locks are taken over: those of a process on this machine that has ended (or whose
    number a later process has), those with invalid content (with a warning), and any lock without a heartbeat for ten
    minutes. The file is created with O_EXCL, which also works on network file systems.
    """
    lock = target.with_name(f"{target.name}.lock")
    pid = os.getpid()
    token = json.dumps({"pid": pid, "host": socket.gethostname(), "started": _started(pid), "id": uuid.uuid4().hex})
    _acquire(lock, token)
    over = threading.Event()
    threading.Thread(target=_beat, args=(lock, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        if _content(lock) == token:
            lock.unlink(missing_ok=True)


def _beat(lock: Path, over: threading.Event) -> None:
    while not over.wait(BEAT):
        with suppress(OSError):
            os.utime(lock)


def _acquire(lock: Path, token: str) -> None:
    waiting = False
    while not _create(lock, token):
        holder = _content(lock)
        if holder is None:
            continue
        if _stale(lock, holder):
            _remove_stale(lock, holder)
            continue
        if not waiting:
            log.warning(f"waiting for {_described(holder)}, which holds {lock}")
            waiting = True
        time.sleep(POLL)


def _create(lock: Path, token: str) -> bool:
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    except OSError as error:
        raise _unwritable(lock, error) from None
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(token)
    except OSError as error:
        lock.unlink(missing_ok=True)
        raise _unwritable(lock, error) from None
    return True


def _unwritable(lock: Path, error: OSError) -> DownloadError:
    return DownloadError(
        f"{lock.parent}: cannot write here ({error.strerror}); set MATNET_HOME to a folder that can be written"
    )


def _content(lock: Path) -> str | None:
    try:
        with lock.open("rb") as file:
            return file.read(LARGEST).decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DownloadError(f"{lock}: cannot be read ({error.strerror}); remove it if no download is running") from None


def _holder(content: str) -> tuple[int, str, str]:
    """Process, machine and start time of the process; (0, "", "") if the holder has not written them yet."""
    try:
        fields = json.loads(content)
        return int(fields["pid"]), str(fields["host"]), str(fields.get("started") or "")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return 0, "", ""


def _described(content: str) -> str:
    pid, host, _ = _holder(content)
    return f"process {pid} on {host}" if pid else "another process"


def _stale(lock: Path, content: str) -> bool:
    pid, host, started = _holder(content)
    if pid and host == socket.gethostname():
        if not process_exists(pid):
            return True
        if started and _started(pid):
            return started != _started(pid)
    try:
        age = time.time() - lock.stat().st_mtime
    except FileNotFoundError:
        return False
    if content and not pid and age > WRITTEN_AFTER:
        log.warning(f"{lock}: damaged; replacing it")
        return True
    return age > STALE_AFTER


def _started(pid: int) -> str:
    """The start time of a process in clock ticks since boot; "" if the system does not provide it (not Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _remove_stale(lock: Path, content: str) -> None:
    """Remove the lock file, unless another process has just replaced it."""
    aside = lock.with_name(f"{lock.name}.{uuid.uuid4().hex}")
    try:
        os.rename(lock, aside)
    except FileNotFoundError:
        return
    if _content(aside) != content and not lock.exists():
        os.rename(aside, lock)
    else:
        aside.unlink()
