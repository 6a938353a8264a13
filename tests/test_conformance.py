"""Whole networks against MatConvNet: every variable of tests/data/matconvnet and metrics, recorded under GNU Octave.

The expected arrays (H x W x C x N) are what MatConvNet itself computed; see INDEX.txt in those folders.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.run import main as run_main
from tests.conftest import DATA, assert_close, conformance_cases
from tests.helpers import full

TOLERANCE = 1e-5
CASES = [f"matconvnet/{name}" for name in conformance_cases("matconvnet")]
CASES += [f"metrics/{name}" for name in conformance_cases("metrics")]
SAVED = [*((case, "5") for case in CASES), *((case, "7.3") for case in CASES[::3])]


def compare(results: Path, expected: Path) -> None:
    with np.load(results) as found, np.load(expected) as reference:
        outputs = [name for name in reference.files if name.startswith("out__")]
        assert outputs
        for name in outputs:
            assert name in found.files, f"{name} is missing; found {found.files}"
            assert_close(full(found[name]), full(reference[name]), TOLERANCE, name)


@pytest.mark.process
@pytest.mark.parametrize("case", CASES)
def test_every_variable(case: str, tmp_path: Path) -> None:
    folder, out = DATA / case, tmp_path / "out.npz"
    arguments = [str(folder / "model.mat"), str(folder / "io.npz"), str(out), "--all", "--layout", "hwcn"]
    assert run_main(arguments) == 0
    compare(out, folder / "io.npz")


@pytest.mark.process
@pytest.mark.parametrize("case", CASES)
def test_inputs_and_outputs_as_mat(case: str, tmp_path: Path) -> None:
    folder, out = DATA / case, tmp_path / "out.mat"
    assert run_main([str(folder / "model.mat"), str(folder / "input.mat"), str(out), "--all"]) == 0
    from scipy.io import loadmat

    found = loadmat(out)
    with np.load(folder / "io.npz") as reference:
        for name in (name for name in reference.files if name.startswith("out__")):
            assert_close(full(found[name]), full(reference[name]), TOLERANCE, name)


@pytest.mark.process
@pytest.mark.parametrize(("case", "version"), SAVED)
def test_saved_again(case: str, version: str, tmp_path: Path) -> None:
    """load -> save -> run still gives MatConvNet's numbers, in both containers."""
    folder, again, out = DATA / case, tmp_path / "again.mat", tmp_path / "out.npz"
    matnet.save(matnet.load(folder / "model.mat"), again, version=version)
    assert run_main([str(again), str(folder / "io.npz"), str(out), "--all", "--layout", "hwcn"]) == 0
    compare(out, folder / "io.npz")


REAL = {
    "dncnn3": "dncnn3/DnCNN3.mat",
    "charscnn_legacy": "charscnn_legacy/charscnn.mat",
    "dcfnet_7_125_2": "dcfnet_7_125_2/DCFNet-net-7-125-2.mat",
}


@pytest.mark.process
@pytest.mark.parametrize("name", REAL)
def test_real_networks(name: str, real_data: Path, tmp_path: Path) -> None:
    out, reference = tmp_path / "out.npz", real_data / "reference" / f"{name}.npz"
    model = real_data / "matconvnet" / REAL[name]
    assert run_main([str(model), str(reference), str(out), "--all", "--layout", "hwcn"]) == 0
    compare(out, reference)


def test_real_dagnn_with_a_foreign_loss(real_data: Path) -> None:
    """LapSRN: its class dagnn.vllab_dag_loss is dropped by name, and the output is twice the input's size."""
    net = matnet.load(real_data / "matconvnet/lapsrn_x2/LapSRN_x2.mat")
    assert [layer.type_name for layer in net.training_layers()] == ["dagnn.vllab_dag_loss"]
    inference = net.for_inference()
    assert any("vllab_dag_loss" in note for note in inference.source.notes)
    assert inference.data_inputs() == ["LR"]
    result = inference(np.ones((2, 1, 7, 11), np.float32))
    assert result.shape == (2, 1, 14, 22)
