"""`matnet features --scheduler`: the values of one process, computed by the workers of a Dask scheduler."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import features
from matnet.answers.extraction import Extraction, extract
from matnet.answers.layer_names import named_layers
from matnet.answers.remote import parts
from matnet.answers.staging import Staging
from matnet.command_line import run_command
from matnet.engines import EngineOptions
from matnet.errors import DataError
from matnet.files import models_folder
from matnet.layer_files import import_layers
from matnet.network import Layer, Network
from matnet.ops import REGISTRY

FOLDER = models_folder() / "digits-lenet"
SEVENS = sorted((FOLDER / "test" / "7").glob("*.png"))[:23]
LAYERS = ("ip1", "conv2")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A client of a user's own scheduler with two workers, over plain TCP."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    import dask

    from matnet.evaluation.shards import LOCAL

    with (
        dask.config.set(LOCAL),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as running,
        distributed.Client(running, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def net() -> Network:
    return matnet.load(FOLDER / "digits-lenet.mat")


def read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, and the runtime of the run's description."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "about"}
        return arrays | {"runtime": np.array(json.loads(str(file["about"]))["runtime"])}


def assert_same(found: Path, expected: Path) -> None:
    one, other = read(found), read(expected)
    assert list(one) == list(other)
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


@pytest.mark.process
def test_the_command_writes_the_values_of_one_process(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The images are given by a relative path, which the workers' own current folder does not have."""
    (tmp_path / "photos").mkdir()
    for number, source in enumerate(SEVENS):
        shutil.copy(source, tmp_path / "photos" / f"{number:02}.png")
    (tmp_path / "photos" / "05.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    lines = []
    for name, more in (("one", []), ("shared", ["--scheduler", cluster.scheduler.address])):
        options = ["--layer", "ip1", "--layer", "conv2", "--out", f"{name}.npz", "--batch-size", "4", "--quiet"]
        command = [str(FOLDER / "digits-lenet.mat"), "photos", *options, "--backend", "onnx", *more]
        assert run_command(features.main, command) == 2
        lines.append(capsys.readouterr().err)
    assert lines[0] == lines[1]
    assert f"photos{os.sep}05.png: " in lines[1] and str(tmp_path) not in lines[1]
    assert_same(Path("shared.npz"), Path("one.npz"))
    assert read(Path("shared.npz"))["unreadable"].tolist() == [5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "photos", "shared.npz"]


class Interrupted(Exception):
    """What ends a run after its first part."""


@pytest.mark.process
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="workers are killed by SIGKILL")
def test_an_interrupted_run_goes_on_though_a_worker_is_killed(cluster: Any, net: Network, tmp_path: Path) -> None:
    """The first worker that has computed a batch dies before anybody has it; each image is counted once."""
    engine = EngineOptions("numpy", batch_size=2)
    task = Extraction(net, named_layers(net.for_inference(), LAYERS), "none", net.preprocessing, engine)
    extract(task, SEVENS, tmp_path / "one.npz")
    address, out, marker = cluster.scheduler.address, tmp_path / "shared.npz", tmp_path / "died"
    done: list[int] = []

    def interrupt(number: int) -> None:
        done.append(number)
        raise Interrupted

    def arm(path: str) -> None:
        from matnet.answers import extraction

        pooled = extraction.pooled

        def deadly(*arguments: Any) -> Any:
            found = pooled(*arguments)
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        extraction.pooled = deadly

    with pytest.raises(Interrupted):
        extract(task, SEVENS, out, scheduler=address, progress=lambda *_: interrupt)
    cluster.run(arm, str(marker))
    assert extract(task, SEVENS, out, scheduler=address, progress=lambda *_: done.append) == []
    assert marker.exists() and sum(done) == len(SEVENS)
    assert_same(out, tmp_path / "one.npz")


DOUBLED = """
from dataclasses import dataclass
from matnet.ops import Op, register

@register("lab.Doubled")
@dataclass(frozen=True, kw_only=True)
class Doubled(Op):
    images_independent = True
    def forward(self, xp, inputs, params):
        return [inputs[0] + inputs[0]]
"""


@pytest.mark.process
def test_an_edited_network_with_a_layer_of_the_users(cluster: Any, net: Network, tmp_path: Path) -> None:
    """The workers get the network of this process, not that of its file; they also get arrays."""
    (tmp_path / "doubled.py").write_text(DOUBLED)
    import_layers(tmp_path / "doubled.py")
    try:
        copy = net.copy()
        copy.add(Layer("doubled", REGISTRY.dagnn["lab.Doubled"](), ["ip1"], ["twice"]))
        images = [np.asarray(matnet.images.decode(path)) for path in SEVENS[:5]]
        out = copy.features(
            images, ["ip1", "twice"], out=tmp_path / "f.npz", scheduler=cluster.scheduler.address, backend="numpy"
        )
        found = read(out)
        assert np.isfinite(found["ip1"]).all() and found["ip1"].any()
        np.testing.assert_array_equal(found["twice"], 2 * found["ip1"])
    finally:
        del REGISTRY.dagnn["lab.Doubled"]


def test_no_scheduler_at_the_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")
    command = [str(FOLDER / "digits-lenet.mat"), str(SEVENS[0]), "--layer", "ip1", "--out", str(tmp_path / "f.npz")]
    for address, said in [
        ("nowhere://x:1", "no Dask scheduler answers at nowhere://x:1"),
        ("nowhere://x", "nowhere://x: has no port"),
    ]:
        assert run_command(features.main, [*command, "--scheduler", address]) == 2
        assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_workers_and_scheduler_exclude_each_other(
    net: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(FOLDER / "digits-lenet.mat"), str(SEVENS[0]), "--layer", "ip1", "--out", str(tmp_path / "f.npz")]
    for count in ("1", "2"):
        with pytest.raises(SystemExit) as ended:
            features.main([*command, "--workers", count, "--scheduler", "nowhere://x"])
        assert ended.value.code == 2
        err = capsys.readouterr().err
        assert "--workers" in err and "--scheduler" in err
    with pytest.raises(DataError, match="workers is 2 and scheduler is 'nowhere://x'"):
        net.features(SEVENS[0], "ip1", out=tmp_path / "f.npz", workers=2, scheduler="nowhere://x")
    with pytest.raises(DataError, match="scheduler has an effect only with out"):
        net.features(SEVENS[0], "ip1", scheduler="nowhere://x")
    with pytest.raises(DataError, match="scheduler"), (tmp_path / "open.png").open("wb+") as file:
        net.features([file], "ip1", out=tmp_path / "f.npz", scheduler="nowhere://x")


@pytest.mark.parametrize(("images", "batch", "views"), [(0, 4, 1), (3, 4, 1), (4, 4, 1), (103, 4, 1), (1000, 32, 10)])
def test_parts_have_the_batches_of_one_process(
    images: int, batch: int, views: int, net: Network, tmp_path: Path
) -> None:
    """Whole batches, of which a part has as many images as one process puts into one pass, or all images there are."""
    prepared = replace(net.preprocessing, crops=10) if views > 1 else net.preprocessing
    task = Extraction(net, {"ip1": "ip1"}, "none", prepared, EngineOptions("numpy", batch_size=batch))
    found = parts(task, images, Staging(tmp_path, {"ip1": (100,)}, images), workers=3)
    assert [number for part in found for number in part] == list(range(images))
    assert all(part.start % (batch // views) == 0 and len(part) >= min(images, batch) for part in found)
    assert len(found) > 3 or images < 100
    large = parts(task, images, Staging(tmp_path, {"ip1": (1 << 20,)}, images), workers=1)
    assert all(len(part) < 2 * max(batch, 16) + batch for part in large)
