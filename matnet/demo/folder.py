"""The files of all visitors: one private folder of limited size, removed at the end."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

from matnet.demo.limits import MB
from matnet.errors import DataError

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST_NAME = 80


def safe_name(name: str) -> str:
    """The last part of a file's name, with only letters, digits, `.`, `_` and `-`; keeps the extension.

    >>> safe_name("../../etc/pass wd.mat")
    'pass_wd.mat'
    """
    last = re.split(r"[\\/]", name)[-1]
    return _UNSAFE.sub("_", last).lstrip("._-")[-LONGEST_NAME:].lstrip("._-") or "file"


class Folder:
    """Files by unguessable tokens. Thread-safe.

    Each file lies in its own folder, so that it keeps its name; the name, made safe, is the only part of a path that
    comes from a visitor. If the files exceed `room` bytes, the least recently used are removed.
    """

    def __init__(self, room: int) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="matnet-demo-"))  # mode 0700
        self.room = room
        self._files: OrderedDict[str, Path] = OrderedDict()
        self._kept: set[str] = set()
        self._coming: dict[str, int] = {}
        self._lock = threading.Lock()

    def new(self, name: str, size: int = 0) -> tuple[str, Path]:
        """A token, and the path of a new file; call `finish` after writing it.

        size: the bytes reserved for it until then. Raises DataError if there is no room for them.
        """
        token = secrets.token_urlsafe(16)
        path = self.path / token / safe_name(name)
        with self._lock:
            self._make_room(size)
            path.parent.mkdir(mode=0o700)
            self._files[token] = path
            self._coming[token] = size
        return token, path

    def grow(self, token: str, size: int) -> None:
        """Reserve `size` more bytes for a file that is being written. Raises DataError if there is no room."""
        with self._lock:
            self._make_room(size)
            self._coming[token] += size

    def finish(self, token: str) -> None:
        """Mark the file as written; from now on it may be removed to make room."""
        with self._lock:
            self._coming.pop(token, None)

    def file(self, token: str) -> Path:
        """The file of a token. Raises DataError if it no longer exists."""
        with self._lock:
            path = self._files.get(token)
            if path is not None:
                self._files.move_to_end(token)
        if path is None or not path.exists():
            raise DataError("this file is no longer kept here; drop it again")
        return path

    def gather(self, tokens: Sequence[str], name: str) -> list[Path]:
        """Move the files of one network to a folder `name`, and rename deploy.prototxt after it.

        No file is named `.network`, because `safe_name` removes leading dots.
        """
        paths = [self.file(token) for token in tokens]
        together = self.path / tokens[0] / ".network" / safe_name(name)
        together.mkdir(parents=True)
        moved = []
        with self._lock:
            for number, (token, path) in enumerate(zip(tokens, paths, strict=True)):
                target = together / path.name
                target = together / f"{number}-{path.name}" if target.exists() else target
                self._files[token] = path.rename(target)
                moved.append(target)
        return moved

    def rename(self, token: str, path: Path) -> None:
        """Record the file's new name in its folder."""
        with self._lock:
            self._files[token] = path

    def keep(self, tokens: Iterable[str]) -> None:
        """Keep files until they are removed explicitly: a network's weights are read from them."""
        with self._lock:
            self._kept.update(tokens)

    def is_kept(self, token: str) -> bool:
        """Whether the file belongs to a network, so that it is not a download."""
        with self._lock:
            return token in self._kept

    def remove(self, tokens: Iterable[str]) -> None:
        """Remove files; unknown tokens are ignored."""
        with self._lock:
            for token in tokens:
                self._remove(token)

    def _remove(self, token: str) -> None:
        self._kept.discard(token)
        self._coming.pop(token, None)
        if self._files.pop(token, None) is not None:
            shutil.rmtree(self.path / token, ignore_errors=True)

    def _make_room(self, size: int) -> None:
        """Remove the oldest files until `size` bytes fit. Raises DataError if the kept files leave no room."""
        sizes = {
            token: self._coming.get(token) or (path.stat().st_size if path.exists() else 0)
            for token, path in self._files.items()
        }
        free = self.room - sum(sizes.values()) - size
        loose = [token for token in self._files if token not in self._kept and token not in self._coming]
        while free < 0 and loose:
            free += sizes[loose[0]]
            self._remove(loose.pop(0))
        if free < 0:
            raise DataError(f"the page's limit of {self.room / MB:,.0f} MB for files is reached; try again later")

    def close(self) -> None:
        """Remove everything."""
        with self._lock:
            self._files.clear()
            shutil.rmtree(self.path, ignore_errors=True)
