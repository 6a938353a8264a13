"""Small Caffe networks written for a test, converted, saved, loaded and run; and the numbers that they are fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import matnet
from matnet.arrays import from_nchw
from matnet.converters.files.caffe_write import write_caffemodel
from matnet.converters.files.text import parse_text
from matnet.network import Network
from tests.conftest import assert_close

TOLERANCE = 1e-5

RANDOM = np.random.default_rng(20)
X = RANDOM.standard_normal((2, 6, 7, 11)).astype(np.float32)
Y = RANDOM.standard_normal((2, 6, 7, 11)).astype(np.float32)
Z = RANDOM.standard_normal((2, 6, 7, 11)).astype(np.float32)
V = RANDOM.standard_normal((2, 5)).astype(np.float32)
S = RANDOM.standard_normal((4, 2, 5)).astype(np.float32)  # steps, streams, values
C6 = RANDOM.standard_normal(6).astype(np.float32)
P6 = (RANDOM.random(6) + 0.5).astype(np.float32)


def per_channel(values: np.ndarray) -> np.ndarray:
    """Six numbers beside N x 6 x H x W."""
    return values.reshape(1, -1, 1, 1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=axis, keepdims=True))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)


Blobs = Mapping[str, Sequence[np.ndarray]]


def caffe_files(folder: Path, layers: str, inputs: Mapping[str, Sequence[int]], blobs: Blobs) -> tuple[Path, Path]:
    """prototxt and caffemodel of a network: Input layers for `inputs`, then `layers` (prototxt text)."""
    heads = [
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        f"{' '.join(f'dim: {size}' for size in shape)} }} }} }}"
        for name, shape in inputs.items()
    ]
    text = "\n".join([*heads, layers])
    prototxt, caffemodel = folder / "deploy.prototxt", folder / "weights.caffemodel"
    prototxt.write_text(text)
    write_caffemodel(caffemodel, parse_text(text, "test", lenient=True), blobs)
    return prototxt, caffemodel


def converted(folder: Path, layers: str, inputs: Mapping[str, Sequence[int]], blobs: Blobs, **options: Any) -> Network:
    """The network that the files of `caffe_files` become; colours are left alone unless `options` say otherwise."""
    prototxt, caffemodel = caffe_files(folder, layers, inputs, blobs)
    return matnet.convert_caffe(prototxt, caffemodel, **{"color_format": "rgb", **options})


def reloaded(net: Network, folder: Path) -> Network:
    """The network after a way through a file."""
    return matnet.load(matnet.save(net, folder / "net.mat"))


def blob_values(net: Network, names: Sequence[str], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Caffe's blobs `names` for these inputs, in Caffe's own shapes."""
    given = {name: value.reshape(value.shape + (1,) * (4 - value.ndim)) for name, value in inputs.items()}
    found = net.forward(given, names)
    ranks = {name: net.blob_ranks.get(name, net.blob_ranks.get(net.resolve(name))) for name in names}
    return {name: from_nchw(found[name], "nchw", ranks[name]) for name in names}


def check(
    tmp_path: Path,
    kind: str,
    param: str,
    inputs: Mapping[str, np.ndarray],
    expected: Sequence[np.ndarray] | np.ndarray,
    blobs: Sequence[np.ndarray] = (),
    tolerance: float = TOLERANCE,
    **options: Any,
) -> None:
    """Convert one layer, save, load, run; compare its tops (y, y2, ...) with `expected`, shapes included."""
    wanted = [expected] if isinstance(expected, np.ndarray) else list(expected)
    tops = ["y", *(f"y{number}" for number in range(2, len(wanted) + 1))]
    bottoms = " ".join(f'bottom: "{name}"' for name in inputs)
    text = f'layer {{ name: "l" type: "{kind}" {bottoms} {" ".join(f"top: {top!r}" for top in tops)} {param} }}'
    shapes = {name: value.shape for name, value in inputs.items()}
    net = reloaded(converted(tmp_path, text, shapes, {"l": blobs} if len(blobs) else {}, **options), tmp_path)
    found = blob_values(net, tops, inputs)
    for top, value in zip(tops, wanted, strict=True):
        assert_close(found[top], value, tolerance, f"{kind}, {top}")


def layer(name: str, kind: str, bottom: str, top: str, param: str = "") -> str:
    bottoms = " ".join(f'bottom: "{blob}"' for blob in bottom.split())
    tops = " ".join(f'top: "{blob}"' for blob in top.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} {tops} {param} }}\n'
