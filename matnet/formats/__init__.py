"""Files <-> Network: `load_network` for every MatConvNet file, `save_network` for what MatConvNet loads again."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from matnet import meta
from matnet.errors import FileFormatError, NetworkError
from matnet.files import in_memory
from matnet.formats.dagnn import constant_operands, read_dagnn, write_dagnn
from matnet.formats.find import find_network, other_variables
from matnet.formats.mat.values import Cell, StructArray
from matnet.formats.names import recall
from matnet.formats.simplenn import read_simplenn, simplenn_obstacles, write_simplenn
from matnet.network import Network, Source

FORMATS = ("auto", "simplenn", "dagnn")
MEANS_BESIDE = ("averageImage", "rgbMean", "imageMean")
log = logging.getLogger(__name__)


def load_network(
    path: str | os.PathLike[str], name: str | None = None, *, mmap: bool = True, lenient: bool = False
) -> Network:
    """The network in a MatConvNet `.mat` file: SimpleNN or DagNN, MAT v5, v7 or v7.3, any vintage.

    Fields may be top-level variables or stand inside structs and cells such as `net`, `net.net` or `models{2}`;
    `name` chooses where there are several networks. What else is in the file (training state, statistics) is
    ignored and noted. With `mmap`, large params of uncompressed files are mapped, not copied, so that the file must
    stay as it is until the network is compiled or run, which copies them; without, they are copied here. `lenient`
    ignores, with a note, properties and options that MatConvNet does not have, for which a layer else refuses to run.
    Raises FileFormatError for a file that holds no such thing, NetworkError for faulty layers.
    """
    from matnet.formats.mat import read_mat

    file = read_mat(path, mmap=mmap)
    source = Source(Path(path))
    fields, found = find_network(file, path, name)
    source.chosen = " ".join([*([f"name={found!r}"] if name is not None else []), *(["lenient"] if lenient else [])])
    structs = fields["layers"] if isinstance(fields["layers"], (Cell, StructArray)) else [fields["layers"]]
    is_graph = any(isinstance(item, dict) and {"inputs", "outputs"} <= item.keys() for item in structs)
    net = (read_dagnn if is_graph else read_simplenn)(fields, source, lenient)
    mean = _mean_beside(net, fields, file)
    net.meta = _in_memory(net.meta)  # params alone stay mapped, which engines copy
    for layer in net.layers.values():
        layer.extra = _in_memory(layer.extra)
    recall(net)
    source.notes += meta.notes(net)
    if found not in ("", "net"):
        source.notes.append(f"the network called {found!r} in the file")
    other = [variable for variable in other_variables(file, found) if variable != mean]
    if other:
        source.notes.append(f"ignored besides the network: {', '.join(other)}")
    return net


def _mean_beside(net: Network, *places: Mapping[str, Any]) -> str | None:
    """The mean that stands beside the layers, or beside the network, put where readers of meta look for it; its name.

    vl_simplenn's early examples (the practicals on characters) keep `imageMean` there. None where meta has a mean.
    """
    known = meta.normalization(net.meta)
    if any(name in known for name in meta.MEAN_FIELDS):
        return None
    for place in places:
        for name in MEANS_BESIDE:
            value = place.get(name)
            if isinstance(value, np.ndarray) and value.size and value.dtype.kind in "fiu":
                net.meta["normalization"] = {**known, name: value}
                net.source.notes.append(f"the mean is {name}, which stands beside the network in the file")
                return name
    return None


def _in_memory(value: Any) -> Any:
    """Plain values with copies of the arrays that lie in a mapped file."""
    if isinstance(value, np.ndarray):
        return in_memory(value)
    if isinstance(value, dict):
        return {name: _in_memory(item) for name, item in value.items()}
    if isinstance(value, list):  # cells and struct arrays
        value[:] = [_in_memory(item) for item in value]
    return value


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
    per variable) or "7.3" (HDF5). The file appears whole or not at all, and
    replaces one of that name, whatever it holds. Raises NetworkError where the
    format cannot hold the network, FileFormatError where the container cannot.
    """
    from matnet.formats.mat import write_mat

    if not isinstance(net, Network):
        raise NetworkError(f"matnet.save takes a network and a path, found {type(net).__name__} first")
    if format not in FORMATS:
        raise FileFormatError(f"no format is called {format!r}; there is {', '.join(FORMATS)}")
    if version not in ("5", "7.3"):
        raise FileFormatError(f"no MAT version is called {version!r}; there is 5 and 7.3")
    chosen = format_of(net) if format == "auto" else format
    net = _of_one_class(net)
    variables = write_simplenn(net) if chosen == "simplenn" else write_dagnn(net)
    if chosen == "dagnn":
        for name in constant_operands(net):
            log.warning("%s: layer %r: dagnn.PDist of MatConvNet takes its reference as an input only", path, name)
    dropped = write_mat(path, variables, version=version, compress=compress)
    for place in dropped:
        log.warning("%s: %s is a MATLAB object and was written as []", path, place)
    return Path(path)


def _of_one_class(net: Network) -> Network:
    """A network whose params are all single or all double: MatConvNet's functions take operands of one class only."""
    classes = {np.asarray(param.value).dtype.str[1:] for param in net.params.values()}
    if len(classes) <= 1 and classes <= {"f4", "f8"}:
        return net
    twin = net.copy()
    for param in twin.params.values():
        param.value = np.asarray(param.value, np.float32)
    return twin


def format_of(net: Network) -> str:
    """The format that `auto` means for this network: simplenn or dagnn."""
    if net.source.format == "dagnn":
        return "dagnn"
    return "dagnn" if simplenn_obstacles(net, stock_only=True) else "simplenn"
