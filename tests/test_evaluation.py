"""An evaluation: the same figures whatever the batches and threads, what a row says, and what it leaves out.

digits-lenet's mistakes on its 355 test images are those that OpenCV counts (see test_digits_lenet).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import convert
from matnet import eval as eval_command
from matnet.datasets import ImageList
from matnet.engines import EngineOptions, for_batches
from matnet.engines.batches import Halving
from matnet.engines.numpy_engine import NumpyEngine
from matnet.errors import DataError, NetworkError, OutOfMemoryError
from matnet.evaluation import Evaluation, Tally, evaluate
from matnet.evaluation.config import EvaluationConfig
from matnet.evaluation.runner import Runner
from matnet.evaluation.streams import batch_memory, fills_up, thread_counts
from matnet.evaluation.tasks import Classification
from matnet.files import models_folder
from matnet.images import Preprocessing
from matnet.metrics import TopK
from matnet.ops.extensions.normalize import BatchStatNorm

FOLDER = models_folder() / "digits-lenet"
MISTAKES = 10  # of 355


@pytest.fixture(scope="module")
def net() -> matnet.Network:
    return matnet.load(FOLDER / "digits-lenet.mat")


@pytest.fixture(scope="module")
def images() -> ImageList:
    return ImageList.load(FOLDER / "test")


@pytest.fixture
def preprocessing(net: matnet.Network) -> Preprocessing:
    return Preprocessing.of(net)


@pytest.mark.process
@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("numpy", {}),
        ("numpy", {"batch_size": 1}),
        ("onnx", {}),
        ("onnx", {"batch_size": 7, "workers": 1}),
        ("onnx", {"batch_size": 100, "threads": 3, "workers": 5}),
        ("onnx", {"batch_size": 1000, "threads": 1}),
    ],
)
def test_the_figures_do_not_depend_on_batches_and_threads(
    backend: str, options: dict[str, Any], net: matnet.Network, images: ImageList, preprocessing: Preprocessing
) -> None:
    seen: list[int] = []
    row = evaluate(net, images, preprocessing, backend=backend, progress=seen.append, **options)
    assert (row.images, row.status, sum(seen)) == (355, "ok", 355)
    assert row.top1_error == 100 * MISTAKES / 355
    assert row.top5_error == 0


@pytest.mark.process
def test_a_row_says_what_was_run(net: matnet.Network, images: ImageList, preprocessing: Preprocessing) -> None:
    row = evaluate(net, images.head(40), preprocessing, backend="numpy", batch_size=16).record()
    assert row["model"] == "digits-lenet"
    assert re.fullmatch("[0-9a-f]{64}", row["model_sha256"])
    assert re.fullmatch("[0-9a-f]{64}", row["list_sha256"])
    assert (row["backend"], row["device"], row["precision"], row["batch_size"]) == ("numpy", "cpu", "fp32", 16)
    assert {"matnet", "python", "numpy", "pillow"} <= row["versions"].keys()
    assert re.fullmatch("([0-9a-f]{40}(-dirty)?)?", row["commit"])
    assert row["machine"].endswith("processors")
    assert row["preprocessing"] == preprocessing.describe()
    assert row["images_per_s"] > 0
    assert row["network_images_per_s"] > 0


@pytest.mark.process
def test_a_network_of_no_file_is_known_by_its_weights(images: ImageList, preprocessing: Preprocessing) -> None:
    nets = [matnet.load(FOLDER / "digits-lenet.mat") for _ in range(3)]
    for net in nets:
        net.source.path = None
    param = next(iter(nets[2].params.values()))
    param.value = param.value + 1
    hashes = [evaluate(net, images.head(2), preprocessing).model_sha256 for net in nets]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.process
def test_each_file_of_a_pair_has_its_hash(images: ImageList, preprocessing: Preprocessing) -> None:
    pair = [FOLDER / "deploy.prototxt", FOLDER / "digits-lenet.caffemodel"]
    row = evaluate(matnet.load(*pair), images.head(2), preprocessing)
    assert row.files_sha256 == {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in pair}


@pytest.mark.process
@pytest.mark.parametrize("later", [None, b"MATLAB 5.0"], ids=["removed", "half written"])
def test_a_file_that_is_gone_in_the_end_costs_no_result(
    later: bytes | None, images: ImageList, preprocessing: Preprocessing, tmp_path: Path
) -> None:
    path = tmp_path / "net.mat"
    path.write_bytes((FOLDER / "digits-lenet.mat").read_bytes())
    net = matnet.load(path)
    path.unlink()
    if later is not None:
        path.write_bytes(later)
    row = evaluate(net, images.head(2), preprocessing)
    net.source.path = None
    assert (row.status, row.model_sha256) == ("ok", evaluate(net, images.head(2), preprocessing).model_sha256)


def test_unreadable_images_are_named_in_order_and_left_out(
    net: matnet.Network, images: ImageList, preprocessing: Preprocessing, tmp_path: Path
) -> None:
    """Image 5 of the 20 is cut, image 11 no image: the figures are those of the 18 others."""
    (tmp_path / "cut.png").write_bytes(images.paths[5].read_bytes()[:40])
    (tmp_path / "text.png").write_text("no image")
    paths = [*images.paths[:20]]
    paths[5], paths[11] = tmp_path / "cut.png", tmp_path / "text.png"
    some = replace(images, paths=tuple(paths), labels=(images.labels[:20] + np.arange(20) % 2) % 10)
    row = evaluate(net, some, preprocessing, backend="onnx", batch_size=8)
    assert (row.images, row.status) == (18, "unreadable images")
    assert [Path(fault.split(":")[0]).name for fault in row.unreadable] == ["cut.png", "text.png"]
    # All of the first 20 are zeros that are recognised; every other label was moved by one: 10, of which 5 and 11 go.
    assert row.top1_error == 100 * 8 / 18


def test_no_readable_image_is_an_error(
    net: matnet.Network, images: ImageList, preprocessing: Preprocessing, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    none = replace(images, paths=(bad,) * 3, labels=images.labels[:3])
    with pytest.raises(DataError, match=r"none of its 3 images.*bad\.png"):
        evaluate(net, none, preprocessing)


def test_an_unknown_variable_is_named(net: matnet.Network, images: ImageList, preprocessing: Preprocessing) -> None:
    with pytest.raises(NetworkError, match="'prb'"):
        evaluate(net, images, preprocessing, scores="prb")


class Views:
    """Preprocessing of three views: the first pixel of view v of every image is v."""

    views, shape, channels, image_size = 3, (3, 1, 8, 8), 1, (8, 8)

    def load(self, path: Path, out: np.ndarray) -> None:
        out[...] = 0
        out[:, 0, 0, 0] = [0, 1, 2]

    def describe(self) -> str:
        return "three views"


def test_scores_are_averaged_over_views_before_they_are_ranked(
    net: matnet.Network, images: ImageList, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class v has 0.5 in view v; class 7 has 0.4 in all: best on average, best in no view."""
    sizes = []

    def scores(batch: np.ndarray) -> dict[str, np.ndarray]:
        sizes.append(len(batch))
        found = np.zeros((len(batch), 10, 1, 1), np.float32)
        found[np.arange(len(batch)), batch[:, 0, 0, 0].astype(int)] = 0.5
        found[:, 7] = 0.4
        return {"ip2": found}

    views: Any = Views()
    runner = Runner(net, EvaluationConfig(views, "ip2", EngineOptions(batch_size=7)))
    monkeypatch.setattr(runner, "halving", scores)
    task = Classification(replace(images, labels=np.array([7, 7, 0, 7, 1])))
    batch = np.stack([np.zeros((3, 1, 8, 8), np.float32)] * 5)
    for row in batch:
        views.load(Path("x"), row)
    errors = runner.count(task, batch, range(5), [0, 1, 2, 4])
    assert errors == TopK((1, 5), images=4, void=0, wrong={1: 2, 5: 0}, classes=10)
    assert sizes == [15]
    assert runner.config.images_per_batch == 2


# --- tallies ---


def tally(images: int, wrong: int, first: int, faults: tuple[tuple[int, str], ...] = ()) -> Tally:
    errors = TopK(images=images, wrong={1: wrong, 5: wrong // 2})
    return Tally(errors, faults, ((first, first + images + len(faults)),), seconds=1.5, network_seconds=0.5)


def test_tallies_add_up_in_any_order() -> None:
    parts = [tally(4, 3, 0), tally(3, 1, 4, ((6, "b is cut"),)), tally(1, 1, 8, ((9, "c"),)), tally(2, 0, 20)]
    orders = [parts, parts[::-1], [parts[2], parts[0], parts[3], parts[1]]]
    for order in orders:
        total = Tally(TopK())
        for part in order:
            total = total.plus(part)
        assert total.counts == TopK(images=10, wrong={1: 5, 5: 1})
        assert total.faults == ["b is cut", "c"]
        assert total.done == ((0, 10), (20, 22))
        assert (total.images, total.seconds, total.network_seconds) == (12, 6.0, 2.0)


def test_a_tally_comes_back_from_its_record() -> None:
    found = tally(3, 1, 4, ((6, "b is cut"),))
    assert Tally.of_record(json.loads(json.dumps(found.record())), TopK.of_record) == found


# --- how engines are fed ---


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"backend": "onnx", "threads": 2}, (2, 2)),
        ({"backend": "onnx", "threads": 1}, (1, 1)),
        ({"backend": "onnx", "threads": 6}, (3, 6)),
        ({"backend": "onnx", "threads": 64}, (4, 64)),
        ({"backend": "onnx", "threads": 5}, (1, 5)),
        ({"backend": "onnx", "threads": 2, "runtime": "openvino"}, (2, 2)),
        ({"backend": "onnx", "threads": 2, "runtime": "auto"}, (2, 2)),
        ({"backend": "numpy"}, (1, None)),
        ({"backend": "cupy"}, (2, None)),
        ({"backend": "onnx", "share": 4}, (4, 4)),
        ({"backend": "onnx", "share": 4, "runtime": "openvino"}, (4, 4)),
    ],
)
def test_callers_and_threads_of_an_engine_for_many_batches(options: dict[str, Any], expected: tuple[int, Any]) -> None:
    given = {name: value for name, value in options.items() if name != "share"}
    found = for_batches(EngineOptions(**given), options.get("share"))
    assert (found.callers, found.threads) == expected


@pytest.mark.process
@pytest.mark.parametrize(("device", "expected"), [("cpu", {16, 3}), ("gpu:0 (a GPU)", {16})])
def test_the_last_batch_is_filled_up_where_each_size_costs_a_program(
    device: str,
    expected: set[int],
    net: matnet.Network,
    images: ImageList,
    preprocessing: Preprocessing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """355 images are 22 batches of 16 and one of 3; rows that are filled up count nothing."""
    monkeypatch.setattr(NumpyEngine, "device", device)
    sizes: list[int] = []
    run = NumpyEngine.run
    monkeypatch.setattr(NumpyEngine, "run", lambda self, x: (sizes.append(len(x["input"])), run(self, x))[1])
    row = evaluate(net, images, preprocessing, batch_size=16)
    assert (row.images, row.top1_error) == (355, 100 * MISTAKES / 355)
    assert set(sizes) == expected


def test_networks_that_mix_images_are_never_filled_up(net: matnet.Network) -> None:
    engine = net.compile(None)
    engine.device = "gpu:0"
    assert fills_up(engine)
    engine.layers[0] = replace(engine.layers[0], op=BatchStatNorm())
    assert not fills_up(engine)


class Device(NumpyEngine):
    """Stands for an engine on a GPU, with memory of its own."""

    device = "gpu:0 (a GPU)"

    def input_buffer(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.ones(shape, np.float32).view(Pinned)


class Pinned(np.ndarray):
    """Stands for page-locked memory."""


def test_a_gpu_gets_a_thread_of_its_own_and_its_own_memory(net: matnet.Network) -> None:
    device, processor = Device(net), NumpyEngine(net, options=EngineOptions(callers=2))
    assert tuple(thread_counts(device, 3)) == (4, 3, 1)
    assert tuple(thread_counts(processor, 3)) == (3, 3, 2)
    assert tuple(thread_counts(processor, 1)) == (2, 1, 2)
    own, plain = batch_memory(device, (2, 1, 4, 5), 3), batch_memory(processor, (2, 1, 4, 5), 2)
    assert [type(array) for array in own] == [Pinned] * 3
    assert [(array.shape, array.dtype) for array in plain] == [((2, 1, 4, 5), np.float32)] * 2
    assert not any(array.any() for array in [*own, *plain])


def test_a_figure_that_is_no_number_is_null() -> None:
    none = float("nan")
    figures = {"images_per_s": 1.0, "network_images_per_s": none, "top1_error": none, "top5_error": 0.0}
    row = Evaluation(model="m", introduced="", images=1, status="ok", **figures).record()
    assert {name: row[name] for name in figures} == {**figures, "network_images_per_s": None, "top1_error": None}


def test_two_batches_that_do_not_fit_are_halved_once(net: matnet.Network, caplog: pytest.LogCaptureFixture) -> None:
    """Both threads try 8 images before either is told that they do not fit; 4 do."""
    both = threading.Barrier(2, timeout=10)

    class Small(NumpyEngine):
        def run(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            if len(values["input"]) > 4:
                both.wait()
                raise OutOfMemoryError("8 images do not fit", 8)
            return super().run(values)

    halving = Halving(Small(net))
    x = np.zeros((8, 1, 8, 8), np.float32)
    with ThreadPoolExecutor(2) as pool:
        results = [future.result() for future in [pool.submit(halving, x) for _ in range(2)]]
    assert (halving.limit, halving.halved_from, len(caplog.records)) == (4, 8, 1)
    for result in results:
        assert next(iter(result.values())).shape == (8, 10, 1, 1)


@pytest.mark.process
def test_squeezenet_makes_caffes_errors(real_data: Path, tmp_path: Path) -> None:
    """Caffe on 100 images squashed to 256 x 256, centre 227, minus the mean: 36.0 and 17.0 %."""
    folder = real_data / "caffe" / "squeezenet"
    model, target = str(tmp_path / "squeezenet.mat"), tmp_path / "row.json"
    files = [str(folder / "SqueezeNet_deploy.prototxt"), "--caffemodel"]
    files += [str(folder / "decompressed_SqueezeNet.caffemodel"), "--mean-values", "123,117,104", "--out", model]
    assert convert.main(files) == 0
    data = ["--data", str(real_data / "images" / "imagenet100"), "--json", str(target), "--quiet"]
    assert eval_command.main(["--model", model, *data, "--backend", "onnx"]) == 0
    row = json.loads(target.read_text())
    assert (row["images"], row["top1_error"], row["top5_error"]) == (100, 36.0, 17.0)
