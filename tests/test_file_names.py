"""Names in data folders that are not UTF-8, as Linux allows: images are found, and what is printed never fails."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from matnet import eval
from matnet.command_line import run_command
from matnet.files import models_folder


@pytest.mark.process
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are bytes on Linux")
def test_names_that_are_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = models_folder() / "digits-lenet" / "test"
    for digit in range(10):
        (tmp_path / "data" / str(digit)).mkdir(parents=True)
        for number, image in enumerate(sorted((source / str(digit)).glob("*.png"))[:2]):
            name = b"caf\xe9-%d.png" % number  # Latin-1
            shutil.copy(image, os.path.join(os.fsencode(tmp_path / "data" / str(digit)), name))
    (tmp_path / "data" / "7" / os.fsdecode(b"\xff.png")).write_bytes(b"no image")
    out = tmp_path / "out.json"
    status = run_command(eval.main, ["--data", str(tmp_path / "data"), "--json", str(out), "--quiet"])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err and "bug" not in shown.err
    assert status in (0, 2), "one image cannot be read"
    record = json.loads(out.read_text(encoding="utf-8"))
    found = record[0] if isinstance(record, list) else record
    assert found["images"] == 20
    assert len(found["unreadable"]) == 1
