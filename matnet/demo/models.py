"""The networks of the page: known models by name, those of the command line, and visitors' files."""

from __future__ import annotations

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matnet import load
from matnet.demo.folder import Folder
from matnet.demo.limits import NETWORKS
from matnet.doctor.checks import check_files, check_network
from matnet.doctor.findings import PROBLEM, Finding, problem
from matnet.errors import DataError, FileFormatError, MatnetError, program
from matnet.meta import display_name
from matnet.network import Network


@dataclass(frozen=True)
class Kept:
    """One network: the doctor's findings, its files, and the folders that messages must not reveal."""

    id: str
    net: Network
    findings: list[Finding]
    tokens: tuple[str, ...] = ()
    hidden: tuple[str, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        return display_name(self.net)

    def text(self, text: str) -> str:
        """A message with file names without folders, and the page's fields instead of command-line options."""
        return with_fields(without(text, self.hidden))


class BrokenError(FileFormatError):
    """A file that is not a network: the message, and the doctor's findings about its bytes."""

    def __init__(self, message: str, findings: list[Finding]) -> None:
        super().__init__(message)
        self.findings = findings


FIELDS = {"input-size": "Input size", "mean": "Mean", "color": "Colours", "classes": "Classes"}
"""Command-line option -> the page's field for it."""
_COMMAND = r"`[^`]*`"  # left as it is
_OPTION = re.compile(
    rf"{_COMMAND}|--(input-size|mean|color|classes)(?![\w-])"
    r"(?: (?:HxW|R G B|VALUE|bgr\b|rgb\b|ilsvrc12(?:, devkit or FILE)?)| [A-Za-z]+=[HWxCN]+)?(?: \(or FILE\))?"
)
_FILE = r"--[\w-]+ FILE\b(?: \([^)]*\))?"
_OR_FILE = re.compile(rf",? or {_FILE}|{_FILE},? or (?=--)")
_ELSEWHERE = re.compile(
    rf"{_COMMAND}|--(?:scores|exif|std|channels|input-range|max-pixels|net|lenient|[\w-]+(?= FILE))(?![\w-])"
    r"(?: FILE| NAME| [\d ]*\d)?"
)
"""Options without a field on the page."""


def with_fields(text: str) -> str:
    """A command's message with the page's fields instead of options.

    >>> with_fields("give --input-size HxW and --mean R G B (or FILE)")
    'give the field Input size and the field Mean'
    >>> with_fields("name them with --classes FILE (a class per line), or --classes ilsvrc12")
    'name them with the field Classes'
    """
    text = _ELSEWHERE.sub(
        lambda found: found[0] if found[0].startswith("`") else f"`{program('predict')} {found[0]}`",
        _OR_FILE.sub("", text),
    )
    return _OPTION.sub(lambda found: f"the field {FIELDS[found[1]]}" if found[1] else found[0], text)


def without(text: str, folders: Sequence[str]) -> str:
    for folder in sorted(folders, key=len, reverse=True):
        text = text.replace(folder, "")
    return text


class Models:
    """Networks by id. The caller must load them from one thread at a time; lookups are thread-safe."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.stated: list[Kept] = []
        self._known: dict[str, Kept] = {}
        self._dropped: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def add_stated(self, model: str) -> None:
        """Add a MODEL of the command line, which may be downloaded; its id is its position."""
        parts = [Path(part.strip()) for part in model.split(",")] if not Path(model).exists() else [Path(model)]
        kept = _kept(f"given-{len(self.stated)}", load(model), [part for part in parts if part.is_file()])
        self.stated.append(kept)

    def known(self) -> list[str]:
        """The names of the known models whose files are on this machine."""
        from matnet.zoo.cache import present_file, present_mat
        from matnet.zoo.cards import all_cards

        found = []
        for card in all_cards():
            weights = card.file("caffemodel")
            pair = card.prototxt is not None and weights is not None and present_file(card, weights) is not None
            if (card.mat and present_mat(card) is not None) or pair:
                found.append(card.name)
        return sorted(set(found))

    def named(self, name: str) -> Kept:
        """A known model, loaded once for all visitors. Raises DataError if its files are not on this machine."""
        if name not in self._known:
            if name not in self.known():
                raise DataError(
                    f"{name}: not on the server, and the page downloads nothing; download a known model there with "
                    f"`{program('zoo')} fetch NAME`"
                )
            net = load(name)
            self._known[name] = _kept(f"known-{name}", net, [net.source.path] if net.source.path else [])
        return self._known[name]

    def dropped(self, tokens: Sequence[str]) -> Kept:
        """The network in a visitor's files. Raises BrokenError, with the doctor's findings, if it cannot be read."""
        if not 1 <= len(tokens) <= 2:
            raise DataError(f"{len(tokens)} files; drop a .mat file, or a prototxt and its caffemodel")
        if len(set(tokens)) < len(tokens):
            raise DataError("the same file twice; drop a prototxt and its caffemodel")
        paths = [self.folder.file(token) for token in tokens]
        if any(map(self.folder.is_kept, tokens)):
            raise DataError("this file belongs to a network that is open already; drop it again")
        self.folder.keep(tokens)
        try:
            paths = self.folder.gather(tokens, _name(paths))
            kept = _kept(secrets.token_urlsafe(16), load(*paths), paths, tuple(tokens))
        except MatnetError as error:
            findings = [*_bytes_findings(paths), problem("file", str(error))]
            hidden = _hidden(paths)
            self.folder.remove(tokens)
            raise BrokenError(with_fields(without(str(error), hidden)), _shown(findings, hidden)) from None
        except BaseException:
            self.folder.remove(tokens)
            raise
        with self._lock:
            self._dropped[kept.id] = kept
            gone = [self._dropped.popitem(last=False)[1] for _ in range(len(self._dropped) - NETWORKS)]
        for old in gone:
            self.folder.remove(old.tokens)
        return kept

    def get(self, model: str) -> Kept:
        """The network with this id. Raises DataError if it is no longer kept."""
        with self._lock:
            if model in self._dropped:
                self._dropped.move_to_end(model)
                return self._dropped[model]
        for kept in (*self.stated, *self._known.values()):
            if kept.id == model:
                return kept
        raise DataError("this network is no longer kept here; drop its files again")

    def close(self, model: str) -> None:
        """Remove a visitor's network."""
        with self._lock:
            kept = self._dropped.pop(model, None)
        if kept is not None:
            self.folder.remove(kept.tokens)


def _name(paths: Sequence[Path]) -> str:
    """The name for a network's files: that of the weights, because many definitions are named deploy.prototxt."""
    weights = next((path for path in paths if path.suffix != ".prototxt"), paths[0])
    return weights.name.removesuffix(".h5").rpartition(".")[0] or weights.name


def _kept(id: str, net: Network, paths: Sequence[Path], tokens: tuple[str, ...] = ()) -> Kept:
    hidden = _hidden([*paths, *([net.source.path] if net.source.path else [])])
    findings = [*_bytes_findings(paths), *check_network(net)]
    return Kept(id, net, _shown(findings, hidden), tokens, hidden)


def _bytes_findings(paths: Sequence[Path]) -> list[Finding]:
    try:
        return check_files(list(paths))
    except MatnetError as error:
        return [problem("file", str(error))]


def _shown(findings: Sequence[Finding], hidden: Sequence[str]) -> list[Finding]:
    """Each finding once, problems first, without folders."""
    texts = [
        Finding(one.level, one.part, *(with_fields(without(text, hidden)) for text in (one.what, one.remedy)))
        for one in findings
    ]
    return sorted(dict.fromkeys(texts), key=lambda one: one.level != PROBLEM)


def _hidden(paths: Sequence[Path]) -> tuple[str, ...]:
    folders = {folder for path in paths for folder in (str(path.parent), str(path.resolve().parent))}
    return tuple(f"{folder.rstrip('/')}/" for folder in folders if folder not in (".", ""))
