"""Trains digits-lenet on scikit-learn's digits and writes its files: `python models/digits-lenet/train.py`.

It takes seconds on one CPU, and needs scikit-learn and an installed matnet. Written are digits-
lenet.caffemodel (for deploy.prototxt, which stays as it is), digits-lenet.mat made from the two by
matnet's own converter, and the held-out images as PNG files in class folders under test/. The caffemodel
comes out the same, byte for byte, on every run: the seed is fixed, numpy never changes the numbers that
RandomState draws, and the arithmetic of sgd.py is exact whatever the machine. So a new run proves the
files here: its SHA-1 is compared with the model card's.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sgd import SHAPES, LeNet
from sklearn.datasets import load_digits

import matnet
from matnet.converters.caffemodel import read_prototxt
from matnet.converters.files.caffe_write import write_caffemodel

HERE = Path(__file__).resolve().parent
SEED = 0
EPOCHS = 40
BATCH_SIZE = 32
LEARNING_RATE = 0.02  # falls to zero in equal steps
MOMENTUM = 0.9
WEIGHT_DECAY = 0.0005
GREY_PER_INK = 15  # ink 0..16 becomes grey level 0..240
SCALE = 128.0  # inputs in training are (grey level - mean) / SCALE; a power of two, so folding it in is exact


def split(labels: np.ndarray, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Indices for training and indices held out: a fifth of every class, drawn at random."""
    drawn = [random.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    held_out = np.sort(np.concatenate([indices[: len(indices) // 5] for indices in drawn]))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def shifted(images: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """N x 8 x 8 images, each moved by -1, 0 or 1 pixels along both axes over an empty background."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    offsets = random.randint(0, 3, (len(images), 2))
    moved = [image[y : y + 8, x : x + 8] for image, (y, x) in zip(padded, offsets, strict=True)]
    return np.stack(moved)


def train(images: np.ndarray, labels: np.ndarray, mean: int, random: np.random.RandomState) -> LeNet:
    """A network trained on N x 8 x 8 grey levels; prints the mean loss of every tenth epoch."""
    net = LeNet(random)
    batches = len(images) // BATCH_SIZE
    for epoch in range(EPOCHS):
        order = random.permutation(len(images))[: batches * BATCH_SIZE].reshape(batches, BATCH_SIZE)
        losses = []
        for number, batch in enumerate(order, start=epoch * batches):
            rate = LEARNING_RATE * (1 - number / (EPOCHS * batches))
            inputs = network_input(shifted(images[batch], random), mean)
            losses.append(net.train_batch(inputs, labels[batch], rate, MOMENTUM, WEIGHT_DECAY))
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: mean training loss {np.mean(losses):.4f}")
    return net


def network_input(images: np.ndarray, mean: int) -> np.ndarray:
    """N x 8 x 8 grey levels as the N x 1 x 8 x 8 doubles that training works with."""
    return ((images.astype(np.float64) - mean) / SCALE)[:, np.newaxis]


def caffe_blobs(net: LeNet) -> dict[str, list[np.ndarray]]:
    """The parameters as Caffe's blobs; the first layer takes grey levels minus the mean, without a scale."""
    blobs = {}
    for name, weights in net.weights.items():
        filters = weights.filters / SCALE if name == "conv1" else weights.filters
        blobs[name] = [filters.reshape(SHAPES[name]).astype(np.float32), weights.biases.astype(np.float32)]
    return blobs


def write_model(folder: Path, net: LeNet, mean: int) -> str:
    """Write the caffemodel, and the .mat that matnet converts it into; returns the caffemodel's SHA-1."""
    prototxt, caffemodel = folder / "deploy.prototxt", folder / "digits-lenet.caffemodel"
    if folder != HERE:
        shutil.copyfile(HERE / "deploy.prototxt", prototxt)
    write_caffemodel(caffemodel, read_prototxt(prototxt), caffe_blobs(net))
    converted = matnet.convert_caffe(
        prototxt, caffemodel, mean_values=[mean], class_names=[str(digit) for digit in range(10)]
    )
    matnet.save(converted, folder / "digits-lenet.mat")
    return hashlib.sha1(caffemodel.read_bytes()).hexdigest()


def write_held_out(folder: Path, images: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> None:
    """One PNG file per image, in a folder per class, named after the image's place in scikit-learn's set."""
    for index in indices:
        path = folder / "test" / str(labels[index]) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index]).save(path, optimize=True)


def errors(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Top-1 and top-5 error in percent."""
    ranked = np.argsort(-scores, axis=1, kind="stable")
    hit = ranked == labels[:, np.newaxis]
    return 100 * float(np.mean(~hit[:, 0])), 100 * float(np.mean(~hit[:, :5].any(axis=1)))


def main() -> int:
    parser = argparse.ArgumentParser(description="Train digits-lenet and write its files.")
    parser.add_argument("--out", type=Path, default=HERE, metavar="FOLDER", help="default: this folder")
    folder = parser.parse_args().out.resolve()
    folder.mkdir(parents=True, exist_ok=True)

    digits = load_digits()
    images, labels = (digits.images * GREY_PER_INK).astype(np.uint8), digits.target
    random = np.random.RandomState(SEED)
    training, held_out = split(labels, random)
    mean = round(float(images[training].mean()))

    start = time.perf_counter()
    net = train(images[training], labels[training], mean, random)
    print(f"trained on {len(training)} images in {time.perf_counter() - start:.1f} s; mean grey level {mean}")
    top1, top5 = errors(net.scores(network_input(images[held_out], mean)), labels[held_out])
    print(f"{len(held_out)} held-out images: top-1 error {top1:.2f} %, top-5 error {top5:.2f} %")

    write_held_out(folder, images, labels, held_out)
    sha1 = write_model(folder, net, mean)
    same = f"sha1: {sha1}" in (HERE / "readme.md").read_text().splitlines()
    print(f"digits-lenet.caffemodel: SHA-1 {sha1}, {'as' if same else 'NOT as'} the model card says")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
