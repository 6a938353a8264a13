"""`python -m matnet.benchmarks.definitions FOLDER`: how many Caffe definitions can be read, built, sized and run.

FOLDER (or a .tar archive) contains prototxts. Each is tried in a separate process with time and memory limits: read
strictly, else leniently; built with placeholders; sized; run with random weights unless it is too large. Failures are
counted by reason. A definition that needs an input size, a phase or a stage is tried again with one and counted
separately.
"""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import json
import multiprocessing
import os
import re
import resource
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from matnet.command_line import CommandParser, run_command
from matnet.converters import convert_caffe
from matnet.converters.caffemodel import read_prototxt
from matnet.errors import FileFormatError, MatnetError
from matnet.files import atomic_write, check_outputs
from matnet.kinds import JSON
from matnet.network import Network

GIBIBYTE = 1 << 30
TRIED_SIZE = (3, 224, 224)
"""The image size for definitions that do not state one."""
WAYS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("as it is", {}),
    ("--input-size", {"input_size": TRIED_SIZE}),
    ("--phase TRAIN", {"phase": "TRAIN"}),
    ("--phase TRAIN --input-size", {"phase": "TRAIN", "input_size": TRIED_SIZE}),
)
"""The options with which a definition is built, tried in this order."""
OF_UNKNOWN_TYPES = "that cannot be converted:"
"""Text in the first line of an error about unknown layer types."""
STEPS = ("read strictly", "read leniently", "built", "built with help", "sized", "ran", "too large to run")


@dataclass
class DefinitionTrial:
    """The result for one definition: the steps it passed, and the reason of its failure ("" if it ran).

    types: the unknown layer types. text: the full error.
    """

    steps: list[str] = field(default_factory=list)
    reason: str = ""
    types: list[str] = field(default_factory=list)
    text: str = ""


@dataclass(frozen=True)
class TrialLimits:
    """Limits of one trial: seconds, GiB of memory, and billions of multiply-adds of a network to run."""

    seconds: float = 60
    memory: float = 6
    operations: float = 4


# -- one definition ---------------------------------------------------------------------------------------


def attempt(path: Path, limits: TrialLimits, forward: bool) -> DefinitionTrial:
    """Try one definition; any exception other than MatnetError is also a reason."""
    trial = DefinitionTrial()
    try:
        lenient = _read(path, trial)
        net, options = _built(path, lenient, trial)
        _size_and_run(path, {"lenient": lenient, **options}, net, limits, forward, trial)
    except MatnetError as error:
        trial.text = str(error)
        trial.reason, trial.types = reason_of(trial.text), unknown_types(trial.text)
    except MemoryError:
        trial.reason = "out of memory"
    except Exception as error:  # a bug in matnet, which this benchmark looks for
        trial.reason = trial.text = f"{type(error).__name__}: {error}"[:200]
    return trial


def _read(path: Path, trial: DefinitionTrial) -> bool:
    """Whether reading the file needs `lenient`."""
    try:
        read_prototxt(path)
    except FileFormatError:
        read_prototxt(path, lenient=True)
        trial.steps.append("read leniently")
        return True
    except MatnetError:  # readable, but without a graph in this phase
        pass
    trial.steps.append("read strictly")
    return False


def _built(path: Path, lenient: bool, trial: DefinitionTrial) -> tuple[Network, dict[str, Any]]:
    """The network, and the options needed to build it."""
    first: MatnetError | None = None
    for way, options in WAYS:
        try:
            net = convert_caffe(path, placeholders=True, lenient=lenient, **options)
        except MatnetError as error:
            first = first or error
            continue
        trial.steps.append("built" if way == "as it is" else "built with help")
        return net, options
    assert first is not None
    raise first


def _size_and_run(
    path: Path, options: dict[str, Any], net: Network, limits: TrialLimits, forward: bool, trial: DefinitionTrial
) -> None:
    from matnet.zoo.random_weights import random_params
    from matnet.zoo.trial import sample_inputs

    unknown = [name for name in net.inputs if name not in net.input_shapes]
    if unknown and "input_size" not in options:  # built without a size, but running needs one
        net = convert_caffe(path, placeholders=True, **options, input_size=TRIED_SIZE)
        unknown = [name for name in net.inputs if name not in net.input_shapes]
    if unknown:
        trial.reason = "the size of an input is unknown"
        return
    shapes = net.infer_shapes(net.input_shapes)
    trial.steps.append("sized")
    if not forward:
        return
    if _operations(net, shapes) > limits.operations * 1e9 or _values(net, shapes) * 4 > limits.memory * GIBIBYTE / 2:
        trial.steps.append("too large to run")
        return
    random_params(net)
    net.forward(sample_inputs(net, net.input_shapes))
    trial.steps.append("ran")


def _operations(net: Network, shapes: dict[str, Any]) -> int:
    return sum(
        layer.op.multiply_adds(
            [shapes[name] for name in layer.inputs],
            net.param_shapes(layer),
            [shapes[name] for name in layer.outputs],
        )
        for layer in net.layers.values()
        if all(name in shapes for name in layer.outputs)
    )


def _values(net: Network, shapes: dict[str, Any]) -> int:
    return sum(prod(shape) for shape in shapes.values()) + sum(param.value.size for param in net.params.values())


# -- reasons ----------------------------------------------------------------------------------------------


def reason_of(text: str) -> str:
    """An error without file, position, names and numbers, so that errors of the same kind are equal."""
    lines = text.splitlines()
    line = lines[1] if len(lines) > 1 and lines[0].rstrip().endswith(":") else lines[0]
    if len(lines) > 1 and OF_UNKNOWN_TYPES in lines[0]:
        return "layers of unknown types"
    if "unknown field" in line:
        return "unknown fields"
    if "unknown value" in line:
        return "unknown enum values"
    line = re.sub(r"^.*?(?:line \d+, column \d+|\.prototxt)[,:] *", "", line.strip())
    line = re.sub(r"layer '[^']*' \((\w+)\)", r"layer (\1)", line)
    line = re.sub(r"'[^']*'|`[^`]*`", "_", line)
    line = re.sub(r"\([^()]*,[^()]*\)|\[[^\]]*\]", "(...)", line)
    return re.sub(r"-?\d[\dx.,]*|\?(?:x\?)*", "#", line)[:160]


def unknown_types(text: str) -> list[str]:
    """The layer types listed in an error about unknown types."""
    if OF_UNKNOWN_TYPES not in text:
        return []
    return sorted(set(re.findall(r"layer '[^\n]*' \(([^()\n]*)\)", text)))


# -- supervision ------------------------------------------------------------------------------------------


def _child(path: Path, limits: TrialLimits, forward: bool, answer: Connection) -> None:
    bytes_allowed = int(limits.memory * GIBIBYTE)
    resource.setrlimit(resource.RLIMIT_AS, (bytes_allowed, bytes_allowed))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
    with np.errstate(all="ignore"):
        answer.send(attempt(path, limits, forward))


def supervised(
    paths: Sequence[Path], limits: TrialLimits, forward: bool, workers: int
) -> Iterator[tuple[Path, DefinitionTrial]]:
    """Each path with its trial, in order of completion; a crash or timeout of a process is also a reason."""
    context = multiprocessing.get_context("fork")  # all modules are already imported
    waiting = list(reversed(paths))
    running: dict[Connection, tuple[Path, Any, float]] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            path = waiting.pop()
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(path, limits, forward, sender))
            process.start()
            sender.close()
            running[receiver] = (path, process, time.monotonic() + limits.seconds)
        wait(list(running), timeout=0.2)
        for receiver, (path, process, deadline) in list(running.items()):
            trial = _answer(receiver, process)
            if trial is None and time.monotonic() > deadline:
                process.kill()
                trial = DefinitionTrial(reason="timed out")
            if trial is not None:
                process.join()
                del running[receiver]
                receiver.close()
                yield path, trial


def _answer(receiver: Connection, process: Any) -> DefinitionTrial | None:
    if not receiver.poll():
        return None
    try:
        return receiver.recv()  # type: ignore[no-any-return]
    except EOFError:
        process.join()
        return DefinitionTrial(reason=f"the process ended with status {process.exitcode}")


@contextmanager
def definitions_in(source: Path) -> Iterator[list[Path]]:
    """The prototxts in a folder, or in an archive, which is temporarily unpacked."""
    if source.is_dir():
        yield sorted(path for path in source.rglob("*.prototxt") if path.is_file())
        return
    if not source.is_file() or not tarfile.is_tarfile(source):
        raise FileFormatError(f"{source}: expected a folder of prototxts, or a .tar archive of them")
    with tempfile.TemporaryDirectory() as folder, tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
        yield sorted(path for path in Path(folder).rglob("*.prototxt") if path.is_file())


# -- the report -------------------------------------------------------------------------------------------


def summarize(trials: Sequence[DefinitionTrial], limits: TrialLimits, forward: bool) -> dict[str, Any]:
    """Counts of definitions by passed step, by reason, and by unknown layer type."""
    steps = Counter(step for trial in trials for step in trial.steps)
    reasons = Counter(trial.reason for trial in trials if trial.reason)
    types = Counter(name for trial in trials for name in trial.types)
    return {
        "definitions": len(trials),
        "steps": {step: steps[step] for step in STEPS if forward or step not in ("ran", "too large to run")},
        "limits": {"seconds": limits.seconds, "memory_gib": limits.memory, "multiply_adds": limits.operations * 1e9},
        "reasons": dict(reasons.most_common()),
        "unknown_types": dict(types.most_common()),
    }


def print_summary(found: dict[str, Any], shown: int) -> None:
    print(f"{found['definitions']:5} definitions")
    for step, count in found["steps"].items():
        print(f"{count:5} {step}")
    for title in ("reasons", "unknown_types"):
        print(f"\n{title.replace('_', ' ')}, by definitions:")
        for name, count in list(found[title].items())[:shown]:
            print(f"{count:5} {name}")


def parser() -> argparse.ArgumentParser:
    command = CommandParser(
        prog="python -m matnet.benchmarks.definitions",
        description="Try Caffe definitions: read, build, size, and run each with random weights.",
    )
    usual = TrialLimits()
    add = command.add_argument
    add("source", type=Path, metavar="FOLDER", help="prototxts, also in subfolders; or a .tar archive of them")
    add("--no-forward", dest="forward", action="store_false", help="do not run the networks")
    add("--workers", type=int, default=1, metavar="N", help="processes at a time (default: %(default)s)")
    add("--seconds", type=float, default=usual.seconds, metavar="S", help="time limit of each (default: %(default)s)")
    add("--memory", type=float, default=usual.memory, metavar="GIB", help="memory limit of each (default: %(default)s)")
    add("--operations", type=float, default=usual.operations, metavar="G",
        help="billions of multiply-adds beyond which a network is not run (default: %(default)s)")  # fmt: skip
    add("--only", default="", metavar="TEXT", help="definitions whose name contains this")
    add("--top", type=int, default=40, metavar="N", help="reasons to print (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the counts")
    add("--rows", type=Path, metavar="FILE", help="write the outcome of every definition, with complete errors")
    return command


def main(argv: list[str] | None = None) -> int:
    given = parser().parse_args(argv)
    check_outputs([(given.json, JSON), (given.rows, JSON)], [given.source])
    limits = TrialLimits(given.seconds, given.memory, given.operations)
    trials: list[DefinitionTrial] = []
    rows: list[dict[str, Any]] = []
    progress: Callable[[str], Any] = lambda text: print(text, end="", file=sys.stderr, flush=True)  # noqa: E731
    with definitions_in(given.source) as found:
        paths = [path for path in found if given.only in path.name]
        if not paths:
            raise FileFormatError(f"{given.source}: contains no .prototxt files")
        for path, trial in supervised(paths, limits, given.forward, max(given.workers, 1)):
            trials.append(trial)
            rows.append({"definition": path.name, **vars(trial)})
            if sys.stderr.isatty():
                progress(f"\r{len(trials)}/{len(paths)}")
    summary = summarize(trials, limits, given.forward)
    print_summary(summary, given.top)
    for target, value in ((given.json, summary), (given.rows, sorted(rows, key=lambda row: row["definition"]))):
        if target is not None:
            with atomic_write(target) as file:
                file.write(json.dumps(value, indent=1).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
