"""`python -m matnet.benchmarks.pipeline`: images/s from JPEG files to errors, with peers and perfect overlap."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from matnet import load
from matnet.benchmarks.nets import NETS
from matnet.benchmarks.peers import PEERS, Runner, Subject
from matnet.benchmarks.peers.base import imported
from matnet.command_line import CommandParser, run_command
from matnet.datasets import ImageList
from matnet.engines import EngineOptions
from matnet.engines.device import processors
from matnet.errors import EngineError, MatnetError
from matnet.evaluation.config import EvaluationConfig
from matnet.evaluation.flow import added
from matnet.evaluation.record import versions
from matnet.evaluation.runner import Runner as Evaluator
from matnet.evaluation.scores import score_variable
from matnet.evaluation.tally import Tally, batches_left
from matnet.evaluation.tasks import Classification
from matnet.files import atomic_write, check_outputs
from matnet.images import Preprocessing
from matnet.kinds import JSON
from matnet.metrics import TopK
from matnet.network import Network
from matnet.tables import Table

MEAN = (123.0, 117.0, 104.0)
SYNTHETIC = (375, 500)  # height and width of generated JPEGs, typical for ImageNet
PAUSE = 0.05  # seconds before each stage, for the previous stage's threads to stop spinning
OURS = "matnet"
ENGINE = ("engine, one batch at a time", "engine, a batch per processor")
PREPARATION = "preprocessing"


@dataclass
class StageRow:
    """One stage or pipeline: images/s in each round, the median, and the errors in percent if it has scores.

    processors: the number of busy processors in each round, including child processes. If stages differ, other programs
    were running on the machine.
    """

    name: str
    images_per_s: float
    rounds: list[float]
    processors: list[float]
    top1_error: float | None = None
    top5_error: float | None = None


@dataclass(frozen=True)
class Setting:
    """The common settings of all pipelines: network, files, preprocessing, batch size and threads."""

    net: Network
    images: ImageList
    preprocessing: Preprocessing
    batch_size: int
    threads: int
    folder: Path

    @property
    def variable(self) -> str:
        return score_variable(self.net)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (self.batch_size, self.preprocessing.channels, *self.preprocessing.image_size)

    @property
    def batches(self) -> list[range]:
        return batches_left(len(self.images), self.batch_size)


Stage = Callable[[], TopK | None]


def parser() -> argparse.ArgumentParser:
    command = CommandParser(
        prog="python -m matnet.benchmarks.pipeline",
        description="Time an evaluation from JPEG files to errors: the engine alone, preprocessing alone, both, and "
        "peers, in turns, in one run.",
    )
    command.add_argument("--model", metavar="FILE", help="a .mat file (default: SqueezeNet 1.1 with random weights)")
    command.add_argument("--data", metavar="FOLDER", help="labelled images (default: generated JPEG files)")
    command.add_argument("--images", type=int, default=320, metavar="N", help="repeat or shorten the list to N images")
    command.add_argument("--batch-size", type=int, default=32, metavar="N", help="default: %(default)s")
    command.add_argument("--protocol", default="caffe", help="protocol of the preprocessing (default: %(default)s)")
    command.add_argument("--runtime", help="runtime of matnet's engine (default: onnxruntime)")
    command.add_argument("--rounds", type=int, default=3, metavar="N", help="default: %(default)s")
    command.add_argument("--threads", type=int, metavar="N", help="number of threads (default: all processors)")
    command.add_argument("--peers", default=",".join(PIPELINES), metavar="A,B", help="default: %(default)s")
    command.add_argument("--json", metavar="FILE", help="write all figures to FILE as well")
    return command


# --- matnet's own stages ---


def own_stages(setting: Setting, runtime: str | None) -> dict[str, Stage]:
    """The engine alone in both modes, preprocessing alone, and the whole evaluation."""
    options = EngineOptions("onnx", runtime=runtime, threads=setting.threads)
    whole = setting.net.compile([setting.variable], options=options)
    options = replace(options, batch_size=setting.batch_size)
    runner = Evaluator(setting.net, EvaluationConfig(setting.preprocessing, setting.variable, options))
    task = Classification(setting.images)
    random, callers = np.random.default_rng(0), runner.engine.options.callers
    batches = [random.standard_normal(setting.shape, dtype=np.float32) for _ in range(callers)]

    def engine(run: Callable[[np.ndarray], Any], streams: int) -> Stage:
        def turn(number: int) -> None:
            span = setting.batches[number]
            run(batches[number % streams][: len(span)])

        return lambda: on_threads(turn, len(setting.batches), streams)

    found = {ENGINE[0]: engine(whole, 1)}
    if callers > 1:
        found[ENGINE[1]] = engine(runner.engine, callers)
    found[PREPARATION] = lambda: on_threads(preparation(setting), len(setting.images), setting.threads)

    def evaluation() -> TopK:
        counts = added(Tally(TopK()), runner.tallies(task, setting.batches), lambda _: None).counts
        assert isinstance(counts, TopK)
        return counts

    found[OURS] = evaluation
    return found


def preparation(setting: Setting) -> Callable[[int], None]:
    """A function that prepares one image into a preallocated batch."""
    memory = np.zeros(setting.shape, np.float32)

    def prepare(number: int) -> None:
        setting.preprocessing.load(setting.images.paths[number], out=memory[number % len(memory)])

    return prepare


def on_threads(work: Callable[[int], Any], count: int, threads: int) -> None:
    """Call `work` for each number below `count`, on `threads` threads."""
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, range(count)):
            pass


# --- peers ---


def opencv_then(peer: str, form: str) -> Callable[[Setting], Stage]:
    """A peer with OpenCV's decoder and resize, one image at a time, as in its tutorials."""

    def make(setting: Setting) -> Stage:
        cv2, run = imported("cv2", "opencv-python-headless"), runner(setting, peer, form)

        def stage() -> TopK:
            cv2.setNumThreads(setting.threads)
            return scored(
                setting,
                ((span, np.stack([opencv_image(cv2, setting, k) for k in span])) for span in setting.batches),
                run,
            )

        return stage

    return make


def opencv_image(cv2: Any, setting: Setting, number: int) -> np.ndarray:
    """One image prepared as with `--protocol caffe`: decoded, resized, cropped, mean subtracted."""
    height, width = setting.preprocessing.image_size
    rows, columns = (round(n / f) for n, f in zip((height, width), setting.preprocessing.crop_fraction, strict=True))
    pixels = cv2.resize(cv2.imread(str(setting.images.paths[number])), (columns, rows))
    top, left = (rows - height) // 2, (columns - width) // 2
    centre = pixels[top : top + height, left : left + width, ::-1].astype(np.float32)
    return (centre - np.array(MEAN, np.float32)).transpose(2, 0, 1)


class TorchImages:
    """The data set of a torch DataLoader, with Pillow for decoding and resizing."""

    def __init__(self, setting: Setting) -> None:
        self.setting = replace(setting, net=Network())

    def __len__(self) -> int:
        return len(self.setting.images)

    def __getitem__(self, number: int) -> np.ndarray:
        from PIL import Image

        prepared = self.setting.preprocessing
        height, width = prepared.image_size
        rows, columns = (round(n / f) for n, f in zip((height, width), prepared.crop_fraction, strict=True))
        with Image.open(self.setting.images.paths[number]) as file:
            image = file.convert("RGB").resize((columns, rows), Image.Resampling.BILINEAR)
        top, left = (rows - height) // 2, (columns - width) // 2
        pixels = np.asarray(image, np.float32)[top : top + height, left : left + width]
        return np.ascontiguousarray((pixels - np.array(MEAN, np.float32)).transpose(2, 0, 1))


def torch_loader(form: str) -> Callable[[Setting], Stage]:
    """PyTorch with a DataLoader of one process per thread of the setting."""

    def make(setting: Setting) -> Stage:
        torch, run = imported("torch", "torch"), runner(setting, "torch", form)

        def stage() -> TopK:
            loader = torch.utils.data.DataLoader(
                TorchImages(setting), batch_size=setting.batch_size, num_workers=setting.threads
            )
            batches = (batch.numpy() for batch in loader)
            return scored(setting, zip(setting.batches, batches, strict=True), run)

        return stage

    return make


def runner(setting: Setting, peer: str, form: str) -> Runner:
    """A peer's engine for full batches."""
    return PEERS[peer][form](Subject(setting.net, setting.variable, setting.shape, setting.threads, setting.folder))


def scored(setting: Setting, batches: Iterator[tuple[range, np.ndarray]], run: Runner) -> TopK:
    """Errors over all batches; partial batches are padded, because peers have a fixed batch size."""
    errors = TopK()
    for span, batch in batches:
        whole = np.zeros(setting.shape, np.float32) if len(span) < setting.batch_size else batch
        whole[: len(span)] = batch
        scores = run(np.ascontiguousarray(whole)).reshape(setting.batch_size, -1)
        errors.update(scores[: len(span)], setting.images.labels[span.start : span.stop])
    return errors


PIPELINES: dict[str, Callable[[Setting], Stage]] = {
    "openvino": opencv_then("openvino", "openvino"),
    "opencv": opencv_then("opencv", "opencv-onnx"),
    "torch": torch_loader("torch-eager"),
    "torch-optimized": torch_loader("torch-optimized"),
}


# --- measuring ---


def measure(stages: dict[str, Stage], images: int, rounds: int) -> list[StageRow]:
    """Every stage once per round, in turns; a first round for warm-up is not counted."""
    speeds: dict[str, list[float]] = {name: [] for name in stages}
    busy: dict[str, list[float]] = {name: [] for name in stages}
    errors: dict[str, TopK | None] = {}
    for number in range(rounds + 1):
        for name, stage in stages.items():
            time.sleep(PAUSE)
            started, used = time.perf_counter(), processor_seconds()
            errors[name] = stage()
            taken = time.perf_counter() - started
            if number:
                speeds[name].append(images / taken)
                busy[name].append((processor_seconds() - used) / taken)
        told = "warmed up" if not number else ", ".join(f"{name} {found[-1]:.1f}" for name, found in speeds.items())
        print(f"matnet: round {number} of {rounds}: {told}", file=sys.stderr)
    rows = []
    for name, found in speeds.items():
        row, scored = StageRow(name, statistics.median(found), found, busy[name]), errors[name]
        if scored is not None:
            row.top1_error, row.top5_error = scored.top1_error, scored.top5_error
        rows.append(row)
    return rows


def processor_seconds() -> float:
    """Processor seconds of this process and its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def perfect_overlap(rows: Sequence[StageRow]) -> list[float]:
    """1 / (1 / engine + 1 / preprocessing) of each round, with the faster of the engine's two modes."""
    named = {row.name: row for row in rows}
    engines = [named[name].rounds for name in ENGINE if name in named]
    pairs = zip(*engines, strict=True), named[PREPARATION].rounds
    return [1 / (1 / max(engine) + 1 / prepared) for engine, prepared in zip(*pairs, strict=True)]


def peers_of(setting: Setting, names: Sequence[str]) -> dict[str, Stage]:
    """The installed peers; the others are listed on stderr."""
    found = {}
    for name in names:
        try:
            found[name] = PIPELINES[name](setting)
        except EngineError as error:
            print(f"matnet: skipping {name}: {error}", file=sys.stderr)
    return found


@contextmanager
def image_list(data: str | None, count: int) -> Iterator[ImageList]:
    """`count` labelled images: a list, repeated or shortened, or temporary generated JPEGs."""
    with tempfile.TemporaryDirectory(prefix="matnet-") as folder:
        images = ImageList.load(data or synthetic(Path(folder), min(count, 64)))
        order = np.arange(count) % len(images)
        yield replace(images, paths=tuple(images.paths[k] for k in order), labels=images.labels[order])


def synthetic(folder: Path, count: int) -> Path:
    """Smooth random images that compress about as well as photos."""
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        picture = np.asarray(coarse.resize(SYNTHETIC[::-1], Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(picture + random.integers(-6, 7, picture.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:04d}.jpg", quality=90)
    (folder / "labels.txt").write_text("".join(f"{number:04d}.jpg {number}\n" for number in range(count)))
    return folder


def table(rows: Sequence[StageRow], overlap: Sequence[float]) -> str:
    """The rows as a table, with ratios to perfect overlap and to matnet."""
    ours = next(row for row in rows if row.name == OURS)
    shown = [*rows, StageRow("perfect overlap", statistics.median(overlap), list(overlap), [])]
    cells = [
        [
            row.name,
            f"{row.images_per_s:.1f}",
            f"{min(row.rounds):.1f}",
            f"{max(row.rounds):.1f}",
            f"{statistics.median(row.processors):.2f}" if row.processors else "",
            f"{statistics.median(a / b for a, b in zip(ours.rounds, row.rounds, strict=True)):.2f}",
            "" if row.top1_error is None else f"{row.top1_error:.2f}",
            "" if row.top5_error is None else f"{row.top5_error:.2f}",
        ]
        for row in shown
    ]
    headers = ["", "images/s", "slowest", "fastest", "processors", "matnet's ratio to it", "top-1 err.", "top-5 err."]
    return Table.of(headers, cells, right=headers[1:]).text()


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    check_outputs([(options.json, JSON)])
    if min(options.images, options.batch_size, options.rounds, options.threads or 1) < 1:
        raise MatnetError("--images, --batch-size, --rounds and --threads must be at least 1")
    names = [name for name in options.peers.split(",") if name]
    unknown = [name for name in names if name not in PIPELINES]
    if unknown:
        raise MatnetError(f"unknown peer {unknown[0]!r}; expected {', '.join(PIPELINES)}")
    net = load(options.model) if options.model else NETS["squeezenet"]()
    threads = options.threads or processors()
    preprocessing = Preprocessing.from_meta(
        net.meta, options.protocol, image_size=(227, 227), channels=3, mean=MEAN, crop_fraction=(227 / 256,) * 2
    )
    with image_list(options.data, options.images) as images, tempfile.TemporaryDirectory() as folder:
        setting = Setting(net, images, preprocessing, options.batch_size, threads, Path(folder))
        stages = {**own_stages(setting, options.runtime), **peers_of(setting, names)}
        rows = measure(stages, len(images), options.rounds)
    overlap = perfect_overlap(rows)
    print(table(rows, overlap))
    print(f"\n{len(images)} JPEGs, batch {options.batch_size}, {threads} threads, {preprocessing.describe()}")
    print(f"medians of {options.rounds} alternating rounds; ratios within each round; {os.cpu_count()} processors")
    if options.json:
        record = {
            "rows": [asdict(row) for row in rows],
            "perfect_overlap": overlap,
            "images": len(images),
            "batch_size": options.batch_size,
            "threads": threads,
            "preprocessing": preprocessing.describe(),
            "versions": versions(("onnxruntime",)),
        }
        with atomic_write(options.json) as file:
            file.write(json.dumps(record, indent=1).encode())
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
