"""Bad input: one clear sentence on stderr, exit status 2, no traceback, no half-written file."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.command_line import run_command
from matnet.errors import MatnetError
from matnet.formats.mat import read_mat, write_mat
from matnet.formats.mat.values import Cell
from matnet.run import main as run_main
from matnet.show import main as show_main
from tests.conftest import DATA

MODEL = DATA / "matconvnet/sn_alexnet/model.mat"
IO = DATA / "matconvnet/sn_alexnet/io.npz"
DAG = DATA / "matconvnet/dag_sum2/model.mat"


def expect(capsys: pytest.CaptureFixture[str], main: Callable[..., int], arguments: list[str], text: str) -> None:
    """Status 2 and a message that matches, without a traceback."""
    assert run_command(main, arguments) == 2
    message = capsys.readouterr().err
    assert re.search(text, message, re.DOTALL), message
    assert "Traceback" not in message


def text_file(path: Path) -> Path:
    path.write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>" * 20)
    return path


def no_network(path: Path) -> Path:
    write_mat(path, {"x": np.ones((3, 4))})
    return path


def weights_only(path: Path) -> Path:
    write_mat(path, {"params": {"name": "f", "value": np.ones((3, 3), np.float32)}})
    return path


def promise(path: Path) -> Path:
    """A header that promises a 4 GB array in a file of 200 bytes."""
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    body = np.array([14, 4_000_000_000], "<u4").tobytes() + np.array([6, 8, 7, 0, 5, 8, 30000, 30000], "<u4").tobytes()
    path.write_bytes(head + body + np.array([65537, 0x66, 7, 3_600_000_000], "<u4").tobytes())
    return path


def empty_file(path: Path) -> Path:
    path.touch()
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda path: path, r"model\.mat: no such"),
    "folder": (folder, r"model\.mat: the folder holds no network"),
    "empty": (empty_file, r"model\.mat: .*empty"),
    "web page": (text_file, r"model\.mat: .*web page"),
    "no network": (no_network, r"model\.mat: holds no network, only x"),
    "weights only": (weights_only, r"model\.mat: holds no network, only params"),
    "promises more than the file": (promise, r"model\.mat: "),
}


@pytest.mark.parametrize("command", ["run", "show", "eval"])
@pytest.mark.parametrize("kind", FILES)
def test_model_files(kind: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, text = FILES[kind]
    path = str(make(tmp_path / "model.mat"))
    out = tmp_path / "out.npz"
    if command == "run":
        expect(capsys, run_main, [path, str(IO), str(out)], text)
    elif command == "show":
        expect(capsys, show_main, [path], text)
    else:
        from matnet.eval import main as eval_main

        expect(capsys, eval_main, ["--model", path], text)
    assert not out.exists()


@pytest.mark.process
@pytest.mark.parametrize("case", ["sn_alexnet", "sn_file_scipy", "dag_file_v73", "sn_dncnn"])
def test_cut_anywhere(case: str, tmp_path: Path) -> None:
    """50 cut points each in a compressed v7, an uncompressed v5, a v7.3 and a v6 file: always a MatnetError."""
    whole = (DATA / "matconvnet" / case / "model.mat").read_bytes()
    path = tmp_path / "cut.mat"
    for cut in np.linspace(1, len(whole) - 9, 50).astype(int):
        path.write_bytes(whole[:cut])
        with pytest.raises(MatnetError, match=r"cut\.mat"):
            matnet.load(path)


def edited(tmp_path: Path, source: Path, edit: Callable[[dict], None]) -> Path:  # type: ignore[type-arg]
    variables = dict(read_mat(source))
    edit(variables)
    target = tmp_path / "edited.mat"
    write_mat(target, variables)
    return target


def nan_moments(variables: dict) -> None:  # type: ignore[type-arg]
    for layer in variables["layers"]:
        if layer["type"] == "bnorm":
            layer["weights"][2] = np.full_like(layer["weights"][2], np.nan)


def zero_moments(variables: dict) -> None:  # type: ignore[type-arg]
    for layer in variables["layers"]:
        if layer["type"] == "bnorm":
            layer["weights"][2] = np.zeros_like(layer["weights"][2])


def cycle(variables: dict) -> None:  # type: ignore[type-arg]
    layers = variables["layers"]
    layers[0]["inputs"] = layers[-1]["outputs"]


def dangling(variables: dict) -> None:  # type: ignore[type-arg]
    variables["layers"][1]["inputs"] = Cell(["nowhere"])


def no_params(variables: dict) -> None:  # type: ignore[type-arg]
    variables["params"] = np.zeros((0, 0))


GRAPHS: dict[str, tuple[str, Callable[[dict], None], str]] = {  # type: ignore[type-arg]
    "NaN moments": ("sn_bnorm", nan_moments, "moments.*nan"),
    "zero moments": ("sn_bnorm", zero_moments, "moments"),
    "cycle": ("dag_googlenet", cycle, "cycle"),
    "dangling input": ("dag_googlenet", dangling, "missing input 'nowhere'"),
    "missing params": ("dag_conv", no_params, "missing"),
}


@pytest.mark.process
@pytest.mark.parametrize("kind", GRAPHS)
def test_graphs_that_cannot_run(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case, edit, text = GRAPHS[kind]
    source = DATA / "matconvnet" / case
    path = edited(tmp_path, source / "model.mat", edit)
    arguments = [str(path), str(source / "io.npz"), str(tmp_path / "out.npz"), "--layout", "hwcn"]
    expect(capsys, run_main, arguments, rf"(?i)edited\.mat.*{text}")
    assert not (tmp_path / "out.npz").exists()


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


with np.load(IO) as _stored:
    X = _stored["in__x"].transpose(3, 2, 0, 1)

INPUTS: dict[str, tuple[dict[str, np.ndarray], list[str], str]] = {
    "rank": ({"in__x": X[0, 0]}, [], "dimensions"),
    "channels": ({"in__x": X[:, :1]}, [], "conv1|layer1"),
    "size": ({"in__x": X[:, :, :2, :2]}, [], "does not fit"),
    "text instead of numbers": ({"in__x": np.array([["a"]])}, [], "numbers"),
    "unknown output": ({"in__x": X}, ["--outputs", "conv9"], "no variable or layer 'conv9'; nearest"),
    "no array at all": ({}, [], "expected in__input"),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_arrays_that_do_not_fit(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays, options, text = INPUTS[kind]
    source = npz(tmp_path / "in.npz", **arrays)
    expect(capsys, run_main, [str(MODEL), str(source), str(tmp_path / "out.npz"), *options], text)
    assert not (tmp_path / "out.npz").exists()


def test_a_wrong_input_name_among_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = DATA / "matconvnet/dag_crop"
    with np.load(folder / "io.npz") as stored:
        arrays = {name: value for name, value in stored.items() if name.startswith("in__")}
    name, value = arrays.popitem()
    arrays["in__nothing_like_it"] = value
    source = npz(tmp_path / "in.npz", **arrays)
    arguments = [str(folder / "model.mat"), str(source), str(tmp_path / "out.npz"), "--layout", "hwcn"]
    expect(capsys, run_main, arguments, f"missing input.*{name[4:]}")


def test_array_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "in.npz"
    broken.write_bytes(IO.read_bytes()[:1000])
    expect(capsys, run_main, [str(MODEL), str(broken), str(tmp_path / "out.npz")], "in.npz: is not a readable")
    expect(capsys, run_main, [str(MODEL), str(IO), str(tmp_path / "out.txt")], "out.txt: expected an array file")


@pytest.mark.process
def test_the_command_itself(tmp_path: Path) -> None:
    """As a user meets it: a process, its stderr and its exit status."""
    missing = tmp_path / "nothing.mat"
    command = [sys.executable, "-m", "matnet.run", str(missing), str(IO), str(tmp_path / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("matnet: ") and "nothing.mat" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.process
def test_an_unreadable_image_is_named_counted_and_survived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from matnet.eval import main as eval_main
    from matnet.evaluation.command import embedded_data

    data = tmp_path / "digits"
    shutil.copytree(embedded_data(), data)
    victim = sorted((data / "3").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:30])
    assert run_command(eval_main, ["--data", str(data)]) == 2
    captured = capsys.readouterr()
    assert victim.name in captured.err and "1 " in captured.err
    assert "top-1" in captured.out


SOLVERS = {
    "net: 'train_val.prototxt' base_lr: 0.01 max_iter: 100": "train_val.prototxt",
    "test_iter: 10 test_interval: 100 lr_policy: 'step'": "not a network",
    "train_net: 'train.prototxt' test_net: 'test.prototxt' base_lr: 1": "train.prototxt",
}


@pytest.mark.parametrize("text", SOLVERS)
@pytest.mark.parametrize("options", [[], ["--lenient"]], ids=str)
def test_a_solver_is_named_as_one(
    text: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "solver.prototxt").write_text(text)
    expect(
        capsys, show_main, [str(tmp_path / "solver.prototxt"), *options], rf"solver\.prototxt.*solver.*{SOLVERS[text]}"
    )


@pytest.mark.process
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_cut_hdf5_file_is_told_in_plain_words(keep: float, tmp_path: Path) -> None:
    """Sizes and what to do, and not what the HDF5 library calls its own structures."""
    whole = matnet.save(matnet.load(MODEL), tmp_path / "whole.mat", version="7.3").read_bytes()
    path = tmp_path / "cut.mat"
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(MatnetError, match=r"cut\.mat") as caught:
        matnet.load(path)
    assert str(len(whole)) in str(caught.value)
    assert not any(word in str(caught.value) for word in ("sblock", "eof", "Unable", "superblock", "heap"))


def test_a_network_of_constants_needs_no_input(tmp_path: Path) -> None:
    filler = "shape { dim: 1 dim: 2 dim: 3 dim: 4 } data_filler { type: 'constant' value: 2 }"
    text = f"layer {{ name: 'd' type: 'DummyData' top: 'd' dummy_data_param {{ {filler} }} }} "
    text += "layer { name: 'i' type: 'Input' top: 'z' input_param { shape { dim: 1 } } } "
    text += "layer { name: 'p' type: 'Power' bottom: 'd' top: 'p' power_param { power: 3 } }"
    (tmp_path / "net.prototxt").write_text(text)
    net = matnet.load(tmp_path / "net.prototxt")
    np.testing.assert_array_equal(net({}), np.full((1, 2, 3, 4), 8, np.float32))
    with pytest.raises(MatnetError, match=r"net\.prototxt.*p depends on no input"):
        net(np.zeros((1, 2, 3, 4), np.float32))
    arguments = [str(tmp_path / "net.prototxt"), str(npz(tmp_path / "in.npz", z=np.ones(1))), str(tmp_path / "out.npz")]
    assert run_main(arguments) == 0
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(found["out__p"], np.full((1, 2, 3, 4), 8))


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_calls_and_layers_that_make_no_sense(backend: str, tmp_path: Path) -> None:
    net = matnet.load(MODEL)
    for call, text in (
        (lambda: net.forward(X, [], backend=backend), "outputs is empty"),
        (lambda: net.forward({1: X}, backend=backend), "names of inputs as keys, found 1"),
        (lambda: net.forward(X, [3], backend=backend), r"outputs is \[3\]"),
    ):
        with pytest.raises(MatnetError, match=text):
            call()
    names = {"inputs": Cell(["x"]), "outputs": Cell(["y", "z"]), "params": Cell([])}
    write_mat(tmp_path / "two.mat", {"layers": {"name": "r", "type": "dagnn.ReLU", **names, "block": {}}})
    with pytest.raises(MatnetError, match=r"'r'.*has 2 outputs; expected 1"):
        matnet.load(tmp_path / "two.mat").forward(X, backend=backend)
    with pytest.raises(MatnetError, match=r"'r'.*has 2 outputs; expected 1"):
        matnet.load(tmp_path / "two.mat").to_onnx(tmp_path / "two.onnx", size=(3, 8, 6))
