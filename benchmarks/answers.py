"""`python -m matnet.benchmarks.answers MODEL IMAGES`: the cost of predict, classify, features and to_torch.

Each of four lines compares a figure with a target: the time of `matnet predict` in a fresh process relative to its
unavoidable imports; the speed of `net.classify` relative to `matnet.eval` on the same images; the memory growth of
`net.features` over many images; the memory of `net.to_torch` relative to the weights. Both sides of a ratio are
measured alternately. Memory is measured in a separate process. `net.features` runs digits-lenet on its own images,
since the memory kept per image does not depend on the network.
"""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import matnet
from matnet.arguments import positive
from matnet.benchmarks.machine import resident, write_figures
from matnet.command_line import CommandParser, run_command
from matnet.datasets import ImageList
from matnet.datasets.scan import images_below
from matnet.engines import EngineOptions
from matnet.errors import DataError, MatnetError
from matnet.evaluation import evaluate
from matnet.evaluation.scores import score_variable
from matnet.files import check_outputs
from matnet.kinds import JSON
from matnet.tables import Column, Table

PROGRAM = "matnet.benchmarks.answers"
IMPORTS = "import numpy, PIL.Image, onnxruntime"
PREDICT, CLASSIFY, STEADY, TORCH = 3.0, 0.95, 8.0, 1.15
"""The targets: maximum ratio to the imports, minimum ratio to eval's images/s, maximum growth in MiB, maximum ratio to
the weights."""
COLUMNS = (
    Column("what", "what"),
    Column("value", "measured", "right", places=2),
    Column("target", "target"),
    Column("detail", "detail"),
)
LARGE = "imagenet-vgg-verydeep-16"


def parser() -> argparse.ArgumentParser:
    command = CommandParser(
        prog=f"python -m {PROGRAM}",
        description="Measure predict, classify, features and to_torch against targets; status 1 if one is missed.",
        epilog="MODEL must state its preprocessing. to_torch is skipped if torch is not installed.",
    )
    command.add_argument("model", metavar="MODEL", help="a .mat file of a classifier, such as SqueezeNet")
    command.add_argument("images", metavar="IMAGES", help="a folder of JPEG files, used repeatedly")
    command.add_argument("--runs", type=positive, default=9, metavar="N", help="processes of predict (default: 9)")
    command.add_argument("--turns", type=positive, default=3, metavar="N", help="turns of classify (default: 3)")
    command.add_argument("--classify", type=positive, default=1000, metavar="N", help="images (default: 1000)")
    command.add_argument("--features", type=positive, default=10000, metavar="N", help="images (default: 10000)")
    command.add_argument("--json", metavar="FILE", help="write the figures to FILE as well")
    command.add_argument("--probe", choices=PROBES, help=argparse.SUPPRESS)
    return command


# -- a fresh process --------------------------------------------------------------------------------


def predict_row(model: str, image: Path, runs: int) -> dict[str, Any]:
    """Wall-clock times of alternating processes, without a first turn in which Python may compile modules."""
    commands = {
        "predict": [sys.executable, "-m", "matnet", "predict", model, str(image)],
        "imports": [sys.executable, "-c", IMPORTS],
    }
    with tempfile.TemporaryDirectory() as kept:
        surroundings = {**os.environ, "PYTHONPYCACHEPREFIX": kept}
        surroundings.pop("PYTHONDONTWRITEBYTECODE", None)
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(runs + 1):
            for name, command in commands.items():
                started = time.perf_counter()
                done = subprocess.run(command, capture_output=True, text=True, env=surroundings)
                if done.returncode:
                    raise MatnetError(f"{' '.join(command)}: {done.stderr.strip()}")
                if turn:
                    seconds[name].append(time.perf_counter() - started)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "what": f"`matnet predict` in a fresh process, times `{IMPORTS}`",
        "value": middle["predict"] / middle["imports"],
        "target": f"under {PREDICT:g}",
        "met": middle["predict"] < PREDICT * middle["imports"],
        "detail": f"{middle['predict']:.2f} s to {middle['imports']:.2f} s, medians of {runs}; "
        f"{min(seconds['predict']) / min(seconds['imports']):.2f} of the fastest",
        "seconds": seconds,
    }


# -- many images ------------------------------------------------------------------------------------


def many_images(source: Path, folder: Path, count: int) -> Path:
    """A folder with `count` links that cycle through the files below `source`."""
    files = sorted(images_below(source))
    if not files:
        raise DataError(f"{source}: no image files; expected a folder of JPEG files")
    folder.mkdir(parents=True)
    for number in range(count):
        file = files[number % len(files)].resolve()
        (folder / f"{number:06d}{file.suffix}").symlink_to(file)
    return folder


def classify_row(model: str, images: Path, turns: int) -> dict[str, Any]:
    """Images/s of `net.classify` relative to `matnet.eval`, both with files in the page cache."""
    net = matnet.load(model)
    variable, options = score_variable(net), EngineOptions.of(backend="auto", batch_size=32)
    paths = tuple(sorted(images.iterdir()))
    labels = np.zeros(len(paths), np.int64)  # wrong labels do not change the time
    listed = ImageList(paths, labels, None, images, "images", "", aligned=True)
    actions: dict[str, Callable[[], object]] = {
        "classify": lambda: net.classify(images, options=options),
        "eval": lambda: evaluate(net, listed, net.preprocessing, scores=variable, engine=options),
    }
    speeds: dict[str, list[float]] = {name: [] for name in actions}
    net.classify(list(paths[:64]), options=options)
    for _ in range(turns):
        for name, action in actions.items():
            started = time.perf_counter()
            action()
            speeds[name].append(len(paths) / (time.perf_counter() - started))
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    return {
        "what": f"`net.classify` on a folder of {len(paths):,} images, times the images/s of `matnet.eval`",
        "value": middle["classify"] / middle["eval"],
        "target": f"at least {CLASSIFY:g}",
        "met": middle["classify"] >= CLASSIFY * middle["eval"],
        "detail": f"{middle['classify']:.1f} to {middle['eval']:.1f} images/s, medians of {turns} turns",
        "images_per_s": speeds,
    }


def features_row(count: int) -> dict[str, Any]:
    """The memory growth from the first tenth of the images, when all buffers exist, to the end."""
    from matnet.evaluation.command import embedded_data, embedded_model

    with tempfile.TemporaryDirectory() as folder:
        images = many_images(Path(embedded_data()), Path(folder, "images"), count)
        memory = _probed("features", str(embedded_model()), str(images))["memory"]
    early = max(size for number, size in memory if number <= max(count // 10, memory[0][0]))
    late = max(size for number, size in memory if number > 9 * count // 10)
    grown = (late - early) / 2**20
    return {
        "what": f"`net.features` of {count:,} images: MiB more in memory at the end than after a tenth",
        "value": grown,
        "target": f"at most {STEADY:g}",
        "met": grown <= STEADY,
        "detail": f"{early / 2**20:.1f} MiB after a tenth, {late / 2**20:.1f} MiB in the last tenth (largest RSS)",
        "rss": memory[:: max(1, len(memory) // 50)],
    }


def probe_features(model: str, images: str) -> dict[str, Any]:
    """The number of finished images and the bytes in memory after each batch."""
    from matnet.answers.extraction import Extraction, extract
    from matnet.answers.layer_names import named_layers

    net = matnet.load(model)
    layers = named_layers(net.for_inference(), ["ip1", "conv2"])
    task = Extraction(net, layers, "avg", net.preprocessing, EngineOptions.of(backend="auto"))
    memory: list[tuple[int, int]] = []

    def begin(count: int, done: int) -> Callable[[int], None]:
        def watch(number: int) -> None:
            memory.append((number + (memory[-1][0] if memory else done), resident()))

        return watch

    with tempfile.TemporaryDirectory() as folder:
        extract(task, images, Path(folder, "features.npz"), progress=begin)
    return {"memory": memory}


# -- PyTorch ----------------------------------------------------------------------------------------


def torch_row() -> dict[str, Any] | None:
    """The memory of `to_torch` for a network in a mapped file, in a separate process; None without torch."""
    if find_spec("torch") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "large.mat")
        from matnet.zoo import random_network

        random_network(LARGE).save(file)
        found = _probed("torch", str(file), folder)
    ratio = found["peak"] / found["weights"]
    return {
        "what": f"`net.to_torch` of {LARGE}: memory at its peak, times the weights",
        "value": ratio,
        "target": f"at most {TORCH:g}",
        "met": ratio <= TORCH,
        "detail": f"{found['peak'] / 2**20:.0f} MiB for {found['weights'] / 2**20:.0f} MiB of weights; pages of "
        "the mapped file do not count",
        **found,
    }


def probe_torch(model: str, _: str) -> dict[str, Any]:
    """Bytes of anonymous memory that `to_torch` adds at its peak, and of the module's weights.

    Pages of the mapped file do not count, since the system can reclaim them.
    """
    import threading

    import torch

    net = matnet.load(model)
    torch.zeros(8).sum()
    before, peak, over = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    module = net.to_torch()
    over.set()
    watcher.join()
    weights = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    return {"peak": max(peak[0], anonymous()) - before, "weights": weights}


def anonymous() -> int:
    """Bytes of anonymous memory of this process; MatnetError if the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    except (OSError, StopIteration):
        raise MatnetError("this system does not report the memory of a process; run on Linux") from None


PROBES: dict[str, Callable[[str, str], dict[str, Any]]] = {"features": probe_features, "torch": probe_torch}
"""Measurements that run in a separate process."""


def _probed(probe: str, model: str, images: str) -> dict[str, Any]:
    command = [sys.executable, "-m", PROGRAM, model, images, "--probe", probe]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise MatnetError(f"{' '.join(command)}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# -- all --------------------------------------------------------------------------------------------


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row per target."""
    with tempfile.TemporaryDirectory() as folder:
        some = many_images(Path(options.images), Path(folder, "some", "class"), options.classify)
        image = Path(folder, "photo.jpg")
        shutil.copy(next(iter(sorted(some.iterdir()))), image)
        rows = [
            predict_row(options.model, image, options.runs),
            classify_row(options.model, some, options.turns),
            features_row(options.features),
        ]
    torch = torch_row()
    return [*rows, torch] if torch else rows


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser().parse_args(arguments)
    check_outputs([(options.json, JSON)], [options.model])
    if options.probe:
        print(json.dumps(PROBES[options.probe](options.model, options.images)))
        return 0
    rows = measure(options)
    print(Table(COLUMNS, rows).text(width=120))
    if options.json:
        write_figures(options.json, PROGRAM, {"rows": rows}, ["MODEL", "IMAGES"])
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(run_command(main))
