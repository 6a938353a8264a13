"""MAT files: read and write versions 5, 7 and 7.3 as the plain values of `matnet.formats.mat.values`."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from matnet.errors import MatnetError
from matnet.formats.mat.header import read_header
from matnet.formats.mat.writable import check

__all__ = ["MatFile", "read_mat", "write_mat"]


class MatFile(dict[str, Any]):
    """The variables of a MAT file, in file order (v7.3: by alphabet); `version` is "5" or "7.3"."""

    def __init__(
        self, variables: Mapping[str, Any], path: Path, version: Literal["5", "7.3"], compressed: bool
    ) -> None:
        super().__init__(variables)
        self.path = path
        self.version = version
        self.compressed = compressed


def read_mat(path: str | os.PathLike[str], names: Collection[str] | None = None, mmap: bool = True) -> MatFile:
    """Read a MAT file of version 5, 7 or 7.3; of its variables only those in `names`, if given.

    Values are as in `matnet.formats.mat.values`. Arrays have MATLAB's shape and Fortran order; those that are not
    compressed may be read-only views of the file, which with `mmap` stays mapped as long as one of them lives: it must
    not be cut or written into meanwhile. Without `mmap`, and up to MAPPED_FROM bytes, the file is read into memory.
    Raises FileFormatError, naming the place, for anything else than a whole MAT file: missing, a folder,
    a web page, version 4, cut, damaged, or promising more than a file of its size can hold.
    """
    header = read_header(path)
    target = Path(path)
    if header.version == "5":
        from matnet.formats.mat.v5_read import read_v5

        variables, compressed = read_v5(target, header.order, names, mmap)
    else:
        from matnet.formats.mat.v73_read import read_v73

        variables, compressed = read_v73(target, names, mmap)
    return MatFile(variables, target, header.version, compressed)


def write_mat(
    path: str | os.PathLike[str], variables: Mapping[str, Any], version: str = "5", compress: bool = False
) -> list[str]:
    """Write variables, values as in `matnet.formats.mat.values`, to a MAT file of version "5" or "7.3".

    The file appears whole or not at all, and the same variables always give the same bytes. Opaque values
    cannot be written: `[]` takes their place, and the places are returned (`layers{2}.handle`).
    Raises MatnetError, listing every place, for values that have no form in a MAT file, and FileFormatError
    for variables beyond the 2^31-1 bytes of version 5.
    """
    opaque = check(path, variables)
    if version == "5":
        from matnet.formats.mat.v5_write import write_v5

        write_v5(Path(path), variables, compress)
    elif version == "7.3":
        from matnet.formats.mat.v73_write import write_v73

        write_v73(Path(path), variables, compress)
    else:
        raise MatnetError(f'{path}: not written; MAT version {version!r} is not known, use "5" or "7.3"')
    return opaque
