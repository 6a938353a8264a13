"""Read and write MatConvNet .mat files: `load_network` and `save_network`."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from matnet import meta
from matnet.errors import FileFormatError, NetworkError
from matnet.files import refuse_other_kind
from matnet.formats.dagnn import constant_operands, read_dagnn, write_dagnn
from matnet.formats.find import find_network, other_variables
from matnet.formats.mat.values import Cell, StructArray
from matnet.formats.names import recall
from matnet.formats.simplenn import read_simplenn, simplenn_obstacles, write_simplenn
from matnet.kinds import MAT
from matnet.mapped import in_memory
from matnet.network import Network, Source

FORMATS = ("auto", "simplenn", "dagnn")
MEANS_BESIDE = ("averageImage", "rgbMean", "imageMean")
log = logging.getLogger(__name__)


def load_network(
    path: str | os.PathLike[str], name: str | None = None, *, mmap: bool = True, lenient: bool = False
) -> Network:
    """Load a MatConvNet `.mat` file: SimpleNN or DagNN of any version, MAT v5, v7 or v7.3.

    The network may be at the top level of the file, or inside structs and cells such as `net`, `net.net` or
    `models{2}`. name: selects one of several networks. Other variables (training state, statistics) are ignored with a
    note. mmap: map large params of uncompressed files instead of copying them; the file must then not change until the
    network is compiled or run, which copies them. lenient: ignore, with a note, properties and options unknown to
    MatConvNet; without it, their layers refuse to run. Raises FileFormatError for a file without a network,
    NetworkError for invalid layers.
    """
    from matnet.formats.mat import read_mat

    file = read_mat(path, mmap=mmap)
    source = Source(Path(path), files=(Path(path),))
    fields, found = find_network(file, path, name)
    source.chosen = " ".join([*([f"name={found!r}"] if name is not None else []), *(["lenient"] if lenient else [])])
    structs = fields["layers"] if isinstance(fields["layers"], (Cell, StructArray)) else [fields["layers"]]
    is_graph = any(isinstance(item, dict) and {"inputs", "outputs"} <= item.keys() for item in structs)
    net = (read_dagnn if is_graph else read_simplenn)(fields, source, lenient)
    mean = _mean_beside(net, fields, file)
    net.meta = _in_memory(net.meta)  # only params stay mapped; engines copy them
    for layer in net.layers.values():
        layer.extra = _in_memory(layer.extra)
    recall(net)
    source.notes += meta.notes(net)
    if found not in ("", "net"):
        source.notes.append(f"loaded network {found!r} of the file")
    other = [variable for variable in other_variables(file, found) if variable != mean]
    if other:
        source.notes.append(f"ignored other variables of the file: {', '.join(other)}")
    return net


def _mean_beside(net: Network, *places: Mapping[str, Any]) -> str | None:
    """Copy a mean stored next to the layers or the network into `meta.normalization`; returns its field name.

    Early examples of vl_simplenn (the practicals on characters) store `imageMean` there. None if meta has a mean.
    """
    known = meta.normalization(net.meta)
    if any(name in known for name in meta.MEAN_FIELDS):
        return None
    for place in places:
        for name in MEANS_BESIDE:
            value = place.get(name)
            if isinstance(value, np.ndarray) and value.size and value.dtype.kind in "fiu":
                net.meta["normalization"] = {**known, name: value}
                net.source.notes.append(f"the mean is {name}, stored next to the network in the file")
                return name
    return None


def _in_memory(value: Any) -> Any:
    """Copy arrays of a mapped file into memory, also inside structs and cells."""
    if isinstance(value, np.ndarray):
        return in_memory(value)
    if isinstance(value, dict):
        return {name: _in_memory(item) for name, item in value.items()}
    if isinstance(value, list):  # cells and struct arrays
        value[:] = [_in_memory(item) for item in value]
    return value


def save_network(
    net: Network, path: str | os.PathLike[str], format: str = "auto", version: str = "5", compress: bool = False
) -> Path:
    """Write a `.mat` file for MatConvNet; the output is deterministic.

    format: "simplenn", "dagnn", or "auto": the format of the source file, else SimpleNN for chains that it can express,
    else DagNN. version: "5" (can be mapped, at most 2 GiB per variable) or "7.3" (HDF5). The file is written
    atomically, and replaces an existing MAT file. Raises NetworkError if the format cannot express the network,
    FileFormatError if the MAT version cannot hold it, or another kind of file exists at the path.
    """
    from matnet.formats.mat import write_mat
    from matnet.formats.needs import without_weights

    if not isinstance(net, Network):
        raise NetworkError(f"matnet.save: expected a Network as the first argument, found {type(net).__name__}")
    if format not in FORMATS:
        raise FileFormatError(f"unknown format {format!r}; expected {', '.join(FORMATS)}")
    if version not in ("5", "7.3"):
        raise FileFormatError(f"unknown MAT version {version!r}; expected '5' or '7.3'")
    refuse_other_kind(path, MAT)
    chosen = format_of(net) if format == "auto" else format
    net = _of_one_class(net)
    variables = write_simplenn(net) if chosen == "simplenn" else write_dagnn(net)
    if chosen == "dagnn":
        for name in constant_operands(net):
            log.warning("%s: layer %r: MatConvNet's dagnn.PDist accepts its reference only as an input", path, name)
    without = without_weights(net)
    if without:
        log.warning("%s: saved without the missing weights of %s; the file cannot run", path, without)
    dropped = write_mat(path, variables, version=version, compress=compress)
    for place in dropped:
        log.warning("%s: %s is a MATLAB object; written as []", path, place)
    return Path(path)


def _of_one_class(net: Network) -> Network:
    """Convert params to single unless all are single or all double: MatConvNet requires operands of one class."""
    classes = {np.asarray(param.value).dtype.str[1:] for param in net.params.values()}
    if len(classes) <= 1 and classes <= {"f4", "f8"}:
        return net
    twin = net.copy()
    for param in twin.params.values():
        param.value = np.asarray(param.value, np.float32)
    return twin


def format_of(net: Network) -> str:
    """The format that `auto` selects for this network: simplenn or dagnn."""
    if net.source.format == "dagnn":
        return "dagnn"
    return "dagnn" if simplenn_obstacles(net, stock_only=True) else "simplenn"
