"""Commands that are killed, interrupted, or cannot write: an older file stays, no part of a new one appears.

The moments are drawn with a fixed seed. Writing fails through a limit on the size of files (RLIMIT_FSIZE), which the
system reports as it reports a full disk, and through a folder that cannot be written.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import matnet
from matnet.errors import FileFormatError
from matnet.files import atomic_write
from matnet.zoo.model_info import export_info, import_info

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
CARD = """---
name: own-model
license: unknown
task: classification
format: simplenn
definition: unknown
citation: [x]
mat: own-model.mat
mat_url: [{url}]
mat_size: {size}
md5: {{2020-01: {md5}}}
---
"""
"""Of a model in <home>/models, published at an address of this machine."""
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


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_a_fetch_that_is_stopped_goes_on(sent: signal.Signals, tmp_path: Path) -> None:
    """The server stops in the middle of the file until the command is gone, so that half of it is there for sure."""
    content = Path(MODEL).read_bytes()
    half = len(content) // 2
    served, asked, gone = threading.Event(), [], threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Range"))
            found = re.match(r"bytes=(\d+)-", asked[-1] or "")
            start = int(found[1]) if found else 0
            self.send_response(206 if found else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", '"one"')
            if found:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if len(asked) == 1:
                self.wfile.write(content[:half])
                self.wfile.flush()
                served.set()
                gone.wait(60)
                return
            self.wfile.write(content[start:])

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/own-model.mat"
        folder = tmp_path / "home" / "models" / "own-model"
        folder.mkdir(parents=True)
        card = CARD.format(url=url, size=len(content), md5=hashlib.md5(content).hexdigest())
        (folder / "readme.md").write_text(card)
        home = {**os.environ, "MATNET_HOME": str(tmp_path / "home")}
        command = [sys.executable, "-m", "matnet.zoo", "fetch", "own-model", "--quiet"]
        process = subprocess.Popen(command, env=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert served.wait(60), process.communicate()
        part = tmp_path / "home" / "mat" / "own-model.mat.part"
        until = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size) and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
        gone.set()
        assert process.returncode == (-sent if sent == signal.SIGKILL else 130), errors
        assert "Traceback" not in errors
        done = subprocess.run(command, env=home, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "home" / "mat" / "own-model.mat").read_bytes() == content
        assert asked[1] is not None, "it goes on from the bytes that came"
        assert sorted(path.name for path in (tmp_path / "home" / "mat").iterdir()) == ["own-model.mat"]
    finally:
        gone.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of which four pages (0.016 MB) are free."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        (folder / "filled").write_bytes(bytes(2**20 - 4 * 4096))
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", ["convert", "rewrite", "save", "features", "hdf5"])
def test_a_small_disk_that_is_full_is_one_sentence(name: str, small_disk: Path) -> None:
    path = output(name, small_disk)
    done = subprocess.run(arguments(name), cwd=small_disk, capture_output=True, text=True)
    assert done.returncode == (1 if name == "save" else 2), done.stderr
    assert path.name in done.stderr
    full = "0.02 MB are free" if name in ("features", "hdf5") else "No space left"
    assert full in done.stderr
    assert name == "save" or "Traceback" not in done.stderr
    assert not path.exists()
    assert not [found for found in small_disk.iterdir() if found.name.startswith(".")]


def test_a_file_of_two_names_stays_whole_on_a_disk_that_is_full(small_disk: Path) -> None:
    """Its new content is copied into it, which needs as much room again as the finished file beside it has."""
    old = small_disk / "one.bin"
    old.write_bytes(b"old")
    os.link(old, small_disk / "two.bin")
    with pytest.raises(FileFormatError, match=r"one\.bin.*No space left"), atomic_write(old) as file:
        file.write(bytes(3 * 4096))
    assert (small_disk / "two.bin").read_bytes() == b"old"
    assert sorted(path.name for path in small_disk.iterdir()) == ["filled", "one.bin", "two.bin"]


def test_a_card_that_does_not_fit_on_the_disk_is_named(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATNET_HOME", str(small_disk / "home"))
    with (small_disk / "more").open("wb", buffering=0) as file, suppress(OSError):
        for _ in range(3):
            file.write(bytes(4096))
    for action in (lambda: import_info(DIGITS, "mine"), lambda: export_info("digits-lenet", small_disk / "out")):
        with pytest.raises(FileFormatError, match=r"small/.*No space left"):
            action()
    assert not [path for path in small_disk.rglob("*") if path.is_file() and path.name not in ("filled", "more")]


def test_an_evaluation_on_a_full_disk_prints_its_result(small_disk: Path) -> None:
    """Its state cannot be kept, which one note says; the result goes to stdout, and to a file it cannot."""
    command = [sys.executable, "-m", "matnet.eval", "--limit", "40", "--quiet"]
    home = {**os.environ, "MATNET_HOME": str(small_disk / "home")}
    (small_disk / "more").write_bytes(b"")
    with suppress(OSError), (small_disk / "more").open("wb") as file:
        file.write(bytes(2**20))
    done = subprocess.run(command, cwd=small_disk, env=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "digits-lenet" in done.stdout and "Traceback" not in done.stderr
    done = subprocess.run([*command, "--json", "out.json"], cwd=small_disk, env=home, capture_output=True, text=True)
    assert done.returncode == 2
    assert "out.json" in done.stderr and "No space left" in done.stderr and "Traceback" not in done.stderr
    assert not (small_disk / "out.json").exists()


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
