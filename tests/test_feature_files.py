"""`matnet features`, `net.features(out=)`: files of features, patterns of layers, resuming, several processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import tempfile
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import h5py
import numpy as np
import pytest
from PIL import Image

import matnet
from matnet import features
from matnet import run as run_verb
from matnet.answers import extraction
from matnet.answers.layer_names import named_layers
from matnet.answers.staging import DONE, Writer
from matnet.command_line import run_command
from matnet.engines import EngineOptions
from matnet.errors import DataError, FileFormatError, NetworkError
from matnet.formats.mat import read_mat, write_mat
from matnet.layer_files import import_layers
from matnet.network import Layer, Network
from matnet.ops import REGISTRY
from tests.conftest import DATA

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "digits-lenet" / "digits-lenet.mat"
SEVENS = sorted((ROOT / "models" / "digits-lenet" / "test" / "7").glob("*.png"))


@pytest.fixture(scope="module")
def net() -> Network:
    return matnet.load(MODEL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven digits, of which the fourth cannot be read."""
    place = tmp_path / "images"
    place.mkdir()
    for number, source in enumerate(SEVENS[:7]):
        shutil.copy(source, place / f"{number}.png")
    (place / "3.png").write_bytes(b"no image")
    return place


def expected(net: Network, pool: str = "none") -> dict[str, np.ndarray]:
    """The values of every image by the numpy engine, row 3 being NaN; pooled by NumPy."""
    x = np.stack([net.preprocessing.load(path) for path in SEVENS[:7]])
    values = net.forward(x, ["conv2", "ip1"])
    reduce = {"avg": np.mean, "max": np.max}.get(pool)
    found = {name: np.array(reduce(value, (2, 3)) if reduce else value) for name, value in values.items()}
    found["ip1"] = found["ip1"].reshape(7, -1)
    for value in found.values():
        value[3] = np.nan
    return found


def run(*arguments: object) -> int:
    return run_command(features.main, [*map(str, arguments)])


def read(path: Path) -> tuple[dict[str, np.ndarray], list[str], list[int]]:
    """Arrays N x C or N x C x H x W, names of images, and rows of unreadable ones."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            stored = dict(file)
        return stored, stored["images"].tolist(), stored["unreadable"].tolist()
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            stored = {name: value[()] for name, value in file.items()}
        return stored, [name.decode() for name in stored["images"]], stored["unreadable"].tolist()
    found: dict[str, Any] = read_mat(path)
    arrays = {
        name: value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
        for name, value in found.items()
        if isinstance(value, np.ndarray)
    }
    return arrays, [name.rstrip() for name in found["images"].rows], (found["unreadable"].ravel() - 1).tolist()


@pytest.mark.process
@pytest.mark.parametrize("pool", ["none", "avg", "max"])
@pytest.mark.parametrize("suffix", [".npz", ".h5", ".mat"])
def test_a_file_has_a_row_per_image(
    net: Network, folder: Path, tmp_path: Path, suffix: str, pool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"f{suffix}"
    layers = ["--layer", "conv2", "--layer", "ip1"]
    assert run("--pool", pool, MODEL, folder, *layers, "--out", out, "--batch-size", 2) == 2
    err = capsys.readouterr().err
    assert str(folder / "3.png") in err
    assert "1 of 7" in err
    arrays, images, unreadable = read(out)
    assert images == [str(folder / f"{number}.png") for number in range(7)]
    assert unreadable == [3]
    for name, values in expected(net, pool).items():
        np.testing.assert_allclose(arrays[name], values, rtol=1e-4, atol=1e-4)
        assert arrays[name].shape == values.shape
    assert not out.with_name(f"{out.name}.part").exists()


@pytest.mark.process
def test_npy_holds_one_layer_and_names_beside(net: Network, folder: Path, tmp_path: Path) -> None:
    (folder / "3.png").unlink()
    out = tmp_path / "f.npy"
    assert run(MODEL, folder, "--layer", "ip1", "--out", out) == 0
    np.testing.assert_allclose(np.load(out), np.delete(expected(net)["ip1"], 3, 0), rtol=1e-4, atol=1e-4)
    names = (tmp_path / "f.images.txt").read_text().splitlines()
    assert names == [str(path) for path in sorted(folder.iterdir())]
    assert run(MODEL, folder, "--layer", "ip1", "--layer", "conv1", "--out", tmp_path / "g.npy") == 2
    assert run(MODEL, folder, "--layer", "ip1", "--out", tmp_path / "g.txt") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.images.txt", "f.npy", "images"]


@pytest.mark.process
def test_python_gives_the_same_in_memory_and_in_a_file(net: Network, folder: Path, tmp_path: Path) -> None:
    in_memory = net.features(folder, ["conv*", "ip1"], pool="max")
    assert list(in_memory) == ["conv1", "conv2", "ip1"]
    out = net.features(folder, ["conv*", "ip1"], pool="max", out=tmp_path / "f.npz")
    with np.load(out) as stored:
        for name, values in in_memory.items():
            np.testing.assert_array_equal(stored[name], values)
            assert values.ndim == 2
    with pytest.raises(DataError, match="median"):
        net.features(folder, "ip1", pool="median")


def test_unknown_layers_are_all_named_with_the_nearest_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], net: Network
) -> None:
    assert run(MODEL, folder, "--layer", "convv2", "--layer", "zzz*", "--out", tmp_path / "f.npz") == 2
    err = capsys.readouterr().err
    assert "'convv2'" in err
    assert "'zzz*'" in err
    nearest = err.split("nearest: ")[1].split("\n")[0].split(", ")
    assert "conv2" in nearest
    assert len(nearest) == len(set(nearest))
    with pytest.raises(NetworkError, match="zzz"):
        net.features(folder, "zzz*")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


class Killed(BaseException):
    """What ends a run between two batches."""


def test_ctrl_c_says_how_to_go_on(
    net: Network, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Writer, "put", Mock(side_effect=KeyboardInterrupt))
    with caplog.at_level("INFO"), pytest.raises(KeyboardInterrupt):
        net.features(folder, "ip1", out=tmp_path / "f.npz")
    assert "f.npz.part" in caplog.messages[-1] and "same call" in caplog.messages[-1]


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path) -> Path:
    """A run that ended after two of its four batches."""
    put, calls = Writer.put, []

    def failing(self: Writer, rows: Any, values: Any, unreadable: Any) -> None:
        calls.append(rows)
        if len(calls) == 3:
            raise Killed
        put(self, rows, values, unreadable)

    out = tmp_path / "f.npz"
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Writer, "put", failing)
        run(MODEL, folder, "--layer", "ip1", "--out", out, "--batch-size", 2)
    assert not out.exists()
    return out


@pytest.mark.process
def test_an_interrupted_run_goes_on(
    interrupted: Path, net: Network, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that are done are not read again; one that could not be read is, and has been mended meanwhile."""
    computed: list[str] = []
    real = extraction.batches

    def counting(net: Network, pictures: Any, *rest: Any) -> Any:
        computed.extend(picture.name for picture in pictures)
        return real(net, pictures, *rest)

    monkeypatch.setattr(extraction, "batches", counting)
    shutil.copy(SEVENS[3], folder / "3.png")
    assert run(MODEL, folder, "--layer", "ip1", "--out", interrupted) == 0
    assert 3 <= len(computed) <= 4
    assert str(folder / "3.png") in computed or len(computed) == 3
    arrays, _, _ = read(interrupted)
    done = np.delete(np.arange(7), 3)
    np.testing.assert_allclose(arrays["ip1"][done], expected(net)["ip1"][done], rtol=1e-4, atol=1e-4)
    assert np.isfinite(arrays["ip1"]).all()


@pytest.mark.process
def test_an_image_that_changed_since_is_computed_again(
    interrupted: Path, net: Network, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    states = np.fromfile(interrupted.with_name("f.npz.part") / "done", np.uint8)
    row = int(np.flatnonzero(states == DONE)[-1])
    shutil.copy(SEVENS[8], folder / f"{row}.png")
    assert run(MODEL, folder, "--layer", "ip1", "--out", interrupted, "--batch-size", 2) == 2
    assert "computed again: 1" in capsys.readouterr().err
    values = expected(net)["ip1"]
    values[row] = net(net.prepare(SEVENS[8]), ["ip1"]).ravel()
    np.testing.assert_allclose(read(interrupted)[0]["ip1"], values, rtol=1e-4, atol=1e-4)


@pytest.mark.process
def test_an_interrupted_run_of_something_else_is_kept(
    interrupted: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    (folder / "3.png").unlink()
    part = interrupted.with_name("f.npz.part")
    before = sorted(path.name for path in part.iterdir())
    assert run(MODEL, folder, "--layer", "ip1", "--out", interrupted) == 2
    err = capsys.readouterr().err
    assert "list of images" in err
    assert "--no-resume" in err
    assert sorted(path.name for path in part.iterdir()) == before
    assert run(MODEL, folder, "--layer", "ip1", "--out", interrupted, "--no-resume") == 0
    assert not part.exists()


@pytest.mark.process
@pytest.mark.parametrize("other", ["network", "images", "images of Pillow", "open files"])
def test_an_interrupted_run_of_an_edited_network_or_other_arrays_is_kept(
    other: str, net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have the names of the first run: the file's, and image 1 to image 6, or those of types."""
    put, images = Writer.put, [np.full((8, 8), number, np.uint8) for number in range(6)]
    kinds: dict[str, Any] = {"images of Pillow": Image.fromarray, "open files": as_file}
    images = [kinds.get(other, np.asarray)(array) for array in images]
    with monkeypatch.context() as patched, pytest.raises(Killed):
        left: Any = iter([put])
        patched.setattr(Writer, "put", lambda *arguments: next(left, _kill)(*arguments))
        net.features(images, "ip1", out=tmp_path / "f.npz", batch_size=2)
    changed = matnet.load(MODEL)
    if other == "network":
        changed.params["ip1f"].value = changed.params["ip1f"].value * 3
    else:
        images = images[::-1]
    with pytest.raises(DataError, match=r"unfinished run with another (model|list of images)"):
        changed.features(images, "ip1", out=tmp_path / "f.npz", batch_size=2)


def test_an_image_opened_in_text_mode_is_named(net: Network, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="text mode"):
        net.features(StringIO("P6"), "ip1", out=tmp_path / "f.npz")


def _kill(*_: object) -> None:
    raise Killed


def as_file(array: np.ndarray) -> BytesIO:
    """A PNG file in memory."""
    file = BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file


@pytest.mark.process
def test_a_run_without_a_finished_image_blocks_no_other(
    net: Network, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Writer, "put", Mock(side_effect=Killed))
        net.features(folder, "ip1", out=tmp_path / "f.npz")
    net.features(folder, "conv1", out=tmp_path / "f.npz")


@pytest.mark.process
@pytest.mark.parametrize(("name", "content"), [("key.json", b"[" * 100_000), ("key.json", b""), ("done", b"\1")])
def test_a_damaged_state_is_begun_anew(
    name: str, content: bytes, interrupted: Path, net: Network, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (interrupted.with_name("f.npz.part") / name).write_bytes(content)
    (folder / "3.png").write_bytes(b"no image")
    assert run(MODEL, folder, "--layer", "ip1", "--out", interrupted) == 2
    assert "damaged" in capsys.readouterr().err
    arrays, _, _ = read(interrupted)
    np.testing.assert_allclose(arrays["ip1"], expected(net)["ip1"], rtol=1e-4, atol=1e-4)
    assert not interrupted.with_name("f.npz.part").exists()


@pytest.mark.process
def test_a_folder_of_others_with_that_name_stays(folder: Path, tmp_path: Path) -> None:
    part = tmp_path / "f.npz.part"
    part.mkdir()
    (part / "thesis.txt").write_text("mine")
    for extra in ([], ["--no-resume"]):
        assert run(MODEL, folder, "--layer", "ip1", "--out", tmp_path / "f.npz", *extra) == 2
    assert (part / "thesis.txt").read_text() == "mine"


@pytest.mark.process
def test_several_processes_write_the_same_file(net: Network, folder: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        out = tmp_path / f"f{workers}.npz"
        net.features(folder, ["ip1", "conv2"], out=out, workers=workers, batch_size=2, backend="onnx")
    (one, *rest), (two, *same) = (read(tmp_path / f"f{workers}.npz") for workers in (1, 2))
    assert rest == same
    assert {json.loads(str(arrays["about"]))["runtime"] for arrays in (one, two)} == {"onnxruntime"}
    for name in ("ip1", "conv2"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5, atol=1e-5)


@pytest.mark.process
def test_several_processes_say_once_what_one_says(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """NaN weights, and an EXIF orientation in the images of both."""
    net = matnet.load(MODEL)
    net["conv1"].filters = np.full((3, 3, 1, 16), np.nan)
    exif = Image.Exif()
    exif[0x0112] = 6
    for number, source in enumerate(SEVENS[:4]):
        Image.open(source).save(tmp_path / f"{number}.png", exif=exif)
    for workers in (1, 2):
        net.features(tmp_path, "ip1", out=tmp_path / f"f{workers}.npz", workers=workers, backend="onnx", batch_size=2)
        said = capfd.readouterr().err
        assert (said.count("conv1f: 144 of 144"), said.count("EXIF"), said.count(".png and 3 more")) == (1, 1, 1)


@pytest.mark.process
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed by SIGKILL")
def test_what_a_killed_process_leaves_goes_to_a_new_one(
    net: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both are killed once: the same file, and each image is counted once."""
    sevens = SEVENS[:30]
    net.features(sevens, ["ip1", "conv2"], out=tmp_path / "one.npz", backend="numpy", batch_size=1)
    killed: list[int | None] = []
    done: list[int] = []

    def watch(number: int) -> None:
        done.append(number)
        if not killed:
            killed.extend(child.pid for child in multiprocessing.active_children())
            for victim in killed:
                os.kill(victim or 0, signal.SIGKILL)

    variables = named_layers(net.for_inference(), ["ip1", "conv2"])
    task = extraction.Extraction(net, variables, "none", net.preprocessing, EngineOptions("numpy", batch_size=1))
    assert extraction.extract(task, sevens, tmp_path / "two.npz", workers=2, progress=lambda *_: watch) == []
    assert len(killed) == 2 and sum(done) == len(sevens)
    assert caplog.text.count("was killed") == 2
    (one, *rest), (two, *same) = (read(tmp_path / f"{name}.npz") for name in ("one", "two"))
    assert rest == same
    for name in ("ip1", "conv2"):
        np.testing.assert_array_equal(one[name], two[name])


DEADLY = """
import os
from dataclasses import dataclass
from matnet.ops import Op, register

@register("lab.Deadly")
@dataclass(frozen=True, kw_only=True)
class Deadly(Op):
    images_independent = True
    def forward(self, xp, inputs, params):
        os._exit(9)
"""


@pytest.mark.process
def test_processes_that_die_of_every_image_are_an_error(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    import_layers(tmp_path / "deadly.py")
    monkeypatch.setattr(extraction, "DEATHS", 1)
    try:
        copy = net.copy()
        copy.add(Layer("deadly", REGISTRY.dagnn["lab.Deadly"](), ["ip1"], ["end"]))
        with pytest.raises(DataError, match="ended 1 times"):
            copy.features(SEVENS[:4], "end", out=tmp_path / "f.npz", workers=2, backend="numpy")
    finally:
        del REGISTRY.dagnn["lab.Deadly"]


@pytest.mark.process
def test_no_image_can_be_read(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(MODEL, folder / "3.png", "--layer", "ip1", "--out", tmp_path / "f.npz") == 2
    assert "3.png" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_an_output_that_is_something_else_stays(folder: Path, tmp_path: Path) -> None:
    shutil.copy(SEVENS[0], tmp_path / "photo.npz")
    before = (tmp_path / "photo.npz").read_bytes()
    assert run(MODEL, folder, "--layer", "ip1", "--out", tmp_path / "photo.npz") == 2
    assert (tmp_path / "photo.npz").read_bytes() == before


def person_file(path: Path) -> Path:
    """A file of a person's, of the kind that the name promises."""
    if path.suffix == ".npz":
        np.savez(path, images=np.ones(3), accuracy=np.ones(2))
    elif path.suffix == ".npy":
        np.save(path, np.ones((1, 10), np.float32))
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["weights"] = np.ones(3)
    else:
        write_mat(path, {"subjects": np.ones((3, 4))})
    return path


OTHERS = ["f.npz", "f.npy", "f.h5", "f.mat", "other.mat", "f.images.txt", "f.npz of run", "f.images.txt of a device"]


@pytest.mark.parametrize("name", OTHERS)
def test_what_the_command_did_not_write_is_not_replaced(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / name.split()[0]
    if name == "other.mat":
        shutil.copy(DATA / "matconvnet/sn_alexnet/model.mat", target)
    elif target.name == "f.images.txt":
        target.write_text("precious")
    elif name == "f.npz of run":
        assert run_command(run_verb.main, [str(MODEL), str(SEVENS[0]), str(target)]) == 0
    else:
        person_file(target)
    before = target.read_bytes()
    out = tmp_path / "f.npy" if target.name == "f.images.txt" else target
    if name == "f.images.txt of a device":
        out.symlink_to("/dev/null")
    assert run(MODEL, SEVENS[0], "--layer", "ip1", "--out", out) == 2
    assert str(target) in capsys.readouterr().err
    assert target.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} <= {target.name, out.name}
    assert not out.is_file() or out == target
    with pytest.raises(FileFormatError, match=target.name):
        matnet.load(MODEL).features([SEVENS[0]], "ip1", out=out)


@pytest.mark.process
@pytest.mark.parametrize("kind", ["npz", "npy", "h5", "mat"])
def test_what_the_command_wrote_is_replaced(kind: str, tmp_path: Path) -> None:
    for images in (SEVENS[:3], SEVENS[:2]):
        assert run(MODEL, *images, "--layer", "ip1", "--out", tmp_path / f"f.{kind}") == 0
        beside = tmp_path / "f.images.txt"
        names = beside.read_text().splitlines() if kind == "npy" else read(tmp_path / f"f.{kind}")[1]
        assert names == [str(path) for path in images]


def test_a_layer_among_the_images_is_no_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """argparse takes one name after --layer; the next would be an image that cannot be read."""
    assert run(MODEL, SEVENS[0], "--layer", "conv1", "ip1", "--out", tmp_path / "f.npz") == 2
    assert "--layer conv1 --layer ip1" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.process
def test_an_output_that_is_a_link_to_another_disk(folder: Path, tmp_path: Path) -> None:
    disk = Path("/dev/shm")
    if not disk.is_dir() or disk.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    with tempfile.TemporaryDirectory(dir=disk) as elsewhere:
        out = tmp_path / "f.npy"
        out.symlink_to(Path(elsewhere, "real.npy"))
        assert run(MODEL, folder, "--layer", "ip1", "--out", out) == 2  # of the fourth image
        assert out.is_symlink()
        assert np.load(Path(elsewhere, "real.npy")).shape[0] == 7
