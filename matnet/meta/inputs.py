"""The sizes of a network's inputs: every place that can state them, and which one takes precedence.

The table in `docs/preprocessing.md` shows the order. All parts of matnet get input sizes from this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from matnet.meta.values import MEAN_FIELDS, first_array, normalization, numbers, structs, text_of, whole
from matnet.ops.base import Channels
from matnet.shapes import Shape

if TYPE_CHECKING:
    from matnet.network import Layer, Network

USUAL_INPUTS = ("data", "input")  # names of the image in the Caffe importer and in MatConvNet
DEFINITION, INPUTS, INPUT_SIZE = "the definition", "meta.inputs", "meta.inputSize"
IMAGE_SIZE, MEAN = "meta.normalization.imageSize", "the mean in meta.normalization"
READER = "the layer that reads it"


class Size(NamedTuple):
    """A size in MATLAB's order; None if unknown."""

    height: int | None = None
    width: int | None = None
    channels: int | None = None
    batch: int | None = None


class Statement(NamedTuple):
    """One place that states an input's size, and the size."""

    place: str
    size: Size


# -- precedence ------------------------------------------------------------------------------------


def declared_input_shapes(net: Network) -> dict[str, Shape]:
    """The shapes N x C x H x W of all data inputs of known size; N is 1 unless stated.

    Height and width come from the first of `InputFacts.statements` with both, N from the first with N. For the channels
    see `InputFacts.size`. Inputs of unknown height, width or channels are omitted.
    """
    shapes: dict[str, Shape] = {}
    facts = InputFacts(net)
    for name in facts.names:
        if name in net.input_shapes:
            shapes[name] = net.input_shapes[name]
            continue
        height, width, channels, batch = facts.size(name)
        if height and width and channels:
            shapes[name] = (batch or 1, channels, height, width)
    return shapes


def default_input_shapes(net: Network, batch: int, size: tuple[int, int] | None) -> dict[str, Shape]:
    """As `Network.default_input_shapes`."""
    declared, facts = declared_input_shapes(net), InputFacts(net)
    shapes: dict[str, Shape] = {}
    for name in facts.names:
        if name in declared:
            _, channels, *pixels = declared[name]
            shapes[name] = (batch, channels, *(size if size and pixels != [1, 1] else pixels))
        elif size and (channels_read := facts.channels(name)):
            shapes[name] = (batch, channels_read, *size)
    return shapes


def input_size(net: Network, name: str) -> Size:
    """The size of one data input, as far as it is known (see `InputFacts.size`)."""
    return InputFacts(net).size(name)


def image_size(net: Network) -> Size:
    """The size of the image input (see `image_input`); all None for a network without inputs."""
    name = image_input(net)
    return Size() if name is None else input_size(net, name)


def merged(sizes: Iterable[Size]) -> Size:
    """Height and width from the first size with both; channels and batch from the first with each."""
    known = list(sizes)
    height, width = next(((size.height, size.width) for size in known if size.height and size.width), (None, None))
    channels = next((size.channels for size in known if size.channels), None)
    return Size(height, width, channels, next((size.batch for size in known if size.batch), None))


def _channels(stated: Sequence[Statement], read: int | None) -> int | None:
    for place, size in stated:
        if size.channels is None:
            continue
        if read is None or size.channels == read or place == DEFINITION:
            return size.channels
        if place == INPUTS and size.channels % read == 0:
            return size.channels
    return read


def image_input(net: Network) -> str | None:
    """The input described by `meta.inputSize` and `meta.normalization`: `data` or `input`, else the first."""
    return _usual(net.data_inputs())


def _usual(names: Sequence[str]) -> str | None:
    called = [name for name in USUAL_INPUTS if name in names]
    return called[0] if called else next(iter(names), None)


def contradictions(net: Network) -> list[str]:
    """One sentence per contradiction about an input in the file, with the value used."""
    found = []
    facts = InputFacts(net)
    for name in facts.names:
        stated, size, read = facts.statements(name), facts.size(name), facts.channels(name)
        heights = {
            statement.place: f"{statement.size.height}x{statement.size.width}"
            for statement in stated
            if statement.size.height and statement.size.width and statement.place != MEAN
        }
        channels = {s.place: s.size.channels for s in stated if s.size.channels and s.place != MEAN}
        if len(set(heights.values())) > 1:
            found.append(_contradiction(name, "size", heights, f"{size.height}x{size.width}"))
        if read is not None and channels:
            channels["the first filters"] = read
        if len(set(channels.values())) > 1:
            found.append(_contradiction(name, "number of channels", channels, size.channels))
    return found


def _contradiction(name: str, what: str, stated: dict[str, Any], used: Any) -> str:
    statements = ", ".join(f"{place} states {value}" for place, value in stated.items())
    return f"the file has contradictory values for the {what} of input {name!r}: {statements}; using {used}"


# -- statements -------------------------------------------------------------------------------------


class InputFacts:
    """What the file states about the data inputs, and which layers read them; looked up once for all inputs."""

    def __init__(self, net: Network) -> None:
        self.net, self.names = net, net.data_inputs()
        self._image = _usual(self.names)
        self._entries = _inputs_by_variable(net, self.names)
        self._readers: dict[str, list[Layer]] = {}  # by their first input
        self._boxes: set[str] = set()
        for layer in net.layers.values():
            if layer.inputs:
                self._readers.setdefault(layer.inputs[0], []).append(layer)
            boxes = [place for place, kind in layer.op.input_kinds.items() if kind.is_boxes]
            self._boxes.update(name for place, name in enumerate(layer.inputs) if place in boxes)

    def statements(self, name: str) -> list[Statement]:
        """All statements about the size of a data input, in order of precedence.

        First the definition (`net.input_shapes`); then `meta.inputs` by name (for a network with one data input: the
        first entry); for the image input, then the other results of `image_statements`. The size of boxes without any
        statement comes from the layer that reads them.
        """
        found = []
        if name in self.net.input_shapes:
            batch, channels, height, width = self.net.input_shapes[name]
            found.append(Statement(DEFINITION, Size(height, width, channels, batch)))
        if name in self._entries:
            found.append(Statement(INPUTS, self._entries[name]))
        if name in self._boxes:
            return found or [Statement(READER, Size(1, 1, 5))]
        return found + (_other_statements(self.net.meta) if name == self._image else [])

    def size(self, name: str) -> Size:
        """The size of one data input, as far as it is known.

        The channels come from the definition or meta.inputs if the first filters accept them (groups divide the
        channels); else from the first filters; else from the other statements.
        """
        stated = self.statements(name)
        found = merged(statement.size for statement in stated)
        return found._replace(channels=_channels(stated, self.channels(name)) or found.channels)

    def channels(self, variable: str) -> int | None:
        """The channels that `variable` must have, from the first filters or moments that read it; None if any.

        Filters are assumed to be ungrouped, as in first layers. Layers that keep the number of channels (`Op.channels`)
        are skipped.
        """
        waiting, seen = [variable], {variable}
        for name in waiting:
            for layer in self._readers.get(name, ()):
                channels = layer.op.channels_read(self.net.param_shapes(layer))
                if channels:
                    return channels
                if layer.op.channels >= Channels.COUNT:
                    waiting += [output for output in layer.outputs if output not in seen]
                    seen.update(layer.outputs)
        return None


def image_statements(meta: Any) -> list[Statement]:
    """The statements about the image size in `meta` alone, in order of precedence.

    The entry `data` or `input` of `meta.inputs`, else its first entry; `meta.inputSize`;
    `meta.normalization.imageSize`; the size of the mean.
    """
    if not isinstance(meta, dict):
        return []
    entries = {text_of(entry.get("name")) or "": size_of(entry.get("size")) for entry in structs(meta.get("inputs"))}
    name = _usual(list(entries))
    first = [] if name is None else [Statement(INPUTS, entries[name])]
    return first + _other_statements(meta)


def _other_statements(meta: dict[str, Any]) -> list[Statement]:
    fields = normalization(meta)
    return [
        Statement(INPUT_SIZE, size_of(meta.get("inputSize"))),
        Statement(IMAGE_SIZE, size_of(fields.get("imageSize"))),
        Statement(MEAN, _size_of_mean(fields)),
    ]


def _size_of_mean(fields: dict[str, Any]) -> Size:
    """The size of a mean image; the channels of a mean colour."""
    mean = first_array(fields, MEAN_FIELDS)
    if mean is None or mean.size == 1:
        return Size()
    if mean.ndim >= 2 and min(mean.shape[:2]) > 1:
        return Size(mean.shape[0], mean.shape[1], mean.shape[2] if mean.ndim > 2 else 1)
    return Size(channels=mean.size)


def _inputs_by_variable(net: Network, names: list[str]) -> dict[str, Size]:
    """The sizes in `meta.inputs` by variable."""
    found: dict[str, Size] = {}
    entries = list(structs(net.meta.get("inputs")))
    known = set(names)
    for entry in entries:
        name = text_of(entry.get("name")) or ""
        variable = name if name in known else net.aliases.get(name, "")
        if variable in known:
            found.setdefault(variable, size_of(entry.get("size")))
    if not found and entries and len(names) == 1:
        found[names[0]] = size_of(entries[0].get("size"))
    return found


def size_of(value: Any) -> Size:
    """`[H W C N]`, with None for missing or invalid elements; one number is the side of a square."""
    found = [whole(number) for number in numbers(value)]
    if len(found) == 1:
        found *= 2
    return Size(*found[:4])


def input_channels(net: Network, variable: str) -> int | None:
    """The channels that `variable` must have; None if any (see `InputFacts.channels`)."""
    return InputFacts(net).channels(variable)
