"""The hostile corpus: `python -m tests.fuzz.corpus` writes tests/data/hostile/KIND/NAME, each a finding made small."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from matnet.formats.mat import write_mat
from matnet.formats.mat.values import Cell, StructArray
from tests.fuzz.kinds import DATA

HOSTILE = DATA / "hostile"
OTHER = "/etc/hostname"
"""A file of the machine that no network may have read."""
HEAD = 'name: "x"\ninput: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n'
CARD = "---\nname: x\nlicense: unknown\ntask: classification\nformat: simplenn\ndefinition: unknown\ncitation: [x]\n"


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


CONV = {"type": "conv", "name": "c", "weights": Cell([ones(1, 1, 1, 1), ones(1, 1)])}


def layer(**fields: Any) -> dict[str, Any]:
    return {"layers": Cell([CONV, {"name": "n", **fields}]), "meta": {"inputSize": np.array([[9.0, 9, 1, 1]])}}


def dag_without_outputs() -> dict[str, Any]:
    fields = ("name", "type", "inputs", "outputs", "params", "block")
    conv = {"name": "c", "type": "dagnn.Conv", "inputs": Cell(["x"]), "outputs": Cell(), "params": Cell(["f"])}
    return {
        "vars": StructArray([], fields=("name",)),
        "params": StructArray([{"name": "f", "value": ones(1, 1, 1, 1)}], fields=("name", "value")),
        "layers": StructArray([{**conv, "block": {"size": np.array([[1.0, 1, 1, 1]])}}], fields=fields),
        "meta": {"inputs": {"name": "x", "size": np.array([[4.0, 4, 1, 1]])}},
    }


def kept_shapes(shape: np.ndarray) -> dict[str, Any]:
    return {"inputs": {"name": Cell(["input"]), "shape": Cell([shape])}}


def of_arrays() -> dict[str, Any]:
    """A record of Caffe's layers in which arrays stand for texts."""
    return {"layers": {"layers": Cell(["c", ones(2, 2)]), "checksum": ones(2, 2), "counts": ones(1, 1) * np.inf}}


def networks() -> dict[str, dict[str, Any]]:
    nan = np.array([[np.nan, 3, 1, 1]])
    growing = [{**CONV, "type": "convt", "name": f"c{i}", "upsample": np.array([[2.0**30]])} for i in range(12)]
    return {
        "lrn-nan": layer(type="lrn", param=nan),
        "lrn-infinite": layer(type="normalize", param=np.array([[np.inf, 1, 1, 1]])),
        "spnorm-nan": layer(type="spnorm", param=nan),
        "pdist-zero": layer(**{"type": "pdist", "class": ones(9, 9, 1, 1), "p": np.array([[0.0]])}),
        "absurd-pad": layer(**{**CONV, "name": "d", "pad": np.array([[2.0**53]])}),
        "absurd-upsampling": {"layers": Cell(growing), "meta": {"inputSize": np.array([[9.0, 9, 1, 1]])}},
        "no-outputs": dag_without_outputs(),
        "object-as-layer": {"layers": Cell([CONV, np.array([[1.0]])])},
        "type-in-a-cell": {"layers": Cell([{**CONV, "type": Cell(["conv"])}])},
        "nan-weights": {"layers": Cell([{**CONV, "weights": Cell([ones(1, 1, 1, 1) * np.nan, ones(1, 1)])}])},
        "leak-beyond-single": layer(type="relu", leak=np.array([[1e300]])),
        "sizes-of-inputs": {"layers": Cell([CONV]), "meta": {"matnet": kept_shapes(np.array([[3.0, 4, 5]]))}},
        "sizes-that-are-none": {"layers": Cell([CONV]), "meta": {"matnet": kept_shapes(nan)}},
        "checksums-of-arrays": {"layers": Cell([CONV]), "meta": {"caffe": {"graph": {"checksum": nan}, **of_arrays()}}},
        "same-names": {"layers": Cell([{"type": "relu", "name": "a"}] * 300)},
    }


def one_layer(kind: str, field: str) -> str:
    return f'{HEAD}layer {{ name: "p" type: "{kind}" bottom: "data" top: "p" {field} }}\n'


def texts() -> dict[str, str]:
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
    )
    return {
        "prototxt/pool-3.prototxt": one_layer("Pooling", "pooling_param { pool: 3 kernel_size: 2 }"),
        "prototxt/operation-9.prototxt": one_layer("Eltwise", "eltwise_param { operation: 9 }"),
        "prototxt/region-9.prototxt": one_layer("LRN", "lrn_param { norm_region: 9 }"),
        "prototxt/pyramid-7.prototxt": one_layer("SPP", "spp_param { pool: 7 pyramid_height: 2 }"),
        "prototxt/exp-overflow.prototxt": one_layer("Exp", "exp_param { shift: 999 }"),
        "prototxt/exp-shift.prototxt": one_layer("Exp", "exp_param { shift: 99999 }"),
        "card/alias-bomb.md": f"---\n{laughs}---\n",
        "card/timestamp.md": f"{CARD}introduced: !!timestamp x\n---\n",
        "card/base-60.md": f"{CARD}parameters: {':'.join(['59'] * 300)}.5\n---\n",
        "card/address.md": f'{CARD}mat_url: ["http://["]\n---\n',
        "card/mean.md": f"{CARD}convert: {{mean: {{x: y}}}}\n---\n",
        "card/mean-elsewhere.md": f"{CARD}convert: {{mean: /etc/hostname}}\n---\n",
        "card/escape.md": f'{CARD}page: "\\e[2J"\n---\n',
        "state/deep.json": "[" * 5000,
        "state/infinite.json": '{"pid": 1e999, "host": "x", "total": 1e999}',
        "state/other-types.json": '{"pid": [], "host": {}, "total": "x", "validator": 3, "url": null}',
    }


def answers() -> dict[str, bytes]:
    ok = b"HTTP/1.1 200 OK\r\n"
    return {
        "length": ok + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nab",
        "location": b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        "range": b"HTTP/1.1 206 x\r\nContent-Range: bytes " + b"9" * 5000 + b"-9/9\r\nContent-Length: 2\r\n\r\nab",
        "lengths": ok + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    }


def bad_offset() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr(zipfile.ZipInfo("a.txt"), "x")
    data = bytearray(file.getvalue())
    end = data.find(b"PK\x05\x06")
    data[end + 16 : end + 20] = struct.pack("<I", 2**31)
    return bytes(data)


def png(width: int, data: bytes) -> bytes:
    """The start of a gray PNG file, and a block of compressed rows."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = block(b"IHDR", struct.pack(">IIBBBBB", width, width, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + block(b"IDAT", zlib.compress(data))


def large_png() -> bytes:
    """An image of 60,000 x 60,000 pixels in its header, and a few rows."""
    return png(60_000, bytes(300_000))


def large_block() -> bytes:
    """A whole image, and a block of it that states 4 GB."""
    return png(8, bytes(9 * 8)) + struct.pack(">I", 2**32 - 1) + b"IDAT"


def outside(file: Any, name: str) -> dict[str, Callable[[], object]]:
    """Ways in which the array `name` of an open HDF5 file can lie elsewhere: in another file, or under another name."""
    import h5py

    def virtual() -> object:
        layout = h5py.VirtualLayout((2, 3), "f4")
        layout[...] = h5py.VirtualSource(OTHER, "x", (2, 3))
        return file.create_virtual_dataset(name, layout)

    return {
        "external": lambda: file.create_dataset(name, (1, 2), "f4", external=[(OTHER, 0, 8)]),
        "virtual": virtual,
        "link": lambda: file.__setitem__(name, h5py.ExternalLink(OTHER, "/x")),
        "soft-link": lambda: file.__setitem__(name, h5py.SoftLink("/elsewhere")),
    }


def write_hdf5(folder: Path) -> None:
    """Networks in HDF5 that would have other files read."""
    import h5py

    for kind in ("external", "virtual", "link", "soft-link"):
        path = folder / "mat73" / f"{kind}.mat"
        write_mat(path, {"layers": Cell([CONV])}, "7.3")
        with h5py.File(path, "r+") as file:
            outside(file, "x")[kind]()
        with h5py.File(folder / "caffe-h5" / f"{kind}.caffemodel.h5", "w") as file:
            file.create_group("data/ip")
            outside(file, "data/ip/0")[kind]()


def write(folder: Path) -> None:
    files = {name: text.encode() for name, text in texts().items()}
    files |= {f"answer/{name}.bin": data for name, data in answers().items()}
    files |= {"archive/bad-offset.zip": bad_offset(), "image/large.png": large_png(), "image/block.png": large_block()}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    for kind in ("mat5", "mat73", "caffe-h5", "classes"):
        (folder / kind).mkdir(exist_ok=True)
    write_hdf5(folder)
    synsets = [{"ILSVRC2012_ID": np.array([[number]]), "WNID": "n01440764"} for number in (np.nan, np.inf, 1e300)]
    write_mat(folder / "classes" / "numbers.mat", {"synsets": StructArray(synsets)}, compress=True)
    for name, content in networks().items():
        write_mat(folder / "mat5" / f"{name}.mat", content, compress=True)


if __name__ == "__main__":
    write(HOSTILE)
