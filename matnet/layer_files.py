"""Python files that register layers (`--import FILE`), kept with their content so that workers can run them too."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from matnet.errors import FileFormatError, MatnetError

_imported: dict[str, LayerFile] = {}  # by module name


@dataclass(frozen=True)
class LayerFile:
    """A file's path and content: all that another process needs to run it."""

    path: str
    source: bytes

    @property
    def module(self) -> str:
        """The module name in sys.modules and in pickles of its classes."""
        return f"matnet_layers_{Path(self.path).stem}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.source).hexdigest()


def import_layers(path: str | Path) -> LayerFile:
    """Run a Python file that registers layers with `matnet.ops.register`; a second run has no effect.

    The file may import modules from its folder. Raises FileFormatError if the file cannot be read. Raises MatnetError,
    with the line, if it fails or if a different file of the same name was imported.
    """
    try:
        found = LayerFile(str(Path(path).absolute()), Path(path).read_bytes())
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be imported ({error.strerror or error})") from None
    run_layer_files([found])
    return found


def run_layer_files(files: Iterable[LayerFile]) -> None:
    """Run files read by another process, except those that this process has already imported."""
    for file in files:
        known = _imported.get(file.module)
        if known is None:
            _run(file)
        elif known.source != file.source:
            raise MatnetError(
                f"{file.path}: a different file of the same name is already imported ({known.path}); rename one of them"
            )


def imported_layer_files() -> tuple[LayerFile, ...]:
    """The files imported by this process, in order."""
    return tuple(_imported.values())


def _run(file: LayerFile) -> None:
    module = ModuleType(file.module)
    module.__file__ = file.path
    folder = str(Path(file.path).parent)
    if folder not in sys.path:
        sys.path.append(folder)
    sys.modules[file.module] = module
    try:
        exec(compile(file.source, file.path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[file.module]
        raise MatnetError(f"{file.path}{_line(error, file.path)}: {type(error).__name__}: {error}") from None
    _imported[file.module] = file


def _line(error: BaseException, path: str) -> str:
    """`, line N` of the file, if the error has one."""
    number = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            number = trace.tb_lineno
        trace = trace.tb_next
    return f", line {number}" if number else ""
