"""Convolutions and matrix products with sum, bias and ReLU as graphs of the cuDNN frontend."""

from __future__ import annotations

import hashlib
from typing import Any

from matnet.engines.cupy.steps import ConvGraph
from matnet.shapes import Shape

X, FILTERS, BIAS, OTHER, Y = 1, 2, 3, 4, 5  # uids of the buffers of a graph


def build_graph(cudnn: Any, graph: ConvGraph, **where: Any) -> Any:
    """The frontend's graph, without plans. where: a handle, or the properties of a device.

    Activations are N x C x H x W with the strides of `graph`; filters are K x c x h x w, in memory K x h x w x c.
    Accumulates in float32.
    """
    kinds = cudnn.data_type
    storage = kinds.HALF if graph.precision == "fp16" else kinds.FLOAT
    built = cudnn.pygraph(
        io_data_type=storage, intermediate_data_type=kinds.FLOAT, compute_data_type=kinds.FLOAT, **where
    )
    y = (_product if graph.product else _convolution)(built, graph, storage)
    shape, strides = _sizes(graph, graph.y, graph.y_strides)
    if graph.residual is not None:  # before the bias, because cuDNN has no precompiled kernels for the other order
        _, apart = _sizes(graph, graph.y, graph.residual)
        other = built.tensor(name="other", dim=shape, stride=apart, data_type=storage, uid=OTHER)
        y = built.add(a=y, b=other)
    if graph.bias:
        count = graph.filters[0]
        one, apart = _sizes(graph, (1, count, 1, 1), (count, 1, count, count))
        bias = built.tensor(name="bias", dim=one, stride=apart, data_type=storage, uid=BIAS)
        y = built.bias(input=y, bias=bias)
    if graph.leak is not None:
        y = built.relu(input=y, negative_slope=graph.leak) if graph.leak else built.relu(input=y)
    y.set_output(True).set_data_type(kinds.FLOAT if graph.wide else storage).set_uid(Y)
    y.set_dim(shape).set_stride(strides)
    return built


def _sizes(graph: ConvGraph, shape: Shape, strides: Shape) -> tuple[list[int], list[int]]:
    """Dimensions and strides for cuDNN; for a product, maps of one pixel become a batch of one matrix."""
    if not graph.product:
        return list(shape), list(strides)
    rows, columns = shape[:2]
    return [1, rows, columns], [rows * strides[0], *strides[:2]]


def _product(built: Any, graph: ConvGraph, storage: Any) -> Any:
    """x times the filters, stored as K rows."""
    count, depth = graph.filters[:2]
    dim, stride = _sizes(graph, graph.x, graph.x_strides)
    x = built.tensor(name="x", dim=dim, stride=stride, data_type=storage, uid=X)
    filters = built.tensor(
        name="filters", dim=[1, depth, count], stride=[depth * count, 1, depth], data_type=storage, uid=FILTERS
    )
    return built.matmul(A=x, B=filters)


def _convolution(built: Any, graph: ConvGraph, storage: Any) -> Any:
    x = built.tensor(name="x", dim=list(graph.x), stride=list(graph.x_strides), data_type=storage, uid=X)
    _, depth, h, w = graph.filters
    filters = built.tensor(
        name="filters",
        dim=list(graph.filters),
        stride=[depth * h * w, 1, depth * w, depth],
        data_type=storage,
        uid=FILTERS,
    )
    top, bottom, left, right = graph.pad
    windows = {
        "pre_padding": [top, left],
        "post_padding": [bottom, right],
        "stride": list(graph.stride),
        "dilation": list(graph.dilate),
    }
    if graph.transposed:
        return built.conv_dgrad(loss=x, filter=filters, **windows)
    return built.conv_fprop(image=x, weight=filters, **windows)


def less_exact_notes(cudnn: Any) -> list[Any]:
    """Numerical notes of plans less exact than float32: tensor cores, shorter inputs, large Winograd tiles."""
    notes = cudnn.numerical_note
    names = (
        "TENSOR_CORE",
        "DOWN_CONVERT_INPUTS",
        "REDUCED_PRECISION_REDUCTION",
        "WINOGRAD_TILE_6x6",
        "WINOGRAD_TILE_13x13",
    )
    return [getattr(notes, name) for name in names if hasattr(notes, name)]


def propose_plans(cudnn: Any, built: Any, graph: ConvGraph) -> int:
    """Let cuDNN propose plans for the graph, best first; returns their number. In fp32, excludes less exact plans.

    Raises cuDNN's exceptions if it does not support the graph.
    """
    built.validate()
    built.build_operation_graph()
    built.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    if graph.precision == "fp32":
        built.deselect_numeric_notes(less_exact_notes(cudnn))
    return int(built.get_execution_plan_count())


def key_of(graph: ConvGraph) -> str:
    """A hash of everything that determines the best plan."""
    return hashlib.sha256(repr(graph).encode()).hexdigest()[:32]
