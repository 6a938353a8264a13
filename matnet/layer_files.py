"""The user's Python files that register layers (`--import FILE`), by content, so that workers can run them too."""

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
    """A file's path and its bytes: all that another process needs to run it."""

    path: str
    source: bytes

    @property
    def module(self) -> str:
        """The name under which Python keeps the module, and under which its classes are pickled."""
        return f"matnet_layers_{Path(self.path).stem}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.source).hexdigest()


def import_layers(path: str | Path) -> LayerFile:
    """Run a Python file that registers layers with `matnet.ops.register`; running it once more changes nothing.

    The file's folder is searched for modules that it imports. Raises FileFormatError where the file cannot be read,
    MatnetError, with the line, where it fails or where another file of that name was imported.
    """
    try:
        found = LayerFile(str(Path(path).absolute()), Path(path).read_bytes())
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be imported ({error.strerror or error})") from None
    run_layer_files([found])
    return found


def run_layer_files(files: Iterable[LayerFile]) -> None:
    """Import files that another process has read; those that this process has imported are left out."""
    for file in files:
        known = _imported.get(file.module)
        if known is None:
            _run(file)
        elif known.source != file.source:
            raise MatnetError(
                f"{file.path}: {known.path} was imported under the same name and differs; rename one of the files"
            )


def imported_layer_files() -> tuple[LayerFile, ...]:
    """What this process has imported, in that order."""
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
    """`, line N` of the file, where the error states it."""
    number = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            number = trace.tb_lineno
        trace = trace.tb_next
    return f", line {number}" if number else ""
