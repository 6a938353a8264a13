"""Concatenations spread over the convolution behind them: where, and that outputs stay what numpy computes (1e-5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from matnet import Layer, Network, Param
from matnet.engines.plan.spread import spread_concat
from matnet.ops.activation import ReLU
from matnet.ops.base import Op
from matnet.ops.combine import Concat, Sum
from matnet.ops.convolution import Conv
from matnet.ops.extensions.pooling import GlobalPooling
from matnet.ops.normalization import LRN
from matnet.ops.pooling import Pooling
from tests.conftest import assert_close
from tests.helpers import values

TOLERANCE = 1e-5
INPUT = (2, 6, 7, 11)  # N x C x H x W


def add(net: Network, name: str, op: Op, inputs: Sequence[str], *params: np.ndarray) -> str:
    names = [f"{name}_{number}" for number in range(len(params))]
    net.params.update({key: Param(value) for key, value in zip(names, params, strict=True)})
    net.add(Layer(name, op, list(inputs), [name], names))
    return name


CONV, CONCAT = Conv(), Concat()


def joined(between: Sequence[Op] = (), last: Op = CONV, *params: np.ndarray, concat: Op = CONCAT) -> Network:
    """Three convolutions of `x`, joined, then `between`, then `last`, by default with filters 1 x 1 x 12 x 4."""
    net = Network()
    parts = [
        add(net, "relu0", ReLU(), [add(net, "conv0", Conv(), ["x"], values(1, 1, 6, 5), values(5, 1))]),
        add(net, "norm1", LRN(), [add(net, "conv1", Conv(), ["x"], values(1, 1, 2, 3), values(3, 1))]),
        add(net, "conv2", Conv(pad=(1, 1, 1, 1)), ["x"], values(3, 3, 6, 4), values(4, 1)),
    ]
    last_name = add(net, "joined", concat, parts)
    for number, op in enumerate(between):
        last_name = add(net, f"between{number}", op, [last_name])
    if isinstance(last, Conv) and not params:
        params = values(1, 1, 12, 4), values(4, 1)
    add(net, "last", last, [last_name], *params)
    return net


def operators(net: Network, name: str) -> int:
    return sum(type(layer.op).__name__ == name for layer in net.layers.values())


POOL = Pooling(method="max", poolSize=(3, 2), stride=(2, 2), pad=(0, 1, 0, 1))


@pytest.mark.parametrize(
    ("net", "pools"),
    [
        (joined(), 0),
        (joined([POOL]), 3),
        (joined([ReLU(leak=0.1), POOL]), 3),
        (joined([GlobalPooling()]), 0),
        (joined([], Conv(pad=(1, 0, 2, 1), stride=(1, 2), hasBias=False), values(3, 2, 12, 6)), 0),
    ],
    ids=["alone", "pooling", "two layers", "global pooling", "larger filters"],
)
def test_what_was_concatenated_goes_its_own_way(net: Network, pools: int) -> None:
    before = {name: param.value.copy() for name, param in net.params.items()}
    planned = spread_concat(net, ["last"])
    assert operators(planned, "Concat") == 0
    assert operators(planned, "Conv") == 3 + 3
    assert operators(planned, "Sum") == 2
    assert operators(planned, "Pooling") == pools
    x = values(*INPUT)
    assert_close(planned.forward(x, ["last"])["last"], net.forward(x, ["last"])["last"], TOLERANCE, "last")
    for name, value in before.items():
        np.testing.assert_array_equal(net.params[name].value, value)


def test_names_that_are_taken_are_left_to_those_who_have_them() -> None:
    net = joined()
    net.layers["conv0"].outputs = net.layers["relu0"].inputs = ["last:0"]
    add(net, "last:1", ReLU(), ["norm1"])
    x, wanted = values(*INPUT), ["last", "last:0", "last:1"]
    found = spread_concat(net, wanted).forward(x, wanted)
    for name, expected in net.forward(x, wanted).items():
        assert_close(found[name], expected, TOLERANCE, name)


def shared(reader: str) -> Network:
    net = joined()
    add(net, "second", ReLU(), [reader])
    return net


@pytest.mark.parametrize(
    ("net", "wanted"),
    [
        (joined(), ["last", "joined"]),
        (shared("joined"), ["last", "second"]),
        (joined([POOL]), ["last", "between0"]),
        (joined([], Conv(), values(1, 1, 4, 6), values(6, 1)), ["last"]),  # three groups of four channels
        (joined([], Conv(), values(1, 1, 12, 7), values(7, 1)), ["last"]),  # 2 x 7 additions for 12 copies
        (joined([LRN()]), ["last"]),  # looks at other channels
        (joined(concat=Concat(dim=4)), ["last"]),  # images
        (joined([], Conv(), values(0, 0, 0, 0), values(12, 1)), ["last"]),
        (joined([], Sum()), ["last"]),
    ],
    ids=["wanted", "two readers", "wanted between", "groups", "too many outputs", "norm", "images", "empty", "no conv"],
)
def test_others_stay(net: Network, wanted: list[str]) -> None:
    if net.layers["joined"].op == Concat(dim=4):
        for name in ("conv0", "conv1", "conv2"):
            net.layers[name].op = Conv()
            net.params[f"{name}_0"].value, net.params[f"{name}_1"].value = values(1, 1, 6, 12), values(12, 1)
    planned = spread_concat(net, wanted)
    assert list(planned.layers) == list(net.layers)
    assert planned.forward(values(*INPUT), wanted).keys() == set(wanted)


def test_a_part_of_unknown_channels_stays() -> None:
    net = Network()
    add(net, "conv0", Conv(), ["x"], values(1, 1, 6, 5), values(5, 1))
    add(net, "joined", Concat(), ["conv0", "x"])
    add(net, "last", Conv(), ["joined"], values(1, 1, 11, 4), values(4, 1))
    assert "joined" in spread_concat(net, ["last"]).layers
