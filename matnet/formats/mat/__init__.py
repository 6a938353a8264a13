"""Read and write MAT files of versions 5, 7 and 7.3 as the values of `matnet.formats.mat.values`."""

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
    """The variables of a MAT file, in file order (v7.3: alphabetical). `version`: "5" or "7.3"."""

    def __init__(
        self, variables: Mapping[str, Any], path: Path, version: Literal["5", "7.3"], compressed: bool
    ) -> None:
        super().__init__(variables)
        self.path = path
        self.version = version
        self.compressed = compressed


def read_mat(path: str | os.PathLike[str], names: Collection[str] | None = None, mmap: bool = True) -> MatFile:
    """Read a MAT file of version 5, 7 or 7.3; only the variables in `names`, if given.

    Values are as in `matnet.formats.mat.values`. Arrays have MATLAB's shape and Fortran order. With `mmap`, a file
    larger than MAPPED_FROM bytes is mapped, and uncompressed arrays may be read-only views of it: do not truncate or
    modify the file while they exist. Otherwise the file is read into memory. Raises FileFormatError, with the position,
    if the file is missing, a folder, a web page, of version 4, truncated or damaged, or declares more data than a file
    of its size can hold.
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
    """Write variables (values as in `matnet.formats.mat.values`) to a MAT file of version "5" or "7.3".

    The file is written atomically, and the output is deterministic. Opaque values are written as `[]`; their places are
    returned (`layers{2}.handle`). Raises MatnetError, listing all places, for values that a MAT file cannot hold, and
    FileFormatError for variables above the 2^31-1 bytes of version 5.
    """
    opaque = check(path, variables)
    if version == "5":
        from matnet.formats.mat.v5_write import write_v5

        write_v5(Path(path), variables, compress)
    elif version == "7.3":
        from matnet.formats.mat.v73_write import write_v73

        write_v73(Path(path), variables, compress)
    else:
        raise MatnetError(f'{path}: not written; unknown MAT version {version!r}, use "5" or "7.3"')
    return opaque
