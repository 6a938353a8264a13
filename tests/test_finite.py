"""Weights that are NaN or infinite are named where they are read: when a network is compiled or converted."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.convert import main as convert_main
from matnet.finite import PIECE, not_finite

DIGITS = Path(matnet.__file__).parent / "models" / "digits-lenet" / "digits-lenet.mat"


def damaged() -> matnet.Network:
    net = matnet.load(DIGITS)
    first, *_, last = net.params
    for name, places, value in ((first, (0, 3), np.nan), (last, (1,), -np.inf)):
        array = np.array(net.params[name].value)
        array.ravel(order="K")[list(places)] = value
        net.params[name].value = array
    return net


def test_values_are_counted_in_every_layout() -> None:
    array = np.ones((5, 3, 7, PIECE // 50), np.float32)
    array[1, 2, 3, 4:9], array[4, 2, 6, -1] = np.nan, np.inf
    repeated = np.broadcast_to(np.float32(np.nan), (4, 5, 6))
    huge = np.full((2, 3), 3e38, np.float32)
    layouts = {"C": array, "F": np.asfortranarray(array), "T": array.T, "view": array[::2], "repeated": repeated}
    assert not_finite({**layouts, "huge": huge, "whole": np.ones(3, np.int32), "empty": np.ones((0, 3))}) == {
        **dict.fromkeys(("C", "F", "T"), (6, array.size)),
        "view": (1, array[::2].size),
        "repeated": (120, 120),
    }


def test_compiling_names_the_params(caplog: pytest.LogCaptureFixture) -> None:
    net = damaged()
    with caplog.at_level(logging.WARNING, "matnet"):
        net.compile()
    first, *_, last = net.params
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert f"{first}: 2 of {net.params[first].value.size:,} values" in said[0]
    assert f"{last}: 1 of {net.params[last].value.size:,} values" in said[0]


def test_compiling_a_sound_network_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "matnet"):
        matnet.load(DIGITS).compile()
    assert not caplog.records


@pytest.mark.process
@pytest.mark.parametrize("target", ["copy.mat", "caffe", "net.onnx"])
def test_converting_names_the_params(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(matnet.save(damaged(), tmp_path / "damaged.mat"))
    ways = {
        "copy.mat": [source, str(tmp_path / target)],
        "caffe": ["--to-caffe", source, str(tmp_path / target)],
        "net.onnx": [source, "--to-onnx", str(tmp_path / target)],
    }
    from matnet.errors import run_command

    assert run_command(convert_main, ways[target]) == 0
    assert "2 of " in capsys.readouterr().err
    if target == "caffe":
        assert run_command(convert_main, [f"{tmp_path}/caffe.prototxt", f"{tmp_path}/caffe.caffemodel"]) == 0
        assert "caffe.caffemodel: weights are not finite" in capsys.readouterr().err
