"""What the GPU engine makes of a network: steps, fusing, types, memory. Nothing runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matnet import EngineError, Network
from matnet.engines.cupy.lower import lower, without_fusing
from matnet.engines.cupy.memory import ALIGNMENT, Arena, Buffer, place_buffers
from matnet.engines.cupy.schedules import planned_for, schedule_lines, why_layer_by_layer
from matnet.engines.cupy.steps import Convolve, DeviceBlob, Schedule
from matnet.ops import extensions as ext
from matnet.ops.activation import DropOut, ReLU, SoftMax
from matnet.ops.combine import Concat, Sum
from matnet.ops.convolution import Conv
from matnet.ops.normalization import LRN, BatchNorm
from matnet.ops.pooling import Pooling
from matnet.ops.roi import ROIPooling
from matnet.show import main as show_main
from tests.conftest import DATA
from tests.helpers import assert_line, network, values

X = (2, 6, 7, 11)


def lowered(net: Network, wanted: Sequence[str], precision: str = "fp32", cudnn: bool = True) -> Schedule:
    return lower(planned_for(net, wanted), {"x": X}, wanted, precision, cudnn)


def kinds(schedule: Schedule) -> list[str]:
    return [f"{type(step).__name__} {step.layer}" for step in schedule.steps]


FIRST = Conv(pad=(1, 2, 0, 3), stride=(2, 3)), ["x"], [values(3, 5, 6, 8), values(8, 1)]  # 4 x 4 x 8
NORM = BatchNorm(), ["a"], [values(8, 1), values(8, 1), np.stack([values(8), 1 + values(8) ** 2], axis=1)]
BRANCHES = network(
    (Conv(), ["x"], [values(1, 1, 6, 8), values(8, 1)]),
    (Pooling(poolSize=(3, 3), pad=(1, 1, 1, 1)), ["x"], []),
    (Conv(pad=(1, 1, 1, 1)), ["x"], [values(3, 3, 6, 6), values(6, 1)]),
    (Concat(), ["a", "c", "b"], []),
)


@pytest.mark.parametrize(
    ("net", "wanted", "steps"),
    [
        (network(FIRST, NORM, (ReLU(), ["b"], []), (DropOut(), ["c"], []), (LRN(), ["d"], [])), "e",
         ["Load x", "Convolve a", "Apply e", "Store e"]),
        (network(FIRST, NORM), "a", ["Load x", "Convolve a", "Store a"]),
        (network(FIRST, (Conv(), ["a"], [values(4, 4, 8, 3), values(3, 1)]), (ReLU(), ["b"], [])), "c",
         ["Load x", "Convolve a", "Multiply b", "Store c"]),
        (network(FIRST, (Conv(), ["a"], [values(3, 4, 8, 3), values(3, 1)])), "b",
         ["Load x", "Convolve a", "Convolve b", "Store b"]),
        (network((Conv(), ["x"], [values(7, 11, 3, 4), values(4, 1)])), "a", ["Load x", "Convolve a", "Store a"]),
        (network((Conv(pad=(1, 0, 0, 0)), ["x"], [values(7, 11, 6, 4)])), "a", ["Load x", "Convolve a", "Store a"]),
        (network((Conv(stride=(2, 2)), ["x"], [np.zeros((0, 0), np.float32)])), "a",
         ["Load x", "Apply a", "Store a"]),
        (BRANCHES, "d", ["Load x", "Convolve a", "Apply b", "Convolve c", "Join d", "Store d"]),
    ],
    ids=["fused chain", "wanted inside", "whole map", "part of the map", "groups are no product", "nor is a pad",
         "empty filters", "branches"],
)  # fmt: skip
def test_steps(net: Network, wanted: str, steps: list[str]) -> None:
    assert kinds(lowered(net, [wanted])) == steps


def test_without_cudnn_convolutions_are_left_to_the_ops() -> None:
    assert kinds(lowered(BRANCHES, ["d"], cudnn=False)) == [
        "Load x", "Apply a", "Apply b", "Apply c", "Join d", "Store d",
    ]  # fmt: skip


def test_an_image_of_three_channels_has_room_for_a_fourth() -> None:
    """Where a convolution alone reads it, which may then read zeros there; other inputs lie packed."""
    conv = Conv(), ["x"], [values(1, 1, 3, 8), values(8, 1)]
    pitches = []
    for net, channels in (
        (network(conv), 3),
        (network(conv, (LRN(), ["x"], []), (Concat(), ["a", "b"], [])), 3),
        (network((LRN(), ["x"], [])), 3),
        (network(FIRST), 6),
    ):
        schedule = lower(planned_for(net, net.outputs), {"x": (2, channels, 7, 11)}, net.outputs)
        pitches.append(schedule.steps[0].writes[0].pitch)
    assert pitches == [4, 0, 0, 0]


def test_a_convolution_as_cudnn_gets_it() -> None:
    """y = 2 x 8 x 4 x 4 by hand: (7 + 1 + 2 - 3) // 2 + 1 and (11 + 0 + 3 - 5) // 3 + 1."""
    residual = network(FIRST, (LRN(), ["a"], []), (Conv(), ["b"], [values(1, 1, 8, 8)]), (Sum(), ["c", "a"], []),
                       (ReLU(leak=0.1), ["d"], []))  # fmt: skip
    schedule = lowered(residual, ["e"], "tf32")
    first, last = (step.graph for step in schedule.steps if isinstance(step, Convolve))
    assert (first.x, first.filters, first.y) == (X, (8, 6, 3, 5), (2, 8, 4, 4))
    assert (first.x_strides, first.y_strides) == ((462, 1, 66, 6), (128, 1, 32, 8))
    assert (first.pad, first.stride, first.dilate, first.precision) == ((1, 2, 0, 3), (2, 3), (1, 1), "tf32")
    assert (first.bias, first.residual, first.leak) == (True, None, None)
    assert (last.bias, last.residual, last.leak) == (False, (128, 1, 32, 8), 0.1)


def test_what_cudnn_may_leave_out_of_a_graph() -> None:
    third = Conv(), ["b"], [values(1, 1, 8, 8), values(8, 1)]
    schedule = lowered(network(FIRST, (LRN(), ["a"], []), third, (Sum(), ["c", "a"], [])), ["d"])
    *_, step = (step for step in schedule.steps if isinstance(step, Convolve))
    assert [(graph.bias, graph.residual is not None) for graph in without_fusing(step.graph)] == [
        (True, True),
        (True, False),
        (False, False),
    ]


def test_float16_is_for_what_tensor_cores_read() -> None:
    """Boxes and scores stay float32: a box's corner at 2049 is no float16."""
    net = network(
        FIRST,
        (LRN(), ["a"], []),
        (ROIPooling(subdivisions=(2, 3)), ["b", "boxes"], []),
        (Conv(), ["c"], [values(2, 3, 8, 4), values(4, 1)]),
        (SoftMax(), ["d"], []),
    )
    schedule = lower(planned_for(net, ["e"]), {"x": X, "boxes": (1, 5, 1, 9)}, ["e"], "fp16")
    types = {blob.name: blob.dtype for step in schedule.steps for blob in (*step.reads, *step.writes)}
    halves = {name for name, kind in types.items() if kind == "float16"}
    assert halves == {"x", "a", "b", "c"}


def test_networks_whose_memory_cannot_be_planned() -> None:
    net = network(FIRST, (ext.Filter(), ["a", "selector"], []))
    assert_line(why_layer_by_layer(net), "size", "'b'")
    twice = network(FIRST, (ReLU(), ["a"], []))
    twice.layers["b"].outputs = ["a"]
    assert_line(why_layer_by_layer(twice), "'a'", "'a'", "'b'")
    lines = schedule_lines(net, {"x": X, "selector": (2, 1, 1, 1)})
    assert lines[0].startswith("layers run one at a time in CuPy: the output size")
    assert lines[1] == "activations are channels first (NCHW)"


@pytest.mark.process
def test_the_plan_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert schedule_lines(network(FIRST, NORM, (ReLU(), ["b"], [])), {"x": X}) == [
        "x  input to channels last: 2x6x7x11",
        "a  cuDNN convolution + bias + ReLU: 2x6x7x11 -> 2x8x4x4",
        "c  output to float32: 2x8x4x4",
        "activations are channels last (NHWC), share 0.0 MiB, in fp32",
        "merged into their neighbours: b, c",
    ]
    model = DATA / "matconvnet" / "sn_alexnet" / "model.mat"
    assert show_main([str(model), "--plan", "--backend", "cupy", "--precision", "fp16"]) == 0
    lines = capsys.readouterr().out.partition("\nplan\n")[2].splitlines()
    assert "cuDNN convolution + bias + ReLU" in lines[1]
    assert lines[-2].startswith("  activations are channels last (NHWC), ") and lines[-2].endswith(", in fp16")
    assert sum("matrix product + bias" in line for line in lines) == 3
    assert show_main([str(model), "--plan", "--backend", "numpy"]) == 0
    assert capsys.readouterr().out.endswith("numpy\n  activations are channels first (NCHW)\n")
    with pytest.raises(EngineError, match="supports only fp32"):
        show_main([str(model), "--plan", "--precision", "fp16"])


def test_a_blob_is_a_view_of_its_buffer() -> None:
    """Channel c of pixel (h, w) of image n lies at ((n H + h) W + w) pitch + c."""
    blob = DeviceBlob("b", (2, 3, 4, 5), pitch=7)
    view = blob.view(np.arange(1000, dtype=np.float32))
    assert view.shape == (2, 3, 4, 5)
    assert view[1, 2, 3, 4] == ((1 * 4 + 3) * 5 + 4) * 7 + 2
    assert blob.bytes == 2 * 4 * 5 * 7 * 4
    assert tuple(stride // 4 for stride in view.strides) == blob.strides


SIZES = st.integers(min_value=0, max_value=1 << 20)
SPANS = st.tuples(SIZES, st.integers(0, 12), st.integers(0, 4))


@pytest.mark.process
@given(st.lists(SPANS, max_size=16))
@settings(max_examples=300, deadline=None)
def test_buffers_in_use_together_do_not_overlap(spans: list[tuple[int, int, int]]) -> None:
    buffers = {str(n): Buffer(size, first, first + length) for n, (size, first, length) in enumerate(spans)}
    arena = place_buffers(buffers)
    for name, a in buffers.items():
        begin = arena.offsets[name]
        assert begin % ALIGNMENT == 0 and begin + a.size <= arena.size
        for other, b in buffers.items():
            if name < other and a.first <= b.last and b.first <= a.last:
                assert begin + a.size <= arena.offsets[other] or arena.offsets[other] + b.size <= begin


@pytest.mark.process
@given(st.lists(SIZES, min_size=2, max_size=20))
@settings(max_examples=300, deadline=None)
def test_a_chain_takes_no_more_than_its_largest_neighbours(sizes: list[int]) -> None:
    """Buffer i is written in step i and read in step i + 1: two are in use at a time."""
    buffers = {str(n): Buffer(size, n, n + 1) for n, size in enumerate(sizes)}
    padded = [-(-size // ALIGNMENT) * ALIGNMENT for size in sizes]
    assert place_buffers(buffers).size == max(a + b for a, b in pairwise(padded))


def test_no_buffers_take_no_memory() -> None:
    assert place_buffers({}) == Arena({}, 0)
