"""What `convert` does not replace: .mat files that hold something else than one network."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from matnet import convert
from matnet.command_line import run_command
from matnet.evaluation.command import embedded_model
from matnet.formats.mat import read_mat, write_mat
from tests.helpers import assert_line

LENET = Path(embedded_model())


@pytest.mark.process
@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("held", ["data", "two networks", "a network and data"])
@pytest.mark.parametrize("source", ["two files", "mat", "name", "random"])
def test_a_mat_file_that_is_not_one_network_is_not_replaced(
    source: str, held: str, version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    """Somebody's results may lie in a .mat file of that name."""
    net = read_mat(LENET)
    target = tmp_path / "own.mat"
    contents = {"data": {"experiment": np.eye(3)}, "two networks": {"a": net, "b": net}}
    contents["a network and data"] = {"net": net, "experiment": np.eye(3)}
    write_mat(target, contents[held], version=version)
    before = target.read_bytes()
    folder = LENET.parent
    typed = {
        "two files": [str(folder / "deploy.prototxt"), str(folder / "digits-lenet.caffemodel"), str(target)],
        "mat": [str(LENET), str(target)],
        "name": ["digits-lenet", "--out", str(target)],
        "random": ["digits-lenet", "--random-weights", "--out", str(target)],
    }[source]
    assert run_command(convert.main, typed) == 2
    assert_line(capsys.readouterr().err, "own.mat", "a, b" if held == "two networks" else "experiment")
    assert target.read_bytes() == before


@pytest.mark.parametrize("kind", ["soft link", "text of any length", "cut"])
def test_a_mat_file_that_cannot_be_read_is_not_replaced(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """HDF5 that other programs read may be somebody's data, and so may be what is left of a damaged file."""
    target = tmp_path / "own.mat"
    write_mat(target, {"x": np.eye(3)}, version="7.3")
    with h5py.File(target, "a") as file:
        if kind == "soft link":
            file["y"] = h5py.SoftLink("/x")
        elif kind == "text of any length":
            file["y"] = "text"
    content = target.read_bytes()
    target.write_bytes(content[:700] if kind == "cut" else content)
    before = target.read_bytes()
    assert run_command(convert.main, [str(LENET), str(target)]) == 2
    assert_line(capsys.readouterr().err, "own.mat", "cannot be read", "another name")
    assert target.read_bytes() == before


def test_arguments_that_are_too_long_for_a_name_are_no_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ",".join(f"class{number}" for number in range(60))
    assert run_command(convert.main, [str(LENET), "new.mat", "--class-names", names]) == 2
    assert_line(capsys.readouterr().err, "60", "10")
    (tmp_path / "my net.mat").write_bytes(LENET.read_bytes())
    assert run_command(convert.main, ["my", "net.mat", "new.mat"]) == 2
    assert_line(capsys.readouterr().err, '"my net.mat"')
