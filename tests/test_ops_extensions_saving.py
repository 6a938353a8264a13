"""Extension ops as DagNN files hold them: fields survive a MATLAB struct, and names are those of MATLAB modules."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.errors import NetworkError
from matnet.formats.plain import op_fields, op_from_fields
from matnet.network import Layer, Network
from matnet.ops import extensions
from matnet.ops.base import REGISTRY, Op
from matnet.params import Param
from tests.extension_ops import seeded

# Ops with fields that differ from their defaults.
FILLED: list[Op] = [
    extensions.Eltwise(coeff=(1, -0.5)),
    extensions.Slice(axis=2, points=(1, 4)),
    extensions.CaffeCrop(axis=1, offset=(0, 2)),
    extensions.CaffeReshape(shape=(0, -1), axis=1, numAxes=2),
    extensions.Reshape(shape=(0, -1, 4)),
    extensions.Permute.from_axes((0, 2, 3, 1)),
    extensions.CaffePooling(method="avg", poolSize=(3, 2), stride=2, pad=(1, 1, 0, 0), roundMode="floor"),
    extensions.MVN(normalizeVariance=False, acrossChannels=True, eps=1e-5),
    extensions.LSTM(staticInput=True),
    extensions.PriorBox.from_ssd([30], [60], [2, 3], variance=(0.1, 0.1, 0.2, 0.2), pixelStep=8.0),
    extensions.PriorBox(minSize=(10, 20), imageSize=(300, 200)),
    extensions.DetectionOutput(codeType="CENTER_SIZE", keepTopK=200, nmsTopK=400, confidenceThreshold=0.01),
    extensions.DenseCRF(wtGauss=15, xGauss=19, yGauss=19, byteImage=False, output="log"),
    extensions.DummyData(size=(4, 5, 3, 2), value=-1),
]
NEEDY = {"PriorBox"}  # has no meaning without sizes
DEFAULTS = [getattr(extensions, name)() for name in extensions.__all__ if name not in NEEDY]


@pytest.mark.parametrize("op", FILLED + DEFAULTS, ids=lambda op: repr(op))
def test_fields_survive_a_matlab_struct(op: Op) -> None:
    written = op_fields(op, {}, {})
    assert set(written) == {item.name for item in fields(op)}
    assert op_from_fields(type(op), written, {}) == op


@pytest.mark.parametrize("name", extensions.__all__)
def test_every_op_is_registered_as_an_extension(name: str) -> None:
    op = getattr(extensions, name)
    assert REGISTRY.dagnn[op.dagnn] is op
    assert op.dagnn.startswith("dagnn.") and not op.stock
    assert op.__doc__ and op.__doc__.strip()


def test_a_network_with_extensions_is_saved_and_loaded(tmp_path: Path) -> None:
    net = Network()
    net.add(Layer("norm", extensions.Normalize(), ["x"], ["norm"], ["scale"]))
    net.add(Layer("halves", extensions.Slice(axis=1, parts=2), ["norm"], ["a", "b"]))
    net.add(Layer("max", extensions.Max(), ["a", "b"], ["max"]))
    net.add(Layer("out", extensions.CaffePooling(method="avg", poolSize=3, stride=2, pad=1), ["max"], ["out"]))
    net.params["scale"] = Param(seeded(1, 1, 6, seed=1))
    x = seeded(2, 6, 7, 11)
    expected = net.forward(x)["out"]
    matnet.save(net, tmp_path / "net.mat")
    loaded = matnet.load(tmp_path / "net.mat")
    assert [layer.op for layer in loaded.layers.values()] == [layer.op for layer in net.layers.values()]
    np.testing.assert_array_equal(loaded.forward(x)["out"], expected)


def test_a_wrong_field_in_a_file_is_told_by_name() -> None:
    with pytest.raises(NetworkError, match=r"'roundMode'.*'up'.*ceil, floor"):
        op_from_fields(extensions.CaffePooling, {"roundMode": "up"}, {})
