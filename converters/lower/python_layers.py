"""Known Caffe Python layers with public source, by module and class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matnet.converters.files.param_str import param_values
from matnet.converters.graph.netdef import LayerDef
from matnet.converters.lower.builder import Builder
from matnet.converters.lower.registry import lowers, places
from matnet.errors import UnsupportedLayersError
from matnet.lazy import LazyTable

Function = Callable[[LayerDef, Builder, dict[str, Any]], None]
MODULES = {
    "activation": "spatial_dropout.SpatialDropoutLayer",
    "proposals": "proposal_layer.ProposalLayer proposal_layer_cascade.ProposalLayer",
    "yolo": "yolov2.darknet_reorg",
}
PYTHON: LazyTable[Function] = LazyTable(places(MODULES))
"""`module.Class` (without packages) -> the lowering function, which gets the values of param_str."""


def lowers_python(*names: str) -> Callable[[Function], Function]:
    """Decorator: register a lowering function for these Python layers."""

    def enter(function: Function) -> Function:
        PYTHON.update(dict.fromkeys(names, function))
        return function

    return enter


@lowers("Python", bottoms=(0, None), tops=(0, None))
def python_layer(layer: LayerDef, net: Builder) -> None:
    """A Python layer with a known module and class."""
    param = layer.params.get("python_param")
    function = PYTHON.get(_name(layer))
    if function is None:
        what = f"unknown Python layer {param.get('layer')} of module {param.get('module')!r}"
        raise UnsupportedLayersError(f"{what}; known Python layers: {', '.join(sorted(PYTHON))}")
    function(layer, net, param_values(param.get("param_str")))


def is_known_python(layer: LayerDef) -> bool:
    """Whether a layer of type Python has a lowering function."""
    return _name(layer) in PYTHON


def _name(layer: LayerDef) -> str:
    param = layer.params.get("python_param")
    return f"{param.get('module').rpartition('.')[2]}.{param.get('layer')}"
