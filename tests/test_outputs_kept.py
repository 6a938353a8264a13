"""What `convert` does not replace: .mat files that hold something else than one network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from matnet import convert
from matnet.errors import run_command
from matnet.evaluation.command import embedded_model
from matnet.formats.mat import read_mat, write_mat
from tests.helpers import assert_line

LENET = Path(embedded_model())


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("held", ["data", "two networks"])
@pytest.mark.parametrize("source", ["two files", "mat", "name", "random"])
def test_a_mat_file_that_is_not_one_network_is_not_replaced(
    source: str, held: str, version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    """Somebody's results may lie in a .mat file of that name."""
    net = read_mat(LENET)
    target = tmp_path / "own.mat"
    write_mat(target, {"experiment": np.eye(3)} if held == "data" else {"a": net, "b": net}, version=version)
    before = target.read_bytes()
    folder = LENET.parent
    typed = {
        "two files": [str(folder / "deploy.prototxt"), str(folder / "digits-lenet.caffemodel"), str(target)],
        "mat": [str(LENET), str(target)],
        "name": ["digits-lenet", "--out", str(target)],
        "random": ["digits-lenet", "--random-weights", "--out", str(target)],
    }[source]
    assert run_command(convert.main, typed) == 2
    assert_line(capsys.readouterr().err, "own.mat", "experiment" if held == "data" else "a, b")
    assert target.read_bytes() == before
