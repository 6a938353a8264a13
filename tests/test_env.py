"""`matnet env`, and that the version is the same wherever it stands."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest

import matnet
from matnet import env

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.process
def test_what_a_report_needs_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mat").mkdir()
    (tmp_path / "mat" / "net.mat").write_bytes(bytes(2_500_000))
    monkeypatch.setenv("MATNET_HOME", str(tmp_path))
    assert env.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["matnet"].split()[0] == matnet.__version__
    assert found["numpy"] == version("numpy")
    assert found["backends"].startswith("numpy, onnx") and "cpu (" in found["devices"]
    assert "onnxruntime" in found["runtimes"]
    assert str(tmp_path) in found["cache folder"] and "2.5 MB" in found["cache folder"]
    env.main([])
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} >= {"matnet", "Python", "numpy"}


def test_a_fault_of_the_surroundings_is_part_of_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MATNET_HOME", "~nobody-of-this-name/cache")
    assert env.main([]) == 0
    assert "nobody-of-this-name" in capsys.readouterr().out


def test_the_version_is_stated_alike() -> None:
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    logged = re.search(r"^## \[(\S+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited and logged
    assert cited[1] == logged[1] == matnet.__version__
