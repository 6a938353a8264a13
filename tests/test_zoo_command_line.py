"""From an empty cache to a converted file, as a user types it: every command in a process of its own.

The model is a small AlexNet whose card stands among the user's own; a server on this machine holds its files, as
badly as the hosts of such files are. The weights are made here, and so is the published file.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.converters import convert_caffe
from matnet.converters.caffemodel import read_prototxt
from matnet.converters.files.caffe_write import write_caffemodel
from tests.caffe_bytes import binaryproto
from tests.helpers import assert_line
from tests.hostile_server import Behaviour, serving_files

pytestmark = pytest.mark.process

PLACES = {"PYTHONPATH": str(Path(matnet.__file__).parents[1]), "MATNET_OFFLINE": ""}
PROTOTXT = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 13 dim: 15 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 4 kernel_h: 3 kernel_w: 5 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 } }
layer { name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "fc2" type: "InnerProduct" bottom: "pool1" top: "fc2" inner_product_param { num_output: 6 } }
layer { name: "drop2" type: "Dropout" bottom: "fc2" top: "fc2" }
layer { name: "prob" type: "Softmax" bottom: "fc2" top: "prob" }
"""
CARD = """---
name: Tiny AlexNet
caffemodel: tiny.caffemodel
caffemodel_url: {host}/moved/tiny.caffemodel
license: unrestricted
sha1: {sha1}
aliases: [small alex]
task: classification
citation: ["A. Author: A title. A venue, 2014."]
format: simplenn
mat: tiny-alex.mat
mat_url: ["{host}/gone.mat", "{host}/tiny-alex.mat"]
md5: {{2016-05-02: {md5}}}
caffe_files:
  - {{role: caffemodel, urls: ["{host}/tiny.caffemodel"], size: {size}}}
  - role: mean
    file: mean.binaryproto
    member: all/mean.binaryproto
    archive: &all {{file: all.tar.gz, urls: ["{host}/all.tar.gz"]}}
  - {{role: labels, file: words.txt, member: all/words.txt, archive: *all}}
definition: own
convert:
  {{remove_dropout: true, preprocessing: caffe, mean: mean.binaryproto, mean_treatment: resize, labels: words.txt}}
inputs: {{data: [3, 13, 15]}}
outputs: [prob]
labels: {{count: 6}}
---

# tiny-alex
"""


@dataclass
class User:
    """A person in a folder of their own, and the files on the server."""

    folder: Path
    home: Path
    files: dict[str, Behaviour]

    def types(self, *words: str, status: int = 0, **environment: str) -> str:
        """What a command says, stdout first; its exit status must be `status`, and no traceback is shown."""
        return self.ends(self.starts(*words, **environment), status)

    def starts(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=self.folder,
            env={**os.environ, **PLACES, "MATNET_HOME": str(self.home), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ends(self, started: subprocess.Popen[str], status: int = 0) -> str:
        try:
            out, errors = started.communicate(timeout=120)
        finally:
            started.kill()
        assert started.returncode == status, errors
        assert "Traceback" not in errors
        return out + errors


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    made, folder, home = tmp_path / "made", tmp_path / "folder", tmp_path / "home"
    for new in (made, folder, home / "models" / "tiny-alex"):
        new.mkdir(parents=True)
    weights, published, archive = model_files(made)
    files = {
        "/moved/tiny.caffemodel": Behaviour(html=True),
        "/tiny.caffemodel": Behaviour(content=weights),
        "/all.tar.gz": Behaviour(content=archive, redirects=2),
        "/gone.mat": Behaviour(statuses=[404] * 99),
        "/tiny-alex.mat": Behaviour(content=published),
    }
    for hop in range(2):
        files[f"/again{hop}"] = files["/all.tar.gz"]
    with serving_files(files) as host:
        card = CARD.format(
            host=host, size=len(weights), sha1=hashlib.sha1(weights).hexdigest(), md5=hashlib.md5(published).hexdigest()
        )
        (home / "models" / "tiny-alex" / "readme.md").write_text(card)
        (home / "models" / "tiny-alex" / "deploy.prototxt").write_text(PROTOTXT)
        yield User(folder, home, files)


def model_files(folder: Path) -> tuple[bytes, bytes, bytes]:
    """A caffemodel; the `.mat` file that was published, with one other bias; an archive with mean and labels."""
    random = np.random.default_rng(4)
    blobs = {"conv1": [(4, 3, 3, 5), (4,)], "fc2": [(6, 4 * 5 * 5), (6,)]}
    values = {
        name: [random.standard_normal(shape).astype(np.float32) for shape in sizes] for name, sizes in blobs.items()
    }
    (folder / "deploy.prototxt").write_text(PROTOTXT)
    net = read_prototxt(folder / "deploy.prototxt")
    write_caffemodel(folder / "tiny.caffemodel", net, values)
    (folder / "mean.binaryproto").write_bytes(binaryproto(np.full((3, 18, 16), 100, np.float32)))
    (folder / "words.txt").write_text("".join(f"n0000000{index} word {index}\n" for index in range(6)))
    mat = convert_caffe(
        folder / "deploy.prototxt",
        folder / "tiny.caffemodel",
        remove_dropout=True,
        preprocessing="caffe",
        mean=folder / "mean.binaryproto",
        mean_treatment="resize",
        labels=folder / "words.txt",
    )
    mat.params["fc2_bias"].value = mat.params["fc2_bias"].value + np.float32(0.5)
    matnet.save(mat, folder / "published.mat", format="simplenn")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("mean.binaryproto", "words.txt"):
            archive.add(folder / name, f"./all/{name}")
        evil = tarfile.TarInfo("../../evil")
        archive.addfile(evil, io.BytesIO())
    return (folder / "tiny.caffemodel").read_bytes(), (folder / "published.mat").read_bytes(), packed.getvalue()


def test_from_an_empty_cache_to_a_compared_file(user: User) -> None:
    user.files["/tiny.caffemodel"].cut_after, user.files["/tiny.caffemodel"].cuts = 2000, 1
    user.files["/all.tar.gz"].statuses = [503]
    said = user.types("matnet.convert", "Small Alex")
    assert_line(said, "2000 bytes", "1501", "1 s")
    assert_line(said, "web page", "trying")
    assert_line(said, "503", "1 s")
    converted = (user.folder / "tiny-alex.mat").read_bytes()
    assert f"tiny-alex.mat: MD5 {hashlib.md5(converted).hexdigest()}" in said
    assert_line(said, "matnet.zoo fetch tiny-alex")

    cached, published = user.home / "mat" / "tiny-alex.mat", user.files["/tiny-alex.mat"]
    published.cut_after, published.cuts = len(published.content) * 6 // 10, 1
    said = user.types("matnet.zoo", "fetch", "tiny-alex.mat")
    assert "404 Not Found; trying " in said
    assert said.startswith(f"{cached}\n")
    assert cached.read_bytes() == published.content

    asked = len(user.files["/tiny.caffemodel"].asked)
    said = user.types("matnet.convert", "tiny_alex")
    assert_line(said, str(cached), "3 of 4 params", "0", "structure", "0", "meta")
    assert len(user.files["/tiny.caffemodel"].asked) == asked, "what was fetched once is not fetched again"
    assert (user.folder / "tiny-alex.mat").read_bytes() == converted, "the same input gives the same bytes"

    said = user.types("matnet.diff", "tiny-alex.mat", str(cached), status=1)
    assert [line.split() for line in said.splitlines() if line.startswith("fc2_bias")] == [
        ["fc2_bias", "6x1", "0.5", "1.50684"]
    ]
    said = user.types("matnet.zoo", "verify", "tiny-alex.mat", str(cached))
    assert [line.split()[0] for line in said.splitlines()[2:]] == ["unknown", "OK"]


def test_without_a_network_a_person_is_told_what_to_bring_and_where(user: User) -> None:
    said = user.types("matnet.convert", "tiny-alex", status=2, MATNET_OFFLINE="1")
    assert "tiny.caffemodel: download failed:" in said
    assert "MATNET_OFFLINE is set" in said
    sha1 = hashlib.sha1(user.files["/tiny.caffemodel"].content).hexdigest()
    assert f"its checksum: SHA1 {sha1}" in said
    assert_line(said, str(user.home / "caffe" / "tiny-alex" / "tiny.caffemodel"))
    brought = user.folder / "usb-stick"
    brought.mkdir()
    for name in ("tiny.caffemodel", "all.tar.gz"):
        (brought / name).write_bytes(user.files[f"/{name}"].content)
    user.types("matnet.convert", "tiny-alex", "--from", "usb-stick", MATNET_OFFLINE="1")
    assert (user.folder / "tiny-alex.mat").is_file()
    assert not list(user.folder.parent.rglob("evil"))


def test_a_mirror_and_a_misspelt_name(user: User) -> None:
    host = next(line for line in (user.home / "models/tiny-alex/readme.md").read_text().splitlines() if "_url:" in line)
    mirror = host.split()[1].removesuffix("moved/tiny.caffemodel")
    user.types("matnet.zoo", "fetch", "tiny-alex", "--what", "caffe", "--mirror", mirror)
    assert user.files["/moved/tiny.caffemodel"].asked == []
    said = user.types("matnet.zoo", "show", "tiny alecks", status=2)
    assert_line(said, "'tiny alecks'", "tiny-alex")
    said = user.types("matnet.convert", "tiny-alecks", status=2)
    assert "nearest: tiny-alex" in said
    assert "nearest: --mirror" in user.types("matnet.zoo", "fetch", "tiny-alex", "--miror", status=2)


def test_two_processes_that_want_one_model_fetch_it_once(user: User) -> None:
    user.files["/tiny-alex.mat"].statuses = [503]
    started = [user.starts("matnet.zoo", "fetch", "tiny-alex") for _ in range(2)]
    said = [user.ends(process) for process in started]
    assert [text.splitlines()[0] for text in said] == [str(user.home / "mat" / "tiny-alex.mat")] * 2
    assert len(user.files["/tiny-alex.mat"].asked) == 2, "once in vain, once for both"
    assert sorted(path.name for path in (user.home / "mat").iterdir()) == ["tiny-alex.mat"]
