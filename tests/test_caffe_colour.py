"""Channels in the opposite order, carried through every op to where they no longer matter: results stay the same."""

from __future__ import annotations

import numpy as np
import pytest

from matnet import Layer, Network, Param
from matnet.converters.colour import RESTORED, reorder_inputs
from matnet.ops.base import Op
from matnet.ops.combine import Concat
from matnet.ops.extensions import Flatten
from matnet.ops.normalization import LRN
from tests.conftest import assert_close
from tests.op_cases import CASES, Given, OpCase, X

IMAGE = (X[0], 3, *X[2:])


def is_image(given: Given) -> bool:
    return not isinstance(given, np.ndarray) and given == X


READS_IMAGES = [case for case in CASES if case.inputs and is_image(case.inputs[0])]


def network(case: OpCase) -> Network:
    """An image twice, joined, then the op, which gets it as each of its inputs of that size, then all as one vector."""
    net = Network()
    net.add(Layer("joined", Concat(), ["x", "x"], ["twice"]))
    inputs = ["twice" if is_image(given) else f"in{number}" for number, given in enumerate(case.inputs)]
    names = [f"param{number}" for number in range(len(case.params))]
    net.params.update({name: Param(value) for name, value in zip(names, case.arrays()[1], strict=True)})
    given = [x.shape for x in case.arrays()[0]]
    count = len(case.op.output_shapes(given, [param.value.shape for param in net.params.values()]))
    net.add(Layer("op", case.op, inputs, [f"y{number}" for number in range(count)], names))
    for number in range(count):
        net.add(Layer(f"flat{number}", Flatten(), [f"y{number}"], [f"z{number}"]))
    return net


@pytest.mark.parametrize("case", READS_IMAGES, ids=str)
def test_results_stay_the_same_for_flipped_images(case: OpCase) -> None:
    net, inputs = network(case), case.arrays()[0]
    given = {f"in{number}": value for number, value in enumerate(inputs) if f"in{number}" in net.inputs}
    image = np.random.default_rng(2).uniform(0.5, 2, IMAGE).astype(np.float32)
    outputs = [name for name in net.variables if name.startswith("z")]
    expected = net.forward({"x": image, **given}, outputs)
    sizes = net.infer_shapes({"x": IMAGE, **{name: value.shape for name, value in given.items()}})
    reorder_inputs(net, ["x"], sizes)
    found = net.forward({"x": np.ascontiguousarray(image[:, ::-1]), **given}, outputs)
    for name in outputs:
        assert_close(found[name], expected[name], 1e-5, name)


@pytest.mark.parametrize(("window", "join", "restored"), [(5, False, False), (4, False, True), (5, True, True)])
def test_a_window_over_channels_passes_their_plain_reversal_alone(window: int, join: bool, restored: bool) -> None:
    """An even window is not symmetric, and two images one behind the other are not one image in reverse."""
    net = Network()
    net.add(Layer("joined", Concat(), ["x", "x"] if join else ["x"], ["a"]))
    net.add(Layer("norm", LRN(param=(window, 1, 0.5, 0.75)), ["a"], ["b"]))
    reorder_inputs(net, ["x"], net.infer_shapes({"x": IMAGE}))
    assert any(RESTORED in name for name in net.layers) is restored


def test_an_op_that_states_nothing_gets_channels_in_their_old_order() -> None:
    net = Network()
    net.add(Layer("own", Op(), ["x"], ["y"]))
    reorder_inputs(net, ["x"], {"x": IMAGE})
    assert net.layers["own"].inputs == [f"x{RESTORED}"]
