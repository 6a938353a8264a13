"""Files <-> Network: `load_network` for every MatConvNet file, `save_network` for what MatConvNet loads again."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matnet import meta
from matnet.errors import FileFormatError, nearest
from matnet.formats.dagnn import read_dagnn, write_dagnn
from matnet.formats.mat.values import Cell, Opaque, StructArray
from matnet.formats.names import recall
from matnet.formats.simplenn import read_simplenn, simplenn_obstacles, write_simplenn
from matnet.network import Network, Source

FORMATS = ("auto", "simplenn", "dagnn")
NETWORK_FIELDS = ("layers", "params", "vars", "meta", "normalization", "classes")
log = logging.getLogger("matnet")


def load_network(path: str | os.PathLike[str]) -> Network:
    """The network in a MatConvNet `.mat` file: SimpleNN or DagNN, MAT v5, v7 or v7.3, any vintage.

    Fields may be top-level variables or stand inside one struct such as `net`; what else is in the file
    (training state, statistics) is ignored and noted. Large arrays of uncompressed files are mapped, not
    copied. Raises FileFormatError for a file that is no such thing, NetworkError for faulty layers.
    """
    from matnet.formats.mat import read_mat

    file = read_mat(path)
    source = Source(Path(path))
    fields, holder = _find_network(file, path)
    net = read_simplenn(fields, source) if isinstance(fields["layers"], Cell) else read_dagnn(fields, source)
    recall(net)
    source.notes += meta.notes(net)
    other = [name for name in file if name not in NETWORK_FIELDS and name != holder]
    if other:
        source.notes.append(f"ignored besides the network: {', '.join(other)}")
    return net


def _find_network(file: Mapping[str, Any], path: Any) -> tuple[dict[str, Any], str]:
    """The fields of the network, and the variable that holds them ('' for top-level fields)."""
    candidates = [("", dict(file))] + [(name, value) for name, value in file.items() if isinstance(value, dict)]
    for holder, fields in candidates:
        layers = fields.get("layers")
        if isinstance(layers, Cell) and not len(layers):
            raise FileFormatError(f"{path}: holds a network without layers; save it again")
        if isinstance(layers, (Cell, StructArray)) or (isinstance(layers, dict) and "type" in layers):
            return fields, holder
    live = [name for name, value in file.items() if isinstance(value, Opaque) and value.kind in ("object", "opaque")]
    if live:
        raise FileFormatError(
            f"{path}: {live[0]!r} is a live MATLAB object ({getattr(file[live[0]], 'class_name', '')}); in MATLAB save "
            f"the plain struct instead: s = {live[0]}.saveobj(); save('plain.mat', '-struct', 's')"
        )
    held = ", ".join(file) or "nothing"
    raise FileFormatError(
        f"{path}: no network in it: holds {held}; expected a cell or struct array `layers`, alone or in a struct `net`"
        f"{nearest('layers', file)}"
    )


def save_network(
    net: Network,
    path: str | os.PathLike[str],
    format: str = "auto",
    version: str = "5",
    compress: bool = False,
) -> Path:
    """Write a `.mat` file that MatConvNet loads; the same network always gives the same bytes.

    `format` auto keeps the format that the network was read from, and is SimpleNN for other chains that
    SimpleNN can express, DagNN for all else. `version` is "5" (mapped when loaded again, at most 2 GiB
    per variable) or "7.3" (HDF5). The file appears whole or not at all. Raises NetworkError where the
    format cannot hold the network, FileFormatError where the container cannot.
    """
    from matnet.formats.mat import write_mat

    if format not in FORMATS:
        raise FileFormatError(f"no format is called {format!r}; there is {', '.join(FORMATS)}")
    if version not in ("5", "7.3"):
        raise FileFormatError(f"no MAT version is called {version!r}; there is 5 and 7.3")
    chosen = _auto_format(net) if format == "auto" else format
    variables = write_simplenn(net) if chosen == "simplenn" else write_dagnn(net)
    dropped = write_mat(path, variables, version=version, compress=compress)
    for place in dropped:
        log.warning("%s: %s is a MATLAB object and was written as []", path, place)
    return Path(path)


def _auto_format(net: Network) -> str:
    if net.source.format == "dagnn":
        return "dagnn"
    return "dagnn" if simplenn_obstacles(net, stock_only=True) else "simplenn"
