"""Agreement of the top class on real images between numpy and one backend, in every precision."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from matnet import convert_caffe
from matnet.benchmarks.device.conformance import path_of
from matnet.engines import EngineOptions
from matnet.errors import DataError
from matnet.images import Preprocessing
from matnet.network import Network

REAL_DATA = "MATNET_REAL_DATA"
NETWORK = Path("caffe") / "squeezenet"
IMAGES = Path("images") / "imagenet100"
MEAN = (123.0, 117.0, 104.0)  # R, G, B of Caffe's SqueezeNet
LEAST = {"fp32": 1.0, "tf32": 0.99, "fp16": 0.98}  # minimum fraction of images that agree with numpy in float32
BATCH = 20


@dataclass
class Agreement:
    """The number of images with the same top class as the reference, by precision."""

    images: int
    same: dict[str, int] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)  # how the engine ran, by precision

    def reached(self, precision: str) -> bool:
        return self.same[precision] >= LEAST[precision] * self.images

    def line(self, precision: str) -> str:
        share = f"{self.same[precision]} of {self.images} images, at least {100 * LEAST[precision]:.0f} %"
        ran = f" ({self.paths[precision]})" if self.paths.get(precision) else ""
        return f"{'PASS' if self.reached(precision) else 'miss'}  {precision}{ran}: same top class on {share}"


def real_data() -> Path:
    """The folder in MATNET_REAL_DATA; DataError if it is unset or required subfolders are missing."""
    folder = os.environ.get(REAL_DATA)
    if not folder:
        raise DataError(f"{REAL_DATA} is not set; set it to a folder of real networks and images")
    for part in (NETWORK, IMAGES):
        if not (Path(folder) / part).is_dir():
            raise DataError(f"{folder}: no subfolder {part}; {REAL_DATA} must contain it")
    return Path(folder)


def squeezenet(folder: Path) -> tuple[Network, np.ndarray]:
    """The network, and all images as its input, N x C x H x W."""
    prototxt, weights = (next((folder / NETWORK).glob(f"*.{kind}")) for kind in ("prototxt", "caffemodel"))
    net = convert_caffe(prototxt, weights, mean_values=MEAN)
    prepare = Preprocessing.of(net)
    files = sorted(path for path in (folder / IMAGES).iterdir() if path.suffix.lower() in (".jpeg", ".jpg", ".png"))
    if not files:
        raise DataError(f"{folder / IMAGES}: no images")
    return net, np.stack([prepare.load(path) for path in files])


def agreement(net: Network, images: np.ndarray, backend: str, precisions: list[str]) -> Agreement:
    """Compares `backend` in each precision with numpy."""
    expected, _ = _first_classes(net, images, "numpy", "fp32")
    found = Agreement(len(images))
    for precision in precisions:
        classes, found.paths[precision] = _first_classes(net, images, backend, precision)
        found.same[precision] = int((classes == expected).sum())
    return found


def _first_classes(net: Network, images: np.ndarray, backend: str, precision: str) -> tuple[np.ndarray, str]:
    """The classes, and how the engine ran; the first batch runs twice, since a GPU records first and then replays."""
    options = EngineOptions(backend, precision=precision)
    engine = net.compile(options=options)
    if backend == "cupy":
        engine(images[:BATCH] * np.float32(0.5))
    path = path_of(engine)
    batches = [next(iter(engine(images[start : start + BATCH]).values())) for start in range(0, len(images), BATCH)]
    return np.concatenate([batch.reshape(len(batch), -1).argmax(axis=1) for batch in batches]), path
