"""Weights that are NaN or infinite are named where they are read, and what is computed with them is never `ok`."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.command_line import run_command
from matnet.convert import main as convert_main
from matnet.eval import main as eval_main
from matnet.features import main as features_main
from matnet.finite import PIECE, not_finite
from matnet.predict import main as predict_main
from matnet.run import main as run_main

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
    assert run_command(convert_main, ways[target]) == 0
    assert "2 of " in capsys.readouterr().err
    if target == "caffe":
        assert run_command(convert_main, [f"{tmp_path}/caffe.prototxt", f"{tmp_path}/caffe.caffemodel"]) == 0
        assert "caffe.caffemodel: weights are not finite" in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_answers_of_damaged_weights_are_never_fine(
    value: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where pooling and ReLU leave finite scores, as those of numpy do with a NaN."""
    net = matnet.load(DIGITS)
    name = list(net.params)[2]
    array = np.array(net.params[name].value)
    array.flat[[3, -1]] = value
    net.params[name].value = array
    model, out = str(matnet.save(net, tmp_path / "net.mat")), tmp_path / "out.json"
    data = DIGITS.parent / "test"
    given = ["--limit", "30", "--data", str(data), "--backend", "numpy", "--json", str(out), "--quiet"]
    assert run_command(eval_main, ["--model", model, *given]) == 2
    row = json.loads(out.read_text())
    assert row["status"] == "not finite"
    assert f"{name}: 2 of {array.size:,} values" in row["status_reason"]
    image = str(next((data / "3").iterdir()))
    assert run_command(predict_main, [model, image, "--backend", "numpy"]) == 2
    assert run_command(predict_main, [str(DIGITS), image, "--backend", "numpy"]) == 0


@pytest.mark.process
@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_values_that_are_not_finite_are_named(
    backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    """Finite weights whose products overflow in float32, and inputs of a file; numpy's own warnings show code."""
    net = matnet.load(DIGITS)
    product = net.params["ip1f"]
    product.value = np.full_like(product.value, 3e38)
    model = str(matnet.save(net, tmp_path / "net.mat"))
    images = sorted((DIGITS.parent / "test" / "3").iterdir())[:4]
    given = [*map(str, images), "--layer", "ip1", "--backend", backend]
    assert run_command(features_main, [model, *given, "--out", str(tmp_path / "f.npz")]) == 0
    assert "values of 4 images are NaN or infinite" in capsys.readouterr().err
    assert run_command(features_main, [str(DIGITS), *given, "--out", str(tmp_path / "f.npz")]) == 0
    assert "infinite" not in capsys.readouterr().err
    pixels = np.zeros((2, 1, 8, 8), np.float32)
    pixels[0, 0, 1, 2], pixels[1] = np.nan, -np.inf
    np.savez(tmp_path / "in.npz", in__input=pixels)
    assert run_command(run_main, [model, f"{tmp_path}/in.npz", f"{tmp_path}/out.npz", "--backend", backend]) == 0
    said = capsys.readouterr().err
    assert "in.npz: NaN or infinite values: input: 65 of 128 values" in " ".join(said.split())
    assert "out.npz: NaN or infinite values" in said
    assert not recwarn.list
