"""The kinds of input that are fuzzed: seeds, a mutation that knows the format, and what reads the result."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import logging
import random
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import matnet
from matnet.arrays import read_arrays
from matnet.converters.caffemodel import read_mean
from matnet.datasets.lfw import _read_pairs
from matnet.datasets.objects import read_annotation
from matnet.datasets.synsets import read_synsets
from matnet.errors import MatnetError
from matnet.images import Preprocessing
from matnet.kinds import kind_of
from tests.fuzz.mutations import (
    TEXTS,
    WORDS,
    Mutation,
    of_bytes,
    of_card,
    of_hdf5,
    of_list,
    of_mat5,
    of_protobuf,
    of_text,
    of_zip,
)

DATA = Path(__file__).resolve().parents[1] / "data"
MODELS = Path(matnet.__file__).parent / "models"
LARGEST_SEED = 200_000
MARKUP = (b"<a>", b"</object>", b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]>", b"&a;", b"&#0;", b"<![CDATA[", b"nan", b"1e9")
IMAGES = ("a/x.png", "b/y.png", "z 1.png", "v,w.png")
"""What the lists of images name."""


@dataclass(frozen=True)
class Kind:
    """suffix: of the files. seeds: by name. mutate: bytes -> bytes. read: the path of one; a MatnetError is well."""

    suffix: str
    seeds: Callable[[], dict[str, bytes]]
    mutate: Mutation
    read: Callable[[Path], object]


def _files(folder: str, pattern: str) -> Callable[[], dict[str, bytes]]:
    def seeds() -> dict[str, bytes]:
        found = (path for path in sorted((DATA / folder).rglob(pattern)) if path.stat().st_size < LARGEST_SEED)
        return {str(path.relative_to(DATA)): path.read_bytes() for path in found}

    return seeds


def _written(suffix: str, **options: Any) -> Callable[[], dict[str, bytes]]:
    """Networks of tests/data/caffe in another format."""

    def seeds() -> dict[str, bytes]:
        import tempfile

        found = {}
        for path in sorted((DATA / "caffe").glob("*/deploy.prototxt"))[:12]:
            with contextlib.suppress(MatnetError), tempfile.TemporaryDirectory() as folder:
                net = matnet.convert_caffe(path, path.with_name("weights.caffemodel"))
                found[path.parent.name] = matnet.save(net, Path(folder, f"net{suffix}"), **options).read_bytes()
        return found

    return seeds


# -- readers ------------------------------------------------------------------------------------------------


def _network(path: Path) -> None:
    """Loaded, shown, drawn, written in every other format, and compiled."""
    _used(matnet.load(path), path)


def _used(net: Any, path: Path) -> None:
    from matnet.converters.export.to_caffe import to_caffe
    from matnet.display.svg import network_svg
    from matnet.display.table import network_table
    from matnet.formats.onnx import to_onnx_model

    with contextlib.suppress(MatnetError):
        network_svg(network_table(net))
    with contextlib.suppress(MatnetError):
        matnet.save(net, path.with_name("again.mat"))
    with contextlib.suppress(MatnetError):
        to_caffe(net)
    with contextlib.suppress(MatnetError):
        to_onnx_model(net)
    net.compile(backend="numpy")


def _prototxt(path: Path) -> None:
    from matnet.converters.caffemodel import read_prototxt

    read_prototxt(path)
    _used(matnet.convert_caffe(path), path)


def _caffemodel(path: Path) -> None:
    from matnet.converters.caffemodel import net_from_caffemodel, read_weights

    with contextlib.suppress(MatnetError):
        net_from_caffemodel(path)
    read_weights(path)


def _state(path: Path) -> None:
    """As a record of each kind, as a lock and as the state of a download."""
    from matnet.engines.cpu.tuning.choices import _parsed
    from matnet.evaluation.tally import Tally, batches_left
    from matnet.evaluation.tasks import Classification
    from matnet.records import read_record
    from matnet.zoo.download import ResumingDownloader
    from matnet.zoo.locks import _described, _stale

    text = path.read_text(errors="replace")
    _described(text)
    _stale(path, text)
    part = path.with_name("x.part")
    part.write_bytes(b"12")
    path.with_name("x.part.json").write_bytes(path.read_bytes())
    ResumingDownloader(part=part, verifiable=True)._resumption("http://x")
    counts_of = Classification(None).counts_of  # type: ignore[arg-type]  # only its counts are used
    records = [path.with_name(f"{number}.json") for number in range(3)]
    for record in records:
        record.write_bytes(path.read_bytes())
    read_record(records[0], dict)
    read_record(records[1], _parsed)
    tally = read_record(records[2], lambda record: Tally.of_record(record["tally"], counts_of))
    if tally is not None:
        json.dumps(tally.record(), allow_nan=False)
        batches_left(50, 4, tally.done)


def _archive(path: Path) -> None:
    from matnet.zoo.archives import extract, unpack_flat

    with contextlib.suppress(MatnetError):
        extract(path, "a.txt", path.with_name("out.bin"))
    unpack_flat(path, path.parent, lambda name: name == "a.txt")


def _card(path: Path) -> None:
    """In a folder beside the files that all cards share, with the definitions that the card names, all empty."""
    from matnet.zoo.cards import read_cards
    from matnet.zoo.describe import card_record, card_text, cards_table

    folder = path.with_name("models") / "card"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        (folder.parent / "common.yaml").write_bytes((MODELS / "common.yaml").read_bytes())
    data = path.read_bytes()
    for old in folder.iterdir():
        old.unlink()
    names = set(re.findall(rb"prototxt: *([\w.-]+)", data)) | {b"deploy.prototxt"}
    for name in names if b"definition: unknown" not in data else ():
        (folder / name.decode()[:100]).touch()
    (folder / "readme.md").write_bytes(data)
    cards = read_cards(folder)
    str(cards_table(cards))
    for card in cards:
        card_text(card)
        json.dumps(card_record(card))


def _coco(path: Path) -> None:
    from matnet.datasets.coco import load_coco_objects

    _touch_images(path.parent)
    load_coco_objects(path)


def _set_mat(path: Path) -> None:
    """As boxes of proposals, as boundaries that people drew, and as labels of flowers."""
    from matnet.datasets.bsds import read_boundaries
    from matnet.datasets.flowers import _row
    from matnet.datasets.proposals import read_proposals

    with contextlib.suppress(MatnetError):
        read_boundaries(path)
    with contextlib.suppress(MatnetError):
        _row(path, "labels")
    read_proposals(path).for_images(["a", "b"], [(9, 9), (9, 9)])


def _touch_images(folder: Path) -> None:
    for name in IMAGES:
        image = folder / name
        if not image.exists():
            image.parent.mkdir(exist_ok=True)
            image.touch()


def _list(path: Path) -> None:
    """A list of images that exist, and the order of a network's classes."""
    from matnet.datasets import ImageList

    _touch_images(path.parent)
    found = ImageList.load(path)
    for classes, outputs in ((["cat", "dog", "n01440764"], 3), ([], 1000)):
        with contextlib.suppress(MatnetError):
            found.head(3).align(classes, outputs=outputs)


def _answer(path: Path) -> None:
    """The bytes as the answer of a server."""
    from matnet.zoo.download import ResumingDownloader
    from matnet.zoo.transfer import Patience
    from tests.hostile_server import answering

    patience = Patience(connect=2, read=1, attempts=2, first_wait=0, longest_wait=0, window=1)
    with answering(path.read_bytes()) as url:
        downloader = ResumingDownloader(
            part=path.with_name("y.part"), patience=patience, progress=False, largest=1 << 20
        )
        try:
            downloader(url, str(path.with_name("y")))
        finally:
            downloader.discard()


# -- seeds that are made here -----------------------------------------------------------------------------


def _caffe_h5() -> dict[str, bytes]:
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        h5["data/conv1/0"], h5["data/conv1/1"] = np.ones((3, 4, 5, 2), np.float32), np.ones(3, np.float32)
        h5.create_dataset("data/a/b/0", data=np.ones((3, 4), np.float32), compression="gzip")
    return {"made": file.getvalue()}


def _array_files() -> dict[str, bytes]:
    found = {}
    for name, write in (("npz", np.savez), ("packed", np.savez_compressed)):
        file = io.BytesIO()
        write(file, in__data=np.ones((2, 3, 4, 5), np.float32), text=np.array(["a"]))
        found[name] = file.getvalue()
    return found


def _devkits() -> dict[str, bytes]:
    """Variables as the development kit of ILSVRC and as plain arrays have them."""
    import tempfile

    from matnet.formats.mat import write_mat
    from matnet.formats.mat.values import StructArray

    records = [{"ILSVRC2012_ID": np.array([[float(i)]]), "WNID": f"n0000000{i}", "words": "a, b"} for i in (1, 2, 3)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "meta.mat")
        write_mat(path, {"synsets": StructArray(records)})
        return {"meta": path.read_bytes()}


def _means() -> dict[str, bytes]:
    from tests.caffe_bytes import binaryproto

    return {"mean": binaryproto(np.ones((3, 4, 5), np.float32))}


def _annotations() -> dict[str, bytes]:
    corners = "".join(f"<{name}>{at}</{name}>" for name, at in (("xmin", 1), ("ymin", 2), ("xmax", 8), ("ymax", 9)))
    objects = f"<object><name>cat</name><difficult>0</difficult><bndbox>{corners}</bndbox></object>" * 2
    size = "<size><width>9</width><height>10</height><depth>3</depth></size>"
    return {"voc": f"<annotation>\n{size}\n{objects}\n</annotation>".encode()}


def _coco_files() -> dict[str, bytes]:
    images = [{"id": at, "file_name": name, "height": 9, "width": 9} for at, name in enumerate(IMAGES, start=1)]
    objects = [
        {"id": at, "image_id": at, "category_id": 1, "bbox": [1, 2, 3.5, 4], "area": 14, "iscrowd": 0} for at in (1, 2)
    ]
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}]
    return {"coco": json.dumps({"images": images, "annotations": objects, "categories": categories}).encode()}


def _set_mats() -> dict[str, bytes]:
    import tempfile

    from matnet.formats.mat import write_mat
    from matnet.formats.mat.values import Cell

    boxes, drawn = np.array([[1.0, 1, 4, 5], [2, 2, 9, 9]]), np.eye(4, 5) > 0
    sets: dict[str, dict[str, Any]] = {
        "proposals": {"boxes": Cell([boxes, boxes]), "images": Cell(["a", "b"])},
        "boundaries": {"groundTruth": Cell([{"Boundaries": drawn}, {"Boundaries": drawn}])},
        "flowers": {"labels": np.array([[1.0, 2, 3]])},
    }
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, variables in sets.items():
            write_mat(Path(folder, name), variables)
            found[name] = Path(folder, name).read_bytes()
    return found


def _images() -> dict[str, bytes]:
    from PIL import Image

    found = {}
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
    for format, mode in (("PNG", "RGB"), ("JPEG", "RGB"), ("PNG", "P"), ("BMP", "RGB"), ("GIF", "P"), ("JPEG", "CMYK")):
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, format)
        found[format + mode] = file.getvalue()
    return found


def _lists() -> dict[str, bytes]:
    labels = {"numbers": ("0", "1"), "large": ("999", "17"), "ids": ("n01440764", "n01443537")}
    orders = {"path": "{0} {1}", "label": "{1} {0}", "commas": "{0},{1}", "quoted": '"{0}"\t{1}'}
    return {
        f"{order}-{name}": "".join(f"{form.format(path, both[at % 2])}\n" for at, path in enumerate(IMAGES)).encode()
        for order, form in orders.items()
        for name, both in labels.items()
    }


def _states() -> dict[str, bytes]:
    from matnet.evaluation.tally import Tally
    from matnet.metrics import TopK

    tally = Tally(TopK(images=4, wrong={1: 1, 5: 0}), done=((0, 4),), seconds=2.5)
    states: list[dict[str, Any]] = [
        {"pid": 1, "host": "x", "started": "1", "id": "x"},
        {"url": "http://x", "total": 5, "validator": '"a"'},
        {"key": {}, "tally": tally.record()},
        {"variant": {"runtime": "onnxruntime", "winograd": True, "division": "threads"}},
    ]
    return {str(index): json.dumps(state).encode() for index, state in enumerate(states)}


def _archives() -> dict[str, bytes]:
    tar, packed = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        for name in ("top/a.txt", "b.txt"):
            info = tarfile.TarInfo(name)
            info.size = 600
            file.addfile(info, io.BytesIO(bytes(600)))
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("top/a.txt", bytes(600))
        zipped.writestr("b.txt", b"b")
    return {"tar": tar.getvalue(), "tar.gz": gzip.compress(tar.getvalue(), mtime=0), "zip": packed.getvalue()}


def _mutated_archive(data: bytes, rng: random.Random) -> bytes:
    """The members of a tar or zip file changed: names, kinds, sizes, links; or bytes of the file."""
    if data[:2] == b"PK":
        return of_zip(data, rng)
    packed = data[:2] == b"\x1f\x8b"
    if rng.random() < 0.3:
        return of_bytes()(data, rng)
    plain = bytearray(gzip.decompress(data) if packed else data)
    header = rng.choice((0, 1536))  # of the first or the second member
    start, length = rng.choice(((0, 100), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155), (100, 8)))
    odd = (b"../x", b"/x", b"top/a.txt", b"7" * length, b"\x80" + b"\xff" * 11, b"5", b"2", b"x", b"S", b"g", b"")
    plain[header + start : header + start + length] = rng.choice(odd)[:length].ljust(length, b"\0")
    total = sum(plain[header : header + 148]) + 8 * 32 + sum(plain[header + 156 : header + 512])
    plain[header + 148 : header + 156] = b"%06o\0 " % total
    return gzip.compress(plain, mtime=0) if packed else bytes(plain)


def _answers() -> dict[str, bytes]:
    ok = b"HTTP/1.1 200 OK\r\nContent-Type: x/y\r\n"
    return {
        "length": ok + b'Content-Length: 5\r\nETag: "a"\r\n\r\nabcde',
        "chunks": ok + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        "close": ok + b"Connection: close\r\n\r\nabcde",
        "range": b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nabcde",
        "gone": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "busy": b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    }


def _cards() -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sorted(MODELS.glob("*/readme.md"))}


def _mutated_state(data: bytes, rng: random.Random) -> bytes:
    """A JSON value in which a value at any depth became another; or changed bytes."""
    odd: list[Any] = [None, True, -1, 1e308, "x", [], {}, [[]], "\x1b[2J", 2**70, {"a": {"b": []}}]
    if rng.random() < 0.3:
        return rng.choice((of_bytes(TEXTS)(data, rng), b"[" * 50_000, b'{"pid": 1e999}', b"", b"NaN", b"[" * 900))
    value = json.loads(data)
    holder, key = value, rng.choice(list(value))
    while isinstance(holder[key], (dict, list)) and holder[key] and rng.random() < 0.7:
        holder = holder[key]
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    holder[key] = rng.choice(odd)
    return json.dumps(value).encode()


KINDS: dict[str, Kind] = {
    "mat5": Kind(".mat", _written(".mat"), of_mat5, _network),
    "mat5-bytes": Kind(".mat", _written(".mat"), of_bytes(WORDS), _network),
    "mat73": Kind(".mat", _written(".mat", version="7.3"), of_hdf5, _network),
    "prototxt": Kind(".prototxt", _files("caffe", "deploy.prototxt"), of_text(TEXTS + WORDS), _prototxt),
    "caffemodel": Kind(".caffemodel", _files("caffe", "*.caffemodel"), of_protobuf, _caffemodel),
    "caffe-h5": Kind(".caffemodel.h5", _caffe_h5, of_hdf5, _caffemodel),
    "state": Kind(".json", _states, _mutated_state, _state),
    "archive": Kind(".zip", _archives, _mutated_archive, _archive),
    "card": Kind(".md", _cards, of_card, _card),
    "arrays": Kind(".npz", _array_files, of_zip, read_arrays),
    "arrays-mat": Kind(".mat", _devkits, of_mat5, read_arrays),
    "classes": Kind(".mat", _devkits, of_mat5, read_synsets),
    "mean": Kind(".binaryproto", _means, of_protobuf, read_mean),
    "annotation": Kind(".xml", _annotations, of_text(TEXTS + MARKUP), read_annotation),
    "coco": Kind(".json", _coco_files, _mutated_state, _coco),
    "pairs": Kind(".txt", lambda: {"lfw": b"1\nAnn\t1\t2\nAnn\t1\tBob\t1\n"}, of_list, _read_pairs),
    "set-mat": Kind(".mat", _set_mats, of_mat5, _set_mat),
    "list": Kind(".txt", _lists, of_list, _list),
    "image": Kind(".png", _images, of_bytes(), Preprocessing(image_size=(8, 8)).load),
    "answer": Kind(".bin", _answers, of_bytes((b"\r\n", b"9" * 5000, b": ", b"chunked", b"gzip")), _answer),
}


@cache
def seeds_of(kind: str) -> tuple[tuple[str, bytes], ...]:
    found = tuple(KINDS[kind].seeds().items())
    assert found, f"no seeds of kind {kind}"
    return found


def mutant(kind: str, seed: int, number: int) -> tuple[str, bytes]:
    """The name of the seed file and the mutated bytes of one round; the same for the same three."""
    rng = random.Random(f"{kind}/{seed}/{number}")
    name, data = rng.choice(seeds_of(kind))
    return name, KINDS[kind].mutate(data, rng)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No log and no warnings while hostile files are read."""
    import warnings

    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def verdict(kind: str, path: Path) -> str:
    """`read` or `refused`; anything else that is raised is a finding."""
    try:
        with quiet():
            kind_of(path)
            KINDS[kind].read(path)
    except MatnetError:
        return "refused"
    return "read"
