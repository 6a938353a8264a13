"""Commands that are killed, interrupted, or cannot write: an older file stays, no part of a new one appears.

The moments are drawn with a fixed seed. Writing fails through a limit on the size of files (RLIMIT_FSIZE), which the
system reports as it reports a full disk, and through a folder that cannot be written.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import matnet

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name != "posix", reason="signals and limits of a POSIX system"),
]

DIGITS = Path(matnet.__file__).parent / "models" / "digits-lenet"
OLD = (DIGITS / "digits-lenet.mat").read_bytes()
COMMANDS = {
    "convert": ["matnet.convert", str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits-lenet.caffemodel"), "out.mat"],
    "rewrite": ["matnet.convert", str(DIGITS / "digits-lenet.mat"), "out.mat", "--version", "7.3"],
}
SAVE = "import matnet, sys; matnet.save(matnet.load(sys.argv[1]), 'out.mat', format='dagnn')"
MOMENTS = int(os.environ.get("MATNET_FAULT_MOMENTS", "1"))
"""At which each command is stopped; more of them take minutes."""
FETCH = ["matnet.zoo", "fetch", "vgg-f", "--quiet", "--mirror", "http://127.0.0.1:9/"]


def arguments(name: str) -> list[str]:
    if name == "save":
        return [sys.executable, "-c", SAVE, str(DIGITS / "digits-lenet.mat")]
    return [sys.executable, "-m", *COMMANDS[name]]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
@pytest.mark.parametrize("name", ["rewrite", "save"])
def test_a_command_that_is_stopped_leaves_the_old_file_or_the_new_one(
    name: str, sent: signal.Signals, tmp_path: Path
) -> None:
    started = time.monotonic()
    subprocess.run(arguments(name), cwd=tmp_path, capture_output=True, check=True)
    usual = time.monotonic() - started
    new = (tmp_path / "out.mat").read_bytes()
    moments = random.Random(f"{name}/{sent}")
    for _ in range(MOMENTS):
        (tmp_path / "out.mat").write_bytes(OLD)
        process = subprocess.Popen(arguments(name), cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        time.sleep(usual * moments.uniform(0.3, 1.0))
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
        assert (tmp_path / "out.mat").read_bytes() in (OLD, new)
        if sent == signal.SIGINT and name != "save":
            assert process.returncode in (0, 130, -sent), "before and after the command itself, Python is interrupted"
            assert b"Traceback" not in errors
    subprocess.run(arguments(name), cwd=tmp_path, capture_output=True, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mat"], "what was left is removed at the next start"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_takes_no_more_is_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "out.mat").write_bytes(OLD)
    limited = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh", *arguments(name)]
    done = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "out.mat: cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("out.mat", OLD)]


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="nothing is forbidden to root")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_cannot_be_written_is_one_sentence(name: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        done = subprocess.run(arguments(name), cwd=tmp_path, capture_output=True, text=True)
    finally:
        tmp_path.chmod(0o700)
    assert done.returncode == 2
    assert "out.mat" in done.stderr and "Traceback" not in done.stderr


def test_a_fetch_where_nothing_can_be_kept_is_one_sentence(tmp_path: Path) -> None:
    """A file stands where the cache's folder belongs."""
    (tmp_path / "home").write_text("")
    home = {**os.environ, "MATNET_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-m", *FETCH], capture_output=True, text=True, env=home)
    assert done.returncode == 2
    assert "home" in done.stderr and "Traceback" not in done.stderr
