"""Fuses convolutions of a torch module with the following sum and ReLU, with two operators of ATen."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn

SUMS = (operator.add, operator.iadd, torch.add, torch.Tensor.add)


def with_fused_convolutions(module: Any) -> Any:
    """The module with `aten.cudnn_convolution_relu` and `aten.cudnn_convolution_add_relu` where possible.

    A ReLU is fused if it is the only reader of a convolution, or of the sum of a convolution and another term. Both
    operators have one pad for both sides of an axis, as nn.Conv2d.
    """
    traced = fx.symbolic_trace(module)
    modules = dict(traced.named_modules())
    for node in [node for node in traced.graph.nodes if isinstance(modules.get(node.target), nn.Identity)]:
        node.replace_all_uses_with(node.args[0])
        traced.graph.erase_node(node)
    for relu in [node for node in traced.graph.nodes if isinstance(modules.get(node.target), nn.ReLU)]:
        before, other = relu.args[0], None
        if before.op == "call_function" and before.target in SUMS and len(before.users) == 1:
            terms = [node for node in before.args if isinstance(node, fx.Node)]
            own = [node for node in terms if _alone(node, modules)]
            if len(terms) != 2 or not own:
                continue
            before = own[-1]
            other = terms[0] if terms[1] is before else terms[1]
        if not _alone(before, modules):
            continue
        conv = modules[before.target]
        with traced.graph.inserting_before(relu):
            fused = traced.graph.call_function(convolution, (*before.args, other, *_settings(traced, before, conv)))
        relu.replace_all_uses_with(fused)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _alone(node: Any, modules: dict[str, Any]) -> bool:
    """Whether the node is a convolution with a single reader."""
    conv = modules.get(node.target) if node.op == "call_module" else None
    return isinstance(conv, nn.Conv2d) and conv.padding_mode == "zeros" and len(node.users) == 1


def _settings(traced: Any, node: Any, conv: Any) -> tuple[Any, ...]:
    weight = traced.graph.get_attr(f"{node.target}.weight")
    bias = traced.graph.get_attr(f"{node.target}.bias") if conv.bias is not None else None
    return weight, bias, list(conv.stride), list(conv.padding), list(conv.dilation), conv.groups


def convolution(x: Any, other: Any, weight: Any, bias: Any, *windows: Any) -> Any:
    """relu(conv(x) + other), or relu(conv(x)) if other is None; `windows`: stride, padding, dilation, groups."""
    if other is None:
        return torch.ops.aten.cudnn_convolution_relu(x, weight, bias, *windows)
    return torch.ops.aten.cudnn_convolution_add_relu(x, weight, other, 1.0, bias, *windows)
