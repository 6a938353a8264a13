"""Commands that are killed, interrupted, or cannot write: an older file stays, no part of a new one appears.

The moments are drawn with a fixed seed. Writing fails through a limit on the size of files (RLIMIT_FSIZE), which the
system reports as it reports a full disk, and through a folder that cannot be written.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import matnet

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name != "posix", reason="signals and limits of a POSIX system"),
]

DIGITS = Path(matnet.__file__).parent / "models" / "digits-lenet"
MODEL = str(DIGITS / "digits-lenet.mat")
COMMANDS = {
    "convert": ["matnet.convert", str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits-lenet.caffemodel"), "out.mat"],
    "rewrite": ["matnet.convert", MODEL, "out.mat", "--version", "7.3"],
    "features": ["matnet.features", MODEL, str(DIGITS / "test" / "3"), "--layer", "conv1", "--out", "out.npz"],
    "hdf5": ["matnet.features", MODEL, str(DIGITS / "test" / "3"), "--layer", "conv1", "--out", "out.h5"],
    "eval": ["matnet.eval", "--quiet", "--json", "out.json", "--resume"],
}
STOPPED = """import atexit, os, signal, sys
number, call = map(int, os.environ.get("STOP", "0 0").split())
count = 0
def counted(frame, event, argument):
    global count
    count += 1
    if count == call:
        sys.setprofile(None)
        os.kill(os.getpid(), number)
atexit.register(lambda: sys.setprofile(None) or print(count, file=sys.stderr))
sys.setprofile(counted)
"""
"""A module that sends this process the signal STOP="NUMBER CALL" at a call or return of a Python or C function."""
SAVE = STOPPED + "import matnet; matnet.save(matnet.load(sys.argv[1]), 'out.mat', format='dagnn')"
MOMENTS = int(os.environ.get("MATNET_FAULT_MOMENTS", "1"))
"""At which each command is stopped; more of them take minutes."""
FETCH = ["matnet.zoo", "fetch", "vgg-f", "--quiet", "--mirror", "http://127.0.0.1:9/"]


def arguments(name: str) -> list[str]:
    if name == "save":
        return [sys.executable, "-c", SAVE, MODEL]
    return [sys.executable, "-m", *COMMANDS[name]]


def output(name: str, folder: Path) -> Path:
    return folder / next((word for word in COMMANDS.get(name, ()) if word.startswith("out.")), "out.mat")


def figures(path: Path) -> object:
    """What must be the same in each run: all bytes, but for a result of an evaluation, which has times."""
    if path.suffix != ".json":
        return path.read_bytes()
    result = json.loads(path.read_text())
    return {name: result.get(name) for name in ("status", "images", "top1_error", "top5_error", "list_sha256")}


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
@pytest.mark.parametrize("name", ["rewrite", "save", "features", "eval"])
def test_a_command_that_is_stopped_leaves_the_old_file_or_the_new_one(
    name: str, sent: signal.Signals, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The moments are calls of functions, so that neither the machine nor its load changes them much."""
    path, layers = output(name, tmp_path), tmp_path_factory.mktemp("layers") / "stopped.py"
    layers.write_text(STOPPED)

    def run(call: int) -> subprocess.CompletedProcess[str]:
        command = [*arguments(name), *(["--import", str(layers)] if name != "save" else [])]
        moment = {**os.environ, "STOP": f"{int(sent)} {call}"}
        return subprocess.run(command, cwd=tmp_path, env=moment, capture_output=True, text=True, timeout=120)

    done = run(0)
    assert done.returncode == 0, done.stderr
    calls = int(done.stderr.split()[-1])
    old, new = path.read_bytes(), figures(path)
    moments = random.Random(f"{name}/{sent}")
    for _ in range(MOMENTS):
        call = moments.randint(1, calls)
        done = run(call)
        assert path.read_bytes() == old or figures(path) == new
        if sent == signal.SIGINT and name != "save":
            where = f"at call {call} of {calls}: {done.stderr}"
            assert done.returncode in (130, 0), where  # 0 where this run made fewer calls
            assert "Traceback" not in done.stderr and ("interrupted" in done.stderr) == (done.returncode == 130), where
    done = run(0)
    assert done.returncode == 0, done.stderr
    assert figures(path) == new, "a run that goes on from a stopped one has the same result"
    assert list(tmp_path.iterdir()) == [path], "what was left is removed at the next start"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "eval"])
def test_a_disk_that_takes_no_more_is_one_sentence(name: str, tmp_path: Path) -> None:
    path = output(name, tmp_path)
    limited = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh", *arguments(name)]
    done = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert path.name in done.stderr and "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not path.exists()
    if path.suffix == ".mat":  # features go on from what they have
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_device_is_one_sentence() -> None:
    command = [sys.executable, "-m", "matnet.eval", "--limit", "3", "--quiet", "--json", "/dev/full"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "/dev/full: cannot be written" in done.stderr and "Traceback" not in done.stderr


NOT_AS_ROOT = ["setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override"]
"""Root without the right to write where permissions forbid it."""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_cannot_be_written_is_one_sentence(name: str, tmp_path: Path) -> None:
    root = os.geteuid() == 0
    if root and shutil.which("setpriv") is None:
        pytest.skip("nothing is forbidden to root")
    tmp_path.chmod(0o500)
    try:
        done = subprocess.run(
            [*(NOT_AS_ROOT if root else ()), *arguments(name)], cwd=tmp_path, capture_output=True, text=True
        )
    finally:
        tmp_path.chmod(0o700)
    assert done.returncode == 2, done.stderr
    assert output(name, tmp_path).name in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_where_nothing_can_be_kept_is_one_sentence(tmp_path: Path) -> None:
    """A file stands where the cache's folder belongs."""
    (tmp_path / "home").write_text("")
    home = {**os.environ, "MATNET_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-m", *FETCH], capture_output=True, text=True, env=home)
    assert done.returncode == 2
    assert "home" in done.stderr and "Traceback" not in done.stderr
