"""Infer from layer types how many axes a blob has, and whether filters read it."""

from __future__ import annotations

from collections.abc import Sequence

from matnet.converters.graph.netdef import LayerDef, NetDef

KEEPING = frozenset((
    "AbsVal", "BNLL", "BatchNorm", "Bias", "Clip", "Dropout", "ELU", "Exp", "HardSwish", "Log", "MVN", "Mish", "PReLU",
    "Power", "ReLU", "ReLU6", "Scale", "Sigmoid", "Softmax", "Split", "Swish", "TanH", "Threshold", "Tile",
))  # fmt: skip
"""Types with as many axes in the first top as in the first bottom."""
JOINING = ("Concat", "Eltwise")
"""Types with the same number of axes in all bottoms and tops."""
OF_MAPS = frozenset((
    "Convolution", "ConvolutionDepthwise", "Crop", "Deconvolution", "DepthwiseConvolution", "Im2col", "Interp", "LRN",
    "PSROIPooling", "Pooling", "ROIAlign", "ROIPooling", "Reorg", "SPP", "ShuffleChannel", "Unpooling", "Upsample",
))  # fmt: skip
"""Types with a first bottom of N x C x H x W."""
FILTERING = ("Convolution", "Deconvolution", "ConvolutionDepthwise", "DepthwiseConvolution", "InnerProduct", "Im2col")
"""Types with filters over their input."""
OF_SEQUENCES = frozenset(("LSTM", "RNN", "Lstm", "CTCGreedyDecoder"))
"""Types with a first bottom of time, sequence and any number of further axes."""


class Axes:
    """Which inputs of unknown shape are N x C x H x W, and which are sequences."""

    def __init__(self, net: NetDef, layers: Sequence[LayerDef]) -> None:
        self.net = net
        self.groups = _Groups(layers)
        of_maps = {name for layer in layers if layer.type in OF_MAPS for name in layer.inputs[:1]}
        of_maps |= {net.input_variables[blob] for blob, shape in net.inputs.items() if shape and len(shape) == 4}
        sequences = {name for layer in layers if layer.type in OF_SEQUENCES for name in layer.inputs[:1]}
        self.maps, self.sequences = ({self.groups.of(name) for name in names} for names in (of_maps, sequences))

    def is_map(self, blob: str) -> bool:
        """Whether an input must be N x C x H x W."""
        return self._group(blob) in self.maps

    def is_sequence(self, blob: str) -> bool:
        """Whether the first axes of an input of unknown shape are time and sequence."""
        return self.net.inputs[blob] is None and not self.is_map(blob) and self._group(blob) in self.sequences

    def alike(self, blob: str, other: str | None) -> bool:
        """Whether two inputs must have the same number of axes."""
        return other is not None and self._group(blob) == self._group(other)

    def _group(self, blob: str) -> str:
        return self.groups.of(self.net.input_variables[blob])


class _Groups:
    """Disjoint sets of variables that must have the same number of axes because of the layers between them."""

    def __init__(self, layers: Sequence[LayerDef]) -> None:
        self.parents: dict[str, str] = {}
        for layer in layers:
            if layer.type in JOINING:
                self._join(*layer.inputs, *layer.outputs)
            elif layer.type in KEEPING:
                self._join(*layer.inputs[:1], *layer.outputs[:1])

    def of(self, variable: str) -> str:
        """The representative of the variable's set."""
        parents = self.parents
        while parents.get(variable, variable) != variable:
            parents[variable] = variable = parents.get(parents[variable], parents[variable])
        return variable

    def _join(self, *variables: str) -> None:
        for variable in variables:
            self.parents[self.of(variable)] = self.of(variables[0])


def reaches_filters(layers: Sequence[LayerDef], variable: str) -> bool:
    """Whether a layer with filters reads a variable's values, perhaps joined with others."""
    reached = {variable}
    for layer in layers:
        values = layer.inputs if layer.type in JOINING else layer.inputs[:1] if layer.type != "Embed" else ()
        if reached.intersection(values):
            if layer.type in FILTERING:
                return True
            reached.update(layer.outputs)
    return False
