"""Caffe's weights as HDF5: whole files, bad ones, and files that point to others."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

import matnet
from matnet.converters.caffemodel import read_weights
from matnet.errors import FileFormatError

VALUES = np.array([1.5, -2, 0, 3e38, 7, 8], np.float32)


def test_hdf5_weights(tmp_path: Path) -> None:
    file = tmp_path / "net.caffemodel.h5"
    with h5py.File(file, "w") as out:
        out["data/conv1/0"] = VALUES.reshape(2, 3)
        out["data/conv1/1"] = VALUES[:2].astype(np.float64)
        out["data/inception/1x1/0"] = VALUES
        out["data/inception/1x1/10"] = VALUES[:1]
        out["data/shared/1"] = VALUES[:3]
        out.create_group("data/relu1")
    weights = read_weights(file)
    assert {name: [blob and blob.shape for blob in blobs] for name, blobs in weights.layers.items()} == {
        "conv1": [(2, 3), (2,)], "inception/1x1": [(6,), *[None] * 9, (1,)], "relu1": [],
        "shared": [None, (3,)]}
    blob = weights.layers["conv1"][1]
    assert blob is not None and not blob.legacy and blob.data.dtype == np.float32
    np.testing.assert_array_equal(blob.data, VALUES[:2])


def test_hdf5_weights_alone_are_no_network(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "net.caffemodel.h5", "w") as out:
        out["data/conv1/0"] = VALUES
    with pytest.raises(FileFormatError, match=r"net\.caffemodel\.h5.*no graph.*prototxt"):
        matnet.load(tmp_path / "net.caffemodel.h5")


@pytest.mark.parametrize(("name", "value", "fragment"), [
    ("weights/conv1/0", VALUES, "no group /data"), ("data/conv1/weight", VALUES,
                                                    "expected the number of a blob"),
    ("data/conv1/0", np.arange(3), "holds int64, expected floats"),
    ("data/conv1/0", np.zeros((3, 0), np.float32), "has a size of 0"),
    ("data/conv1/0", np.dtype("f4"), "neither a group nor a dataset"),
])
def test_bad_hdf5_files(tmp_path: Path, name: str, value: object, fragment: str) -> None:
    file = tmp_path / "net.caffemodel.h5"
    with h5py.File(file, "w") as out:
        out[name] = value
    with pytest.raises(FileFormatError, match=fragment):
        read_weights(file)


def test_an_hdf5_file_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "net.caffemodel.h5"
    with h5py.File(file, "w") as out:
        out.create_dataset("data/conv1/0", (1 << 20, 1 << 20), np.float32, chunks=(64, 64), compression="gzip")
    with pytest.raises(FileFormatError, match=r"\[1048576, 1048576\] values"):
        read_weights(file)


@pytest.mark.parametrize("keep", [9, 100, 0.5, 0.9])
def test_a_cut_hdf5_file(tmp_path: Path, keep: float) -> None:
    file = tmp_path / "net.caffemodel.h5"
    with h5py.File(file, "w") as out:
        out["data/conv1/0"] = np.zeros((64, 64), np.float32)
    whole = file.read_bytes()
    file.write_bytes(whole[:int(keep if keep > 1 else keep * len(whole))])
    with pytest.raises(FileFormatError, match="HDF5 cannot read it"):
        read_weights(file)


def _raw_storage(out: h5py.File, secret: Path, other: Path) -> None:
    size = secret.stat().st_size // 4
    out.create_group("data/ip").create_dataset("0", (1, size), "<f4", external=[(str(secret), 0, size * 4)])


def _virtual(out: h5py.File, secret: Path, other: Path) -> None:
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[...] = h5py.VirtualSource(str(other), "private", (2, 3))
    out.create_group("data/ip").create_virtual_dataset("0", layout)


HOSTILE = {
    "external raw storage": _raw_storage,
    "a virtual dataset": _virtual,
    "a link as /data": lambda out, secret, other: out.__setitem__("data", h5py.ExternalLink(str(other), "/data")),
    "a link as a layer": lambda out, secret, other: out.create_group("data").__setitem__(
        "ip", h5py.ExternalLink(str(other), "/data/ip")),
    "a link as a blob": lambda out, secret, other: out.create_group("data/ip").__setitem__(
        "0", h5py.ExternalLink(str(other), "/private")),
    "a soft link": lambda out, secret, other: out.create_group("data/ip").__setitem__("0", h5py.SoftLink("/x")),
}  # fmt: skip


@pytest.mark.parametrize("name", ["net.caffemodel.h5", "net.caffemodel"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_an_hdf5_file_reads_no_other_file(tmp_path: Path, kind: str, name: str) -> None:
    secret, other = tmp_path / "secret.txt", tmp_path / "other.h5"
    secret.write_text("TOP-SECRET-TOKEN=0123456789abcdef\n" * 4)
    with h5py.File(other, "w") as out:
        out["data/ip/0"] = out["private"] = np.full((2, 3), 42, np.float32)
    with h5py.File(tmp_path / name, "w", libver="latest") as out:
        HOSTILE[kind](out, secret, other)
    with pytest.raises(FileFormatError, match=r"net\.caffemodel.*(another file|external link)"):
        read_weights(tmp_path / name)


@pytest.mark.process
def test_many_hard_links_to_one_dataset_are_counted(tmp_path: Path) -> None:
    """Each is read anew: 40 MB of zeros, deflated to some 40 KB, 100 times would be 4 GB."""
    with h5py.File(tmp_path / "net.caffemodel.h5", "w") as out:
        first = out.create_dataset("data/ip0/0", (10_000_000,), "f4", compression="gzip", chunks=(1_000_000,))
        first[...] = 0
        for number in range(1, 100):
            out.create_group(f"data/ip{number}")["0"] = first
    with pytest.raises(FileFormatError, match="too many for a file of this size"):
        read_weights(tmp_path / "net.caffemodel.h5")


def test_groups_that_hold_themselves_end(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "net.caffemodel.h5", "w") as out:
        group = out.create_group("data/a")
        group["a"] = group
    with pytest.raises(FileFormatError, match="more than 20 deep"):
        read_weights(tmp_path / "net.caffemodel.h5")


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.caffemodel.h5")
    with pytest.raises(FileFormatError, match="pipe or device"):
        read_weights(tmp_path / "net.caffemodel.h5")
