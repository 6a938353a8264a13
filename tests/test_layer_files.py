"""`--import FILE.py`: the user's own layers in every command, on Dask workers, and in what a resumed run must match."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.errors import MatnetError
from matnet.layer_files import LayerFile, import_layers, run_layer_files
from matnet.ops import REGISTRY

pytestmark = pytest.mark.process

FOLDER = Path(matnet.__file__).parent / "models" / "digits-lenet"
LAYERS = """\
from dataclasses import dataclass
from matnet.ops import Op, register

@register("mylab.{name}", caffe="{name}")
@dataclass(frozen=True, kw_only=True)
class {name}(Op):
    images_independent = True
    def forward(self, xp, inputs, params):
        return [{factor} * inputs[0]]
"""
NET = """\
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 2 dim: 3 dim: 4 dim: 5 }} }} }}
layer {{ name: "own" type: "{name}" bottom: "data" top: "own" }}
"""


def command(verb: str, *arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", f"matnet.{verb}", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    path = tmp_path / "my_layers.py"
    path.write_text(LAYERS.format(name="Tripled", factor=3))
    (tmp_path / "net.prototxt").write_text(NET.format(name="Tripled"))
    return path


def test_every_command_takes_the_users_layers(layers: Path) -> None:
    folder = layers.parent
    x = np.random.default_rng(3).normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.savez(folder / "in.npz", in__data=x)
    command("convert", folder / "net.prototxt", folder / "net.mat", status=2)
    command("convert", folder / "net.prototxt", folder / "net.mat", "--import", layers)
    assert "mylab.Tripled" in command("show", f"--import={layers}", folder / "net.mat").stdout
    command("run", folder / "net.mat", folder / "in.npz", folder / "out.npz", "--import", layers)
    with np.load(folder / "out.npz") as out:
        (name,) = out.files
        np.testing.assert_allclose(out[name], 3 * x[:, ::-1], rtol=1e-6)  # the file takes R, G, B; Caffe B, G, R
    command("diff", folder / "net.mat", folder / "net.mat", "--import", layers)
    for verb in ("eval", "convert", "run", "show", "diff", "zoo", "reproduce"):
        assert "--import FILE.py" in command(verb, "--help").stdout


def test_a_file_that_fails_is_named_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(NET.format(name="Tripled"))
    bad = tmp_path / "broken_layers.py"
    bad.write_text("import os\n\nNo_such_name\n")
    err = command("show", tmp_path / "net.prototxt", "--import", bad, status=2).stderr
    assert f"{bad}, line 3: NameError" in err
    bad.write_text("def f(:\n")
    assert f"{bad}, line 1: SyntaxError" in command("show", "x.mat", "--import", bad, status=2).stderr
    assert "none.py" in command("show", "x.mat", "--import", tmp_path / "none.py", status=2).stderr


def test_a_file_is_run_once_and_another_of_its_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "layers_once.py"
    path.write_text(LAYERS.format(name="Once", factor=2))
    try:
        file = import_layers(path)
        assert import_layers(path) == file  # a second registration would raise NetworkError
        run_layer_files([LayerFile("/elsewhere/layers_once.py", file.source)])
        with pytest.raises(MatnetError, match=r"layers_once\.py.*different file"):
            run_layer_files([LayerFile("/elsewhere/layers_once.py", b"x = 1")])
    finally:
        REGISTRY.remove(REGISTRY.caffe["Once"])


@pytest.fixture
def tripled(tmp_path: Path) -> Path:
    """digits-lenet with its scores times 3 behind it, `tripled`, in net.mat; the file of that layer."""
    layers = tmp_path / "tripled_layers.py"
    layers.write_text(LAYERS.format(name="Tripled", factor=3))
    program = (
        f"import matnet; from matnet.layer_files import import_layers; import_layers({str(layers)!r})\n"
        f"net = matnet.load({str(FOLDER / 'digits-lenet.mat')!r}).for_inference()\n"
        "op = matnet.ops.REGISTRY.dagnn['mylab.Tripled']()\n"
        "net.add(matnet.Layer('tripled', op, net.outputs, ['tripled']))\n"
        f"matnet.save(net, {str(tmp_path / 'net.mat')!r}, format='dagnn')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    return layers


def test_workers_and_resumed_runs_have_the_users_layers(tripled: Path, tmp_path: Path) -> None:
    """As many errors as digits-lenet, 10 of 355, in one process and on two workers."""
    pytest.importorskip("distributed", reason="distributed is not installed")
    arguments = ["--model", tmp_path / "net.mat", "--data", FOLDER / "test", "--import", tripled]
    found = []
    for more in ([], ["--workers", "2"]):
        command("eval", *arguments, *more, "--json", tmp_path / "result.json")
        found.append(json.loads((tmp_path / "result.json").read_text()))
    rows = [row[0] if isinstance(row, list) else row for row in found]
    assert rows[0]["top1_error"] == rows[1]["top1_error"] == pytest.approx(100 * 10 / 355)


def test_processes_that_share_features_have_the_users_layers(tripled: Path, tmp_path: Path) -> None:
    wanted = ["--layer", "ip2", "--layer", "tripled", "--workers", "2", "--import", tripled]
    command("features", tmp_path / "net.mat", FOLDER / "test" / "7", *wanted, "--out", tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as found:
        assert len(found["images"]) == len(list((FOLDER / "test" / "7").iterdir()))
        assert np.isfinite(found["tripled"]).all()
        np.testing.assert_allclose(found["tripled"].sum(axis=1), 3, rtol=1e-5)  # three times a softmax


def test_a_file_that_ends_the_process_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    err = command("show", FOLDER / "digits-lenet.mat", "--import", tmp_path / "leaves.py", status=2).stderr
    assert "leaves.py, line 2: SystemExit" in err
