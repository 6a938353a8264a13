"""Generates the Python source of a network, a module with one class, for `to_torch` and `save_torch`."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from matnet.errors import MatnetError, NetworkError, UnsupportedLayersError, listing
from matnet.meta import display_name
from matnet.network import Layer, Network
from matnet.shapes import Shape, text
from matnet.torch.names import OF_CODE, OF_MODULES, class_name, identifiers
from matnet.torch.registry import translation_of
from matnet.torch.writer import LayerWriter, Member, NotExpressible

PARTS = Path(__file__).with_name("parts.py")
INDENT = " " * 8


@dataclass
class Module:
    """The generated module: its text, class name, and tensors as arrays (views of the params) by state_dict name.

    `notes`: remarks for users of the class; `channels`: the channels of each output.
    """

    name: str
    text: str
    state: dict[str, np.ndarray]
    inputs: list[str]
    outputs: list[str]
    notes: list[str]
    channels: tuple[int, ...]


@dataclass
class CodeStep:
    """One layer in `forward`: its assignments and a comment."""

    lines: list[str]
    comment: str


def write_module(net: Network, wanted: Sequence[str], inputs: Sequence[str], shapes: Mapping[str, Shape]) -> Module:
    """The module that computes `wanted`; UnsupportedLayersError lists all layers without a translation."""
    layers = net.upto(wanted)
    attributes = identifiers([layer.name for layer in layers], OF_MODULES)
    locals_ = local_names(layers, inputs, wanted)
    members: dict[str, Member] = {}
    shared: dict[tuple[object, ...], Member] = {}
    steps, faults, notes = [], [], []
    owners: dict[str, str] = {}
    for layer in layers:
        read = [locals_[name] for name in layer.inputs]
        params = [np.asarray(net.params[name].value) for name in layer.params]
        sizes = [shapes[name] for name in layer.inputs]
        writer = LayerWriter(layer, read, sizes, params, attributes[layer.name], locals_[inputs[0]] if inputs else "")
        try:
            _translate(writer, net)
        except NotExpressible as error:
            faults.append(f"layer {layer.name!r} ({layer.type_name}): {error}")
            continue
        lines = [
            f"{', '.join(locals_[layer.outputs[place]] for place in places)} = {value}"
            for places, value in writer.results
        ]
        for member in writer.members:
            key = (member.constructor, *layer.params) if member.state else (member.name,)
            if key in shared:  # shared weights, as in Siamese networks: one submodule, used twice
                lines = [line.replace(f"self.{member.name}(", f"self.{shared[key].name}(") for line in lines]
                continue
            if member.name in members:
                raise NetworkError(
                    f"{net.source}: layer {layer.name!r}: submodule name {member.name!r} is taken; rename that layer"
                )
            members[member.name] = shared[key] = member
            notes += [
                f"layers {owners[name]!r} and {layer.name!r} share {name!r} in the file; here each has its own copy"
                for name in layer.params
                if name in owners
            ]
            owners.update(dict.fromkeys(layer.params, layer.name))
        steps.append(CodeStep(lines, f"{layer.name}: {_type(layer)}"))
    if faults:
        raise UnsupportedLayersError(
            listing(f"{net.source}: torch cannot express these layers:", faults)
            + "\nChoose outputs before these layers, or run the network with the numpy backend."
        )
    name = class_name(display_name(net), OF_CODE | _parts().keys())
    body = _class(name, net, inputs, wanted, locals_, shapes, members.values(), steps)
    state = {f"{member.name}.{what}": array for member in members.values() for what, array in member.state.items()}
    channels = tuple(shapes[output][1] for output in wanted)
    return Module(name, module_text(net, body), state, list(inputs), list(wanted), notes, channels)


def _translate(writer: LayerWriter, net: Network) -> None:
    layer = writer.layer
    write = translation_of(layer.op)
    if write is None:
        raise NotExpressible("no translation")
    try:
        write(writer, layer.op)
    except NotExpressible:
        raise
    except MatnetError as error:
        raise type(error)(f"{net.source}, layer {layer.name!r} ({layer.type_name}): {error}") from None


def _type(layer: Layer) -> str:
    """A layer's type in MatConvNet, and in Caffe if different."""
    return layer.type_name + (f", Caffe's {layer.op.caffe[0]}" if layer.op.caffe else "")


def local_names(layers: Sequence[Layer], inputs: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """The Python variable of each variable: `x` if only the next layer reads it, else its own name."""
    readers: dict[str, list[int]] = {}
    for place, layer in enumerate(layers):
        for name in layer.inputs:
            readers.setdefault(name, []).append(place)
    variables = [*inputs, *(name for layer in layers for name in layer.outputs)]
    chained = {
        layer.outputs[0]
        for place, layer in enumerate(layers)
        if len(layer.outputs) == 1 and layer.outputs[0] not in wanted and set(readers[layer.outputs[0]]) == {place + 1}
    }
    found = identifiers([name for name in variables if name not in chained], OF_CODE | _parts().keys())
    running = next(name for name in ("x", "y", "value", "value_of_chain") if name not in found.values())
    return found | dict.fromkeys(chained, running)


def _class(
    name: str,
    net: Network,
    inputs: Sequence[str],
    wanted: Sequence[str],
    locals_: Mapping[str, str],
    shapes: Mapping[str, Shape],
    members: Collection[Member],
    steps: Sequence[CodeStep],
) -> str:
    taken = ", ".join(f"{locals_[each]}: Tensor" for each in inputs)
    one = len(wanted) == 1
    sizes = ", ".join(f"{each} {text(shapes[each])}" for each in inputs)
    given = ", ".join(f"{each} {text(shapes[each])}" for each in wanted)
    named = ", ".join(f"{each!r}: {locals_[each]}" for each in wanted)
    result = locals_[wanted[0]] if one else f"{{{named}}}"
    lines = [
        f"class {name}(nn.Module):",
        f'    """{_quoted(display_name(net))}.',
        "",
        f"    Input, for one image: {_quoted(sizes)}. Output: {_quoted(given)}.",
        '    """',
        "",
        f"    input_names = {tuple(inputs)!r}",
        f"    output_names = {tuple(wanted)!r}",
        "",
        "    def __init__(self) -> None:",
        f"{INDENT}super().__init__()",
        *(f"{INDENT}self.{member.name} = {member.constructor}" for member in members),
        "",
        f"    def forward(self, {taken}) -> {'Tensor' if one else 'dict[str, Tensor]'}:",
        *(line for step in steps for line in _commented(step)),
        f"{INDENT}return {result}",
    ]
    return "\n".join(lines) + "\n"


def _commented(step: CodeStep) -> Iterator[str]:
    comment = "  # " + " ".join(step.comment.split())
    for place, line in enumerate(step.lines):
        yield f"{INDENT}{line}{'' if place else comment}"


def _quoted(value: str) -> str:
    """Text that is valid in a docstring."""
    return value.replace("\\", "/").replace('"', "'")


def module_text(net: Network, body: str) -> str:
    """Docstring, imports, the required parts, and the class."""
    head = [f'"""{_quoted(display_name(net))} as a PyTorch module, written by matnet."""', ""]
    head.append("from __future__ import annotations\n")
    needed = list(_needed(body))
    source = "\n\n".join([*needed, body])
    if "math." in source:
        head.append("import math\n")
    head.append("import torch" if "torch." in source.replace("import torch", "") else "")
    head.append("from torch import Tensor, nn")
    head += ["from torch.nn import functional as F"] if "F." in source else []
    head += ["", "Pair = tuple[int, int]"] if "Pair" in "\n".join(needed) else []
    return "\n".join(line for line in head if line is not None).replace("\n\n\n", "\n\n") + "\n\n\n" + source


@lru_cache(maxsize=1)
def _parts() -> dict[str, tuple[str, set[str]]]:
    """Every definition in parts.py: its text, and the names it uses."""
    source = PARTS.read_text(encoding="utf-8")
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found[node.name] = (ast.get_source_segment(source, node) or "", names_in(node))
    return found


def names_in(node: ast.AST) -> set[str]:
    """Every plain name used in a piece of code."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _needed(body: str) -> Iterator[str]:
    """The text of all parts that `body` uses, directly or indirectly, in the order of parts.py."""
    parts = _parts()
    waiting, used = names_in(ast.parse(body)) & parts.keys(), set()
    while waiting:
        name = waiting.pop()
        used.add(name)
        waiting |= (parts[name][1] & parts.keys()) - used
    yield from (source + "\n" for name, (source, _) in parts.items() if name in used)
