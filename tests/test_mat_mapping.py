"""What happens to a network when its mapped file is cut or overwritten, and what a loaded network holds of the file.

Each case runs in a process of its own, since what must not happen ends the process.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from matnet.formats.mat import write_mat
from matnet.formats.mat.values import Cell

CHANNELS, FILTERS = 1000, 1100  # 4.4 MB of filters: files up to 4 MiB are not mapped
pytestmark = [pytest.mark.process, pytest.mark.skipif(sys.platform == "win32", reason="Windows cuts no mapped file")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    values = np.arange(CHANNELS * FILTERS, dtype=np.float32).reshape(1, 1, CHANNELS, FILTERS) % 7
    layer = {"name": "c", "type": "conv", "weights": Cell([values, np.ones((1, FILTERS), np.float32)])}
    mean = np.arange(1200 * 3, dtype=np.float32).reshape(20, 60, 3)
    meta = {"normalization": {"averageImage": mean, "imageSize": np.array([[20.0, 60, 3]])}}
    write_mat(tmp_path / "net.mat", {"layers": Cell([layer]), "meta": meta})
    return tmp_path / "net.mat"


def run(script: str, file: Path) -> str:
    start = f"""
import numpy as np, os, matnet
from matnet.mapped import _mapped
path = {str(file)!r}
x = np.ones((2, {CHANNELS}, 1, 1), np.float32)
values = np.arange({CHANNELS * FILTERS}).reshape({CHANNELS}, {FILTERS}) % 7
expected = values.sum(axis=0) + 1.0
def check(found):
    np.testing.assert_allclose(np.reshape(found, (-1, {FILTERS})), np.broadcast_to(expected, (len(found), {FILTERS})))
"""
    done = subprocess.run([sys.executable, "-c", start + script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


SPOIL = {
    "cut": "os.truncate(path, 0)",
    "overwritten": "size = os.path.getsize(path)\nwith open(path, 'r+b') as f: f.write(b'\\xff' * size)",
}


@pytest.mark.parametrize("spoilt", SPOIL)
@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_a_compiled_network_does_not_need_its_file(backend: str, spoilt: str, file: Path) -> None:
    run(
        f"""
net = matnet.load(path)
assert _mapped
other = matnet.load(path)
engine = net.compile(backend={backend!r})
other(x, backend={backend!r})
{SPOIL[spoilt]}
(found,) = engine(x).values()  # programs are compiled for the first input, behind the loss of the file
check(found)
check(next(iter(engine(np.ones((5, {CHANNELS}, 1, 2), np.float32)[..., :1]).values())))
check(other(x, backend={backend!r}))
assert float(net.meta["normalization"]["averageImage"][19, 59, 2]) == 3599
assert not _mapped
""",
        file,
    )


@pytest.mark.parametrize("spoilt", SPOIL)
def test_a_copied_file_may_be_spoilt_at_once(spoilt: str, file: Path) -> None:
    run(f"net = matnet.load(path, mmap=False)\nassert not _mapped\n{SPOIL[spoilt]}\ncheck(net(x))", file)


def test_loaded_networks_keep_no_descriptors(file: Path) -> None:
    run(
        """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
nets = [matnet.load(path) for _ in range(500)]
assert len(_mapped) == 500
check(nets[250](x))
assert len(_mapped) == 499
del nets
assert not _mapped
""",
        file,
    )


def test_a_mapped_file_of_several_names_is_not_written_in_place(file: Path) -> None:
    """New content is copied into a file that has other names, and would change the params of the network."""
    run(
        """
net = matnet.load(path)
os.link(path, path + ".hard")
try:
    matnet.save(net, path + ".hard", version="7.3")
except matnet.MatnetError as error:
    assert ".hard: has several names" in str(error)
else:
    raise AssertionError("written over what is mapped")
check(net(x))
matnet.save(matnet.load(path, mmap=False), path + ".new")
del net
matnet.save(matnet.load(path, mmap=False), path)
assert os.path.samefile(path, path + ".hard")
check(matnet.load(path)(x))
""",
        file,
    )
