"""Graph passes: what each one removes, and that the outputs stay what they were (1e-5 of the greatest value)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from matnet import Layer, Network, Param
from matnet.engines.cpu.runtimes import available
from matnet.engines.cupy import engine as gpu_engine
from matnet.engines.cupy.lower import lower
from matnet.engines.cupy.probe import Gpu
from matnet.engines.cupy.steps import Multiply
from matnet.engines.plan import (
    FullyConnected,
    FusedConv,
    Pass,
    drop_dropout,
    fold_after,
    fold_before,
    fold_padding,
    fuse,
    keep_needed,
    plan_network,
    to_products,
)
from matnet.formats.onnx import to_onnx_model
from matnet.ops.activation import DropOut, ReLU
from matnet.ops.base import Op
from matnet.ops.combine import Scale, Sum
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.extensions.activation import Power
from matnet.ops.normalization import BatchNorm
from matnet.ops.pooling import Pooling
from matnet.shapes import Shape
from tests.emulated_gpu import EmulatedDevice
from tests.helpers import chain, values

INPUT = (2, 6, 7, 11)  # N x C x H x W


def conv(count: int = 8, depth: int = 6, **fields: object) -> tuple[Op, list[np.ndarray]]:
    return Conv(**fields), [values(3, 5, depth, count), values(count, 1)]  # type: ignore[arg-type]


def batch_norm(channels: int) -> tuple[Op, list[np.ndarray]]:
    moments = np.stack([values(channels, seed=1), 0.5 + np.abs(values(channels, seed=2))], axis=1)
    return BatchNorm(), [values(channels, 1, seed=3), values(channels, 1, seed=4), moments]


def scale(channels: int, bias: bool = True) -> tuple[Op, list[np.ndarray]]:
    params = [values(1, 1, channels, seed=5), values(1, 1, channels, seed=6)]
    return Scale(hasBias=bias), params[: 1 + bias]


NO_BIAS = Conv(hasBias=False, pad=(1, 2, 0, 3)), [values(3, 5, 6, 8)]
GROUPED = Conv(stride=(2, 1)), [values(3, 5, 2, 9), values(9, 1)]
PAD_ONLY = Conv(hasBias=False, pad=(1, 2, 0, 3)), [np.zeros((0, 0), np.float32)]
IDENTITY = Conv(hasBias=False, pad=(1, 2, 0, 3)), [np.eye(6, dtype=np.float32).reshape(1, 1, 6, 6)]
PADDED = conv(pad=(1, 0, 2, 1))
TRANSPOSED = ConvTranspose(upsample=(2, 3), crop=(1, 0, 2, 1), numGroups=2), [values(3, 5, 4, 6), values(8, 1)]
HALVED = Power(scale=0.5, shift=-1.0), []
MOVED = Scale(), [values(1, 1, 6), np.zeros((1, 1, 6), np.float32)]
DROPOUT = DropOut(), []
POOL = Pooling(poolSize=(2, 2), method="avg"), []
FIVE_PIXELS = Scale(hasBias=False), [values(5, 1, 8)]  # differs from row to row: not per channel

# pass, the chain's ops, names of the layers that are left (layers are called a, b, c ... in order)
CHAINS: dict[str, tuple[Pass, list[tuple[Op, list[np.ndarray]]], str]] = {
    "dropout": (drop_dropout, [conv(), DROPOUT, POOL], "ac"),
    "dropout twice": (drop_dropout, [DROPOUT, DROPOUT, POOL], "c"),
    "dropout whose output is wanted": (drop_dropout, [conv(), DROPOUT], "ab"),
    "bnorm after conv": (fold_after, [conv(), batch_norm(8)], "a"),
    "bnorm after conv without bias": (fold_after, [NO_BIAS, batch_norm(8)], "a"),
    "bnorm after grouped conv": (fold_after, [GROUPED, batch_norm(9)], "a"),
    "bnorm after grouped convt": (fold_after, [TRANSPOSED, batch_norm(8)], "a"),
    "bnorm and scale after conv": (fold_after, [conv(), batch_norm(8), scale(8)], "a"),
    "scale without bias after conv": (fold_after, [conv(), scale(8, bias=False)], "a"),
    "power after conv": (fold_after, [conv(), HALVED], "a"),
    "scale per row after conv": (fold_after, [conv(), FIVE_PIXELS], "ab"),
    "bnorm behind relu": (fold_after, [conv(), (ReLU(), []), batch_norm(8)], "abc"),
    "bnorm before conv": (fold_before, [batch_norm(6), conv()], "b"),
    "bnorm before padded conv": (fold_before, [batch_norm(6), PADDED], "ab"),
    "bnorm before grouped conv": (fold_before, [batch_norm(6), GROUPED], "ab"),
    "one factor before grouped conv": (fold_before, [HALVED, GROUPED], "b"),
    "scale before conv": (fold_before, [MOVED, PADDED], "ab"),
    "pad before conv": (fold_padding, [PAD_ONLY, PADDED], "b"),
    "identity filters before conv": (fold_padding, [IDENTITY, conv()], "b"),
    "pad before pooling": (fold_padding, [PAD_ONLY, POOL], "ab"),
    "relu after conv": (fuse, [conv(), (ReLU(), [])], "a"),
    "leaky relu after conv": (fuse, [PADDED, (ReLU(leak=0.2), [])], "a"),
    "relu after pooling": (fuse, [POOL, (ReLU(), [])], "ab"),
    "everything": (plan_network, [PAD_ONLY, conv(), batch_norm(8), scale(8), DROPOUT, POOL], "bf"),
}


@pytest.mark.parametrize("case", CHAINS)
def test_pass_on_a_chain(case: str) -> None:
    apply, ops, left = CHAINS[case]
    net = chain(*ops)
    compare(net, apply, net.outputs, left)


def compare(net: Network, apply: Pass, wanted: list[str], left: str) -> None:
    """The pass leaves these layers, the same outputs, and the network that it was given as it was."""
    before = {name: param.value.copy() for name, param in net.params.items()}
    layers = {name: (layer.op, list(layer.inputs), list(layer.outputs)) for name, layer in net.layers.items()}
    planned = apply(net, wanted)
    assert "".join(planned.layers) == left
    x = {name: values(*INPUT, seed=number) for number, name in enumerate(net.inputs)}
    expected, found = net.forward(x, wanted), planned.forward(x, wanted)
    for name in wanted:
        bound = 1e-5 * np.abs(expected[name]).max()
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=bound)
    assert {name: (y.op, y.inputs, y.outputs) for name, y in net.layers.items()} == layers
    for name, value in before.items():
        np.testing.assert_array_equal(net.params[name].value, value)


def test_keep_needed_leaves_out_layers_and_params() -> None:
    net = chain(conv(), batch_norm(8), POOL)
    planned = keep_needed(net, ["a"])
    assert list(planned.layers) == ["a"]
    assert sorted(planned.params) == ["a0", "a1"]


@pytest.mark.parametrize("apply", [fold_after, fold_before, fold_padding])
def test_a_wanted_variable_is_not_folded_away(apply: Pass) -> None:
    first = {fold_after: conv(), fold_before: batch_norm(6), fold_padding: PAD_ONLY}[apply]
    second = batch_norm(8) if apply is fold_after else conv()
    compare(chain(first, second), apply, ["a", "b"], "ab")


def test_a_variable_with_two_readers_is_not_folded_away() -> None:
    net = chain(conv(), batch_norm(8))
    net.add(Layer("c", Sum(), ["a", "b"], ["c"]))
    compare(net, fold_after, ["c"], "abc")


def test_shared_filters_are_folded_for_one_reader_alone() -> None:
    net = chain(conv(), batch_norm(8))
    net.add(Layer("c", Conv(), ["x"], ["c"], ["a0", "a1"]))
    net.add(Layer("d", Sum(), ["b", "c"], ["d"]))
    compare(net, fold_after, ["d"], "acd")


def test_the_folded_bias_by_hand() -> None:
    """One channel, filter 2, bias 3; g 4, b 5, mu 6, sigma 0.5: factor 8, so filter 16, bias 8 * (3 - 6) + 5 = -19."""
    one = np.float32
    net = chain(
        (Conv(), [np.full((1, 1), 2, one), np.full((1, 1), 3, one)]),
        (BatchNorm(), [np.full((1, 1), 4, one), np.full((1, 1), 5, one), np.array([[6, 0.5]], one)]),
    )
    planned = fold_after(net, ["b"])
    filters, bias = (planned.params[name].value.ravel() for name in planned.layers["a"].params)
    np.testing.assert_array_equal([*filters, *bias], [16, -19])


def residual(first: str, second: str) -> Network:
    """x -> a -> relu b -> c, x -> d, then e = the sum of `first` and `second`, and a ReLU f."""
    padded, pixel = Conv(pad=(1, 1, 2, 2)), [values(1, 1, 6, 6), values(6, 1)]
    net = chain((padded, [values(3, 5, 6, 6), values(6, 1)]), (ReLU(), []), (Conv(), pixel))
    net.params |= {"d0": Param(values(1, 1, 6, 6, seed=9)), "d1": Param(values(6, 1, seed=9))}
    net.add(Layer("d", Conv(), ["x"], ["d"], ["d0", "d1"]))
    net.add(Layer("e", Sum(), [first, second], ["e"]))
    net.add(Layer("f", ReLU(), ["e"], ["f"]))
    return net


@pytest.mark.parametrize(
    ("terms", "wanted", "left", "inputs"),
    [
        (("c", "x"), ["f"], "ac", ["b", "x"]),
        (("x", "c"), ["f"], "ac", ["b", "x"]),
        (("c", "d"), ["f"], "acd", ["x", "c"]),  # d runs last
        (("c", "c"), ["f"], "acef", ["c", "c"]),  # the sum reads one value twice
        (("c", "x"), ["f", "c"], "acef", ["c", "x"]),
        (("c", "x"), ["f", "e"], "acf", ["b", "x"]),
    ],
)
def test_fused_sums(terms: tuple[str, str], wanted: list[str], left: str, inputs: list[str]) -> None:
    net = keep_needed(residual(*terms), wanted)
    compare(net, fuse, wanted, left)
    planned = fuse(net, wanted)
    summed = [layer for layer in planned.layers.values() if len(layer.inputs) == 2]
    assert [layer.inputs for layer in summed] == [inputs]
    assert isinstance(planned.layers["a"].op, FusedConv)


def filters(*shape: int, **fields: object) -> tuple[Op, list[np.ndarray]]:
    return Conv(**fields), [values(*shape), values(shape[3], 1)]  # type: ignore[arg-type]


# the chain's ops, on INPUT, and the names of the layers that are matrix products
WHOLE_MAPS: dict[str, tuple[list[tuple[Op, list[np.ndarray]]], str]] = {
    "the whole input": ([filters(7, 11, 6, 4)], "a"),
    "a whole map, then vectors": ([conv(), filters(5, 7, 8, 9), (ReLU(), []), filters(1, 1, 9, 4)], "bd"),
    "without bias": ([(Conv(hasBias=False), [values(7, 11, 6, 4)])], "a"),
    "stride without a second window": ([filters(7, 11, 6, 4, stride=(2, 3))], "a"),
    "stride over a row that no window sees": ([filters(6, 11, 6, 4, stride=(2, 3))], ""),
    "one column short": ([filters(7, 10, 6, 4)], ""),
    "pixels of a map": ([filters(1, 1, 6, 4)], ""),
    "groups": ([filters(7, 11, 3, 4)], ""),
    "pad": ([filters(7, 11, 6, 4, pad=(1, 0, 0, 0))], ""),
    "a window over map and pad": ([filters(8, 12, 6, 4, pad=(1, 0, 0, 1))], ""),
    "empty filters": ([filters(7, 11, 6, 4), (Conv(hasBias=False), [np.zeros((0, 0), np.float32)])], "a"),
}


def products_of(net: Network, wanted: Sequence[str]) -> Network:
    return to_products(net, net.infer_shapes({"x": INPUT}, wanted))


def fused_products_of(net: Network, wanted: Sequence[str]) -> Network:
    return products_of(fuse(net, wanted), wanted)


def whole_map(case: str) -> tuple[Network, str]:
    ops, products = WHOLE_MAPS[case]
    return chain(*ops), products


@pytest.mark.parametrize("case", WHOLE_MAPS)
def test_products_leave_the_outputs_as_they_are(case: str) -> None:
    net, products = whole_map(case)
    compare(net, products_of, net.outputs, "".join(net.layers))
    compare(net, fused_products_of, net.outputs, "".join(fuse(net, net.outputs).layers))
    planned = products_of(net, net.outputs)
    assert "".join(layer.name for layer in planned.layers.values() if isinstance(layer.op, FullyConnected)) == products


@pytest.mark.parametrize("case", WHOLE_MAPS)
def test_both_engines_compute_these_layers_as_products(case: str) -> None:
    net, products = whole_map(case)
    steps = lower(fuse(net, net.outputs), {"x": INPUT}, net.outputs).steps
    assert "".join(step.layer for step in steps if isinstance(step, Multiply)) == products
    nodes = to_onnx_model(net, input_shapes={"x": INPUT}).nodes
    assert "".join(node.name.partition("/")[0] for node in nodes if node.op_type == "Gemm") == products


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("backend", ["onnx", "cupy"])
@pytest.mark.parametrize("case", WHOLE_MAPS)
def test_products_in_both_engines(case: str, backend: str, images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against numpy on the network as it was; numpy also stands in for a GPU's libraries."""
    if backend == "onnx" and not available():
        pytest.skip("onnxruntime is not installed")
    gpu = Gpu(0, "emulated", (9, 0), 1 << 34, 13000, 13000)
    monkeypatch.setattr(gpu_engine, "find_gpu", lambda index=None, precision="fp32": gpu)
    monkeypatch.setattr(gpu_engine, "GpuDevice", EmulatedDevice)
    net, x = whole_map(case)[0], values(images, *INPUT[1:], seed=1)
    (name,) = net.outputs
    expected, found = net.forward(x)[name], net.forward(x, backend=backend)[name]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("op", "shape", "axes", "covers"),
    [
        (Conv(), (7, 11, 6, 5), (2, 6, 7, 11), True),
        (Conv(), (7, 11, 6, 5), (None, 6, 7, 11), True),  # any number of images
        (Conv(), (7, 11, 6, 5), (2, 6, None, 11), False),  # any height: it covers the map of one size alone
        (Conv(), (11, 7, 6, 5), (2, 6, 7, 11), False),
        (Conv(), (7, 11, 6), (2, 6, 7, 11), True),  # one filter: MATLAB drops the last axis
        (Conv(stride=(2, 3)), (7, 11, 6, 5), (2, 6, 7, 11), True),
        (Conv(dilate=(2, 3)), (1, 1, 6, 5), (2, 6, 1, 1), True),  # one pixel has no gaps
        (Conv(pad=(0, 0, 0, 1)), (7, 11, 6, 5), (2, 6, 7, 11), False),
        (Conv(), (7, 11, 3, 4), (2, 6, 7, 11), False),  # two groups
        (Conv(), (0, 0), (2, 6, 1, 1), False),
        (Conv(), (1, 1, 1, 0), (2, 1, 1, 1), False),
        (Conv(size=(1, 1, 1, 5)), (), (2, 1, 1, 1), False),  # declared, but not in the file
    ],
)
def test_when_a_convolution_is_a_matrix_product(
    op: Conv, shape: Shape, axes: tuple[int | None, ...], covers: bool
) -> None:
    """By hand: one window, whose pixels are those of the whole map, in all channels."""
    assert op.covers(axes, shape) == covers


def test_users_own_convolutions_are_left_alone() -> None:
    class Weighted(Conv):
        """A subclass may mean something else."""

    net = chain((Weighted(), [values(7, 11, 6, 4)]))
    assert type(products_of(net, ["a"]).layers["a"].op) is Weighted
