"""What ops state of themselves (see matnet/ops/base.py), held against what their forward passes do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from matnet.display.svg import COLOURS
from matnet.layout import pad_to_4d
from matnet.ops import REGISTRY, Op
from matnet.ops.activation import ReLU
from matnet.ops.base import FACTS, Array, Channels, Elementwise, Unknown
from matnet.ops.convolution import Conv
from tests.conftest import assert_close
from tests.op_cases import CASES, OpCase, forward

TOLERANCE = 1e-5  # of the greatest value: sums run in another order

by_case = pytest.mark.parametrize("case", CASES, ids=str)


def assert_all_close(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert_close(one, other, TOLERANCE, f"output {number}")


@by_case
def test_independent_images_come_out_the_same_one_by_one(case: OpCase) -> None:
    """The outputs are those of each image alone, one after the other, or the same for every image."""
    if not case.op.images_independent:
        return
    inputs, params = case.arrays()
    whole = forward(case.op, inputs, params)
    images = len(inputs[0]) if inputs else 1
    apart = []
    for image in range(images):
        one = [x if len(x) == 1 else x[len(x) // images * image :][: len(x) // images] for x in inputs]
        apart.append(forward(case.op, one, params))
    constant = not set(range(len(inputs))) - case.op.size_only_inputs
    together = apart[0] if constant else [np.concatenate(parts) for parts in zip(*apart, strict=True)]
    assert_all_close(together, whole)


def test_ops_that_combine_images_do_not_claim_independence() -> None:
    """Those whose outputs change with the other images of the batch, or that have no output per image."""
    combining = {"BatchReindex", "BatchStatNorm", "DetectionOutput", "Filter", "LSTM", "Loss", "LossSmoothL1", "RNN"}
    combining |= {"BoxGroupOutput", "BoxOutput", "PSROIPooling", "Proposal", "ROIAlign", "ROIPooling"}
    combining |= {"CTCGreedyDecoder", "FrcnnOutput", "PermuteAxes", "YoloDetectionOutput"}
    stated = {str(case) for case in CASES if case.op.images_independent}
    assert {str(case) for case in CASES} - stated == combining


def reordered(case: OpCase, order: Sequence[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and params with their channels in another order; single ones stand for all."""
    inputs, params = case.arrays()
    for number, x in enumerate(inputs):
        if number not in case.op.size_only_inputs and x.shape[1] > 1:
            inputs[number] = np.ascontiguousarray(x[:, order])
    for number, axis in enumerate(case.op.channel_axes([param.shape for param in params])):
        whole = pad_to_4d(params[number])
        if whole.shape[axis] > 1:
            params[number] = np.take(whole, order, axis)
    return inputs, params


@by_case
def test_channels_are_kept_as_stated(case: OpCase) -> None:
    op, (inputs, params) = case.op, case.arrays()
    if op.channels == Channels.UNKNOWN:
        return
    expected = forward(op, inputs, params)
    count = inputs[0].shape[1]
    if max(x.shape[1] for number, x in enumerate(inputs) if number not in op.size_only_inputs) == count:
        assert {y.shape[1] for y in expected} == {count}
    orders: list[Sequence[int]] = []
    if op.channels >= Channels.REVERSIBLE:
        orders.append(range(count)[::-1])
    if op.channels >= Channels.PERMUTABLE:
        orders.append(np.random.default_rng(5).permutation(count).tolist())
    if op.channels == Channels.SEPARATE:
        orders.append([count - 1, 1])
    for order in orders:
        assert_all_close(forward(op, *reordered(case, order)), [y[:, order] for y in expected])


@by_case
def test_input_channels_and_weights_go_together(case: OpCase) -> None:
    """Channels and the weights along `input_channel_axis` in another order give the same outputs."""
    (inputs, params), axis = case.arrays(), case.op.input_channel_axis
    if not inputs or axis is None or not params[0].size:
        return
    count = inputs[0].shape[1]
    if pad_to_4d(params[0]).shape[axis] != count:  # groups
        return
    expected = forward(case.op, inputs, params)
    order = np.random.default_rng(5).permutation(count)
    params[0] = np.take(pad_to_4d(params[0]), order, axis)
    assert_all_close(forward(case.op, [inputs[0][:, order], *inputs[1:]], params), expected)


@by_case
def test_the_channels_read_are_those_of_the_input(case: OpCase) -> None:
    inputs, params = case.arrays()
    found = case.op.channels_read([param.shape for param in params])
    grouped = isinstance(case.op, Conv) and found and inputs[0].shape[1] != found
    assert found is None or grouped or found == inputs[0].shape[1]


def exchanged(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.swapaxes(2, 3))


@by_case
def test_height_and_width_are_exchanged_as_stated(case: OpCase) -> None:
    op, (inputs, params) = case.op, case.arrays()
    other = op.with_axes_swapped()
    if other is None:
        return
    again = other.with_axes_swapped()
    assert again is not None and again.with_axes_swapped() == other
    expected = [exchanged(y) for y in forward(op, inputs, params)]
    for number in op.spatial_params:
        if number < len(params):
            params[number] = pad_to_4d(params[number]).swapaxes(0, 1)
    assert_all_close(forward(other, [exchanged(x) for x in inputs], params), expected)


@by_case
def test_an_output_pixel_depends_only_on_its_receptive_field(case: OpCase) -> None:
    """A change of the last pixel of an input changes only outputs whose field holds it."""
    op, (inputs, params) = case.op, case.arrays()
    expected = forward(op, inputs, params)
    for number, seen in enumerate(op.receptive_fields([x.shape for x in inputs])):
        if seen is None or number in op.size_only_inputs:
            continue
        changed = [x.copy() for x in inputs]
        changed[number][..., -1, -1] *= 3
        for found, before in zip(forward(op, changed, params), expected, strict=True):
            for axis, place in enumerate(np.nonzero((found != before).any(axis=(0, 1)))):
                centre = seen.stride[axis] * place + seen.offset[axis]
                assert (np.abs(centre - inputs[number].shape[2 + axis]) <= (seen.size[axis] - 1) / 2).all()


@by_case
def test_sizes_depend_on_values_only_where_stated(case: OpCase) -> None:
    """Random values of another seed and sign; where sizes do depend, fewer rows than the most come out."""
    inputs, params = case.arrays(seed=8)
    inputs = [x if isinstance(given, np.ndarray) else x - 1 for x, given in zip(inputs, case.inputs, strict=True)]
    foretold = case.op.output_shapes([x.shape for x in inputs], [param.shape for param in params])
    with np.errstate(invalid="ignore"):
        found = [y.shape for y in forward(case.op, inputs, params)]
    assert (found != foretold) is case.op.sizes_depend_on_values
    assert not (case.op.images_independent and case.op.sizes_depend_on_values)


@by_case
def test_float16_holds_the_outputs_of_float16_inputs(case: OpCase) -> None:
    """Outputs of an op that may be kept in half precision are not much greater than its inputs."""
    if not case.op.half_precision:
        return
    inputs, params = case.arrays()
    for y in forward(case.op, [x * np.float32(100) for x in inputs], params):
        assert np.isfinite(y.astype(np.float16)).all()


@by_case
def test_an_affine_layer_computes_factor_times_x_plus_offset(case: OpCase) -> None:
    inputs, params = case.arrays()
    affine = case.op.affine(params)
    if affine is not None and len(inputs) == 1:
        factor, offset = (np.reshape(values, (-1, 1, 1)) for values in affine)
        assert_all_close([(factor * inputs[0] + offset).astype(np.float32)], forward(case.op, inputs, params))


def test_affine_layers_state_their_factors() -> None:
    stated = {str(case) for case in CASES if case.op.affine(case.arrays()[1]) is not None}
    assert {"BatchNorm", "Scale"} <= stated


@by_case
def test_outputs_are_what_is_stated(case: OpCase) -> None:
    """Joined channels, probabilities that sum to one, and numbers of classes."""
    op, (inputs, params) = case.op, case.arrays()
    found = forward(op, inputs, params)[0]
    if op.joins_channels:
        np.testing.assert_array_equal(found, np.concatenate(inputs, axis=1))
    if op.probabilities:
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=TOLERANCE)
        np.testing.assert_array_equal(found.argmax(axis=1), inputs[0].argmax(axis=1))
    if op.class_numbers:
        assert (found == found.round()).all() and found.min() >= 0 and found.max() < inputs[0].shape[1]
    assert not op.recorded_params or max(op.recorded_params) < op.param_count[1]
    assert all(place < len(inputs) for place, kind in op.input_kinds.items() if kind.is_boxes)


def test_every_op_has_a_family_that_is_drawn() -> None:
    assert {op.family for op in [*REGISTRY, Unknown]} <= COLOURS.keys()


def test_defaults_are_safe() -> None:
    op = Op()
    assert not (op.images_independent or op.sizes_depend_on_values or op.half_precision or op.spatial_params)
    assert not (op.joins_channels or op.probabilities or op.class_numbers or op.recorded_params or op.input_kinds)
    assert (op.channels, op.input_channel_axis, op.channels_read([(3, 3, 6, 8)])) == (Channels.UNKNOWN, None, None)
    assert op.with_axes_swapped() is None


def test_a_forward_pass_may_be_static() -> None:
    class Negative(Op):
        @staticmethod
        def forward(xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:  # type: ignore[override]
            return [-inputs[0]]

    assert forward(Negative(), [np.ones(3)], [])[0].tolist() == [-1, -1, -1]


def test_another_forward_pass_inherits_no_facts() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Mean(ReLU):
        family = "normalisation"

        def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
            return [inputs[0] - inputs[0].mean(axis=0)]

    @dataclass(frozen=True, kw_only=True)
    class Twice(Elementwise):
        def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
            return [2 * inputs[0]]

    @dataclass(frozen=True, kw_only=True)
    class Same(ReLU):
        leak: float = 0.5

    assert (Mean().family, Twice().family, Same().family) == ("normalisation", "activation", "activation")
    assert not Mean().images_independent and Twice().images_independent and Same().images_independent
    for name in FACTS - {"family"}:
        assert getattr(Mean, name) == getattr(Op, name), name
