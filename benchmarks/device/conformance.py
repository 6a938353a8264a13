"""Checks a backend on the recorded networks of the tests, with outputs computed by MatConvNet and Caffe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import matnet
from matnet import arrays, convert_caffe, load
from matnet.benchmarks.measure import failure
from matnet.engines import EngineOptions
from matnet.errors import DataError
from matnet.network import Network

DATA = Path(matnet.__file__).resolve().parents[1] / "tests" / "data"
KINDS = ("matconvnet", "metrics", "caffe")
# Relative to an output's largest value. TF32 and FP16 keep 11 bits per factor: 2^-12 per product, more over layers.
BOUNDS = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 2e-2}
LEAST_SCALE = 1e-3  # minimum scale of the comparison


@dataclass(frozen=True)
class Case:
    """One recorded network: a folder with the network's files and `io.npz`."""

    kind: str
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.folder.name}"


@dataclass
class CaseResult:
    """The result of one network on one backend; `worst` is relative to the largest value of an output."""

    case: str
    precision: str
    status: str = "ok"
    worst: float = 0.0
    variable: str = ""  # with the worst difference
    outputs: int = 0
    paths: list[str] = field(default_factory=list)  # how the compared runs were executed, such as one graph


def cases(data: Path = DATA) -> list[Case]:
    """All recorded networks; DataError if the test data are missing."""
    found = [Case(kind, io.parent) for kind in KINDS for io in sorted((data / kind).glob("*/io.npz")) if data.is_dir()]
    if not found:
        raise DataError(f"{data}: no recorded networks; run from a checkout or pass --data tests/data")
    return found


def check(case: Case, backend: str, precision: str = "fp32") -> CaseResult:
    """Run one network for all its recorded outputs, and for the last alone, which lets an engine fuse more.

    Each runs twice, first on other values, and the second run is compared: a GPU records the first run and replays it
    afterwards. Plans are not timed, since that would take minutes for hundreds of networks.
    """
    outcome = CaseResult(case.name, precision)
    options = EngineOptions(backend, precision=precision, autotune=backend != "cupy")
    try:
        net, inputs, expected = recorded(case)
        for names in (list(expected), list(expected)[-1:]):
            engine = net.compile(names, options=options)
            engine(other_values(inputs))
            path = path_of(engine)
            compare(outcome, engine(inputs), expected, names)
            outcome.paths += [path] if path not in outcome.paths else []
    except Exception as error:  # continue with the other networks
        outcome.status = failure(error)
    return outcome


def other_values(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs with the largest one halved, so that stale outputs are detected."""
    largest = max(inputs, key=lambda name: inputs[name].size)
    return {name: value * np.float32(0.5) if name == largest else value for name, value in inputs.items()}


def path_of(engine: Any) -> str:
    """How the next batch of the same size runs; empty for engines with only one way."""
    return str(getattr(engine, "path", ""))


def compare(
    outcome: CaseResult, found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], names: Iterable[str]
) -> None:
    """Record the worst difference, and the first output beyond the bound."""
    for name in names:
        outcome.outputs += 1
        if found[name].shape != expected[name].shape:
            outcome.status = f"failed: {name} is {found[name].shape}; expected {expected[name].shape}"
            return
        distance = relative_distance(found[name], expected[name])
        if not distance <= outcome.worst:
            outcome.worst, outcome.variable = distance, name
        if not distance <= BOUNDS[outcome.precision] and outcome.status == "ok":
            outcome.status = f"failed: {name} differs by {distance:.2g} of its largest value"


def relative_distance(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest absolute difference over the largest magnitude; infinite if different values are non-finite."""
    a, b = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite):
        return float("inf")
    scale = max(LEAST_SCALE, float(np.abs(b[finite]).max(initial=0)))
    return float(np.abs(a[finite] - b[finite]).max(initial=0)) / scale


def recorded(case: Case) -> tuple[Network, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The network, its inputs, and the recorded outputs N x C x H x W by variable or Caffe blob name."""
    if case.kind == "caffe":
        net = convert_caffe(case.folder / "deploy.prototxt", case.folder / "weights.caffemodel", color_format="rgb")
    else:
        net = load(case.folder / "model.mat")
    stored = arrays.read_arrays(case.folder / "io.npz")
    layout = "nchw" if case.kind == "caffe" else "hwcn"
    names = {name: net.names_of_input(name) for name in net.data_inputs()}
    labels = [name for name in net.inputs if name not in names]
    inputs = {
        name: _four(arrays.to_nchw(value, layout, None))
        for name, value in arrays.input_arrays(stored, names, labels, case.folder).items()
    }
    if set(net.inputs) - set(inputs):
        net = net.for_inference()
    known = {arrays.encoded(name): name for name in (*net.variables, *net.aliases)}
    expected = {
        known[name[5:]]: _four(arrays.to_nchw(value, layout, None))
        for name, value in stored.items()
        if name.startswith("out__") and name[5:] in known
    }
    return net, inputs, expected


def _four(array: np.ndarray) -> np.ndarray:
    """A Caffe blob with ones appended up to four axes."""
    return array.reshape(array.shape + (1,) * (4 - array.ndim))
