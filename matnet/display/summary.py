"""The summary above a network's table: file, inputs and outputs, classes, preprocessing."""

from __future__ import annotations

from collections.abc import Mapping

from matnet.display.table import NetworkTable
from matnet.display.text import size_text
from matnet.errors import MatnetError
from matnet.inference import AT_INFERENCE
from matnet.meta import class_descriptions, class_names, preprocessing_summary
from matnet.meta.given import require_sizes
from matnet.network import Network
from matnet.shapes import Shape

FORMATS = {"simplenn": "SimpleNN", "dagnn": "DagNN", "caffe": "Caffe"}
CLASSES_SHOWN = 3


def summary(net: Network, table: NetworkTable) -> list[tuple[str, str]]:
    """Labels and their text: file, format, layers, inputs, outputs, classes, preprocessing, notes of the reader."""
    lines = [
        ("file", str(net.source.path) if net.source.path else ""),
        ("format", FORMATS.get(net.source.format, net.source.format)),
        ("layers", _layers(net, table)),
        ("inputs", ", ".join(f"{name} {_size(table, name)}" for name in net.inputs)),
        ("outputs", ", ".join(f"{name} {_size(table, name)}" for name in net.outputs)),
        ("classes", _classes(net)),
        ("preprocessing", preprocessing_summary(net) or ""),
    ]
    return [(label, text) for label, text in lines if text] + [("note", note) for note in net.source.notes]


def why_unsized(net: Network, table: NetworkTable, inputs: Mapping[str, Shape]) -> str | None:
    """One sentence on why sizes are unknown and which option to use; None if all are known."""
    if not table.unsized:
        return None
    missing = [name for name in table.inputs if name not in inputs]
    try:
        require_sizes(net, missing, inputs)
        net.for_inference().infer_shapes(inputs)
    except MatnetError as error:
        return str(error)
    return f"unknown sizes: {', '.join(table.unsized)}"


def _layers(net: Network, table: NetworkTable) -> str:
    groups = {
        "of unknown type": [row.name for row in table.layers if row.unknown],
        "for training only": [row.name for row in table.layers if row.training_only],
    }
    parts = [f"{what}: {', '.join(names)}" for what, names in groups.items() if names]
    if any(row.training_only for row in table.layers):
        parts += [note for note in net.for_inputs(net.data_inputs()).source.notes if note.startswith(AT_INFERENCE)]
    return f"{len(table.layers)} ({'; '.join(parts)})" if parts else str(len(table.layers))


def _size(table: NetworkTable, name: str) -> str:
    return size_text(table.shapes[name])


def _classes(net: Network) -> str:
    """The number of classes, and the first few by name and description."""
    names, words = class_names(net), class_descriptions(net)
    listed = names or words
    if not listed:
        return ""
    described = words if words and names and len(words) == len(names) else [""] * len(listed)
    pairs = zip(listed, described, strict=True)
    texts = [f"{name} ({word})" if word and word != name else name for name, word in pairs]
    more = ", ..." if len(listed) > CLASSES_SHOWN else ""
    return f"{len(listed)}: {', '.join(texts[:CLASSES_SHOWN])}{more}"
