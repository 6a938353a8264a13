"""The caffemodel reader and writer: protobuf's wire format, good and bad.

Bytes are encoded by hand (tests/caffe_bytes.py) and expected values follow from the wire format's definition;
Google's protobuf runtime, given the same schema, is the outside judge of whole files.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from matnet.converters.caffemodel import net_from_caffemodel, read_mean, read_weights
from matnet.converters.files import wire
from matnet.converters.files.caffe_write import write_caffemodel
from matnet.converters.files.decode import decode
from matnet.converters.files.message import build
from matnet.converters.files.schema import message_type
from matnet.converters.files.text import read_text
from matnet.converters.files.wire import WireReader
from matnet.converters.files.wire_write import encode
from matnet.converters.graph.netdef import Blob
from matnet.errors import FileFormatError
from matnet.protobuf import varint as written_varint
from tests.caffe_bytes import binaryproto, blob, floats, number, part, protobuf_class, single, varint
from tests.conftest import DATA
from tests.helpers import assert_line

CAFFEMODELS = sorted((DATA / "caffe").glob("*/weights.caffemodel"))
VALUES = np.array([1.5, -2, 0, 3e38, 7, 8], np.float32)
RUN = floats(*VALUES)


def write(folder: Path, *parts: bytes) -> Path:
    file = folder / "net.caffemodel"
    file.write_bytes(b"".join(parts))
    return file


def layer(*blobs: bytes, name: str = "c") -> bytes:
    """A V2 layer `name` with blobs."""
    return part(100, part(1, name), part(2, "Convolution"), *[part(7, each) for each in blobs])


def only_blob(folder: Path, content: bytes) -> Blob:
    found = read_weights(write(folder, layer(content))).layers["c"][0]
    assert found is not None
    return found


# -- varints -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "encoded"), [
    (0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (150, "9601"),
    (-1, "ffffffffffffffffff01"), (-2, "feffffffffffffffff01"), ((1 << 64) - 1, "ffffffffffffffffff01"),
])
def test_varints(value: int, encoded: str) -> None:
    """150, 300 and -2 are the examples of the protobuf documentation."""
    data = bytes.fromhex(encoded)
    assert written_varint(value) == varint(value) == data
    assert WireReader(data, "x").varint(0, len(data)) == (value % (1 << 64), len(data))


@pytest.mark.parametrize(("field", "value"), [
    ("softmax_param { axis: -1 }", -1), ("reshape_param { num_axes: -1 }", -1),
    ("slice_param { axis: -3 }", -3),
])
def test_negative_numbers(field: str, value: int) -> None:
    message, name = field.split(" { ")[0], field.split("{ ")[1].split(":")[0]
    built = build("LayerParameter", type={"softmax_param": "Softmax", "reshape_param": "Reshape",
                                          "slice_param": "Slice"}[message], **{message: {name: value}})
    data = encode(built)
    assert varint(value) in data
    assert decode(WireReader(data, "x"), built.type, 0, len(data), []) == built


# -- blobs ---------------------------------------------------------------------------------------

SHAPE = part(7, part(1, varint(2), varint(3)))
UNPACKED = b"".join(single(5, value) for value in VALUES)
UNKNOWN = part(200, "of a fork") + number(201, 5) + single(202, 1) + varint(203 * 8 + 1) + RUN[:8]
GROUPS = varint(90 * 8 + 3) + number(1, 5) + varint(91 * 8 + 3) + varint(91 * 8 + 4) + varint(90 * 8 + 4)


@pytest.mark.parametrize("content", [
    part(5, RUN) + SHAPE,
    SHAPE + part(5, RUN),
    part(5, RUN[:8]) + SHAPE + part(5, RUN[8:]),
    UNPACKED + SHAPE,
    SHAPE + UNPACKED,
    UNPACKED[:10] + part(5, RUN[8:16]) + UNPACKED[20:] + SHAPE,
    part(5, RUN) + part(7, number(1, 2), number(1, 3)),
    part(5, RUN) + part(7, part(1, varint(2))) + part(7, number(1, 3)),
    part(5, RUN) + part(6, floats(*range(6))) + SHAPE,
    part(5, RUN) + b"".join(single(6, value) for value in range(6)) + SHAPE,
    part(8, struct.pack("<6d", *VALUES)) + SHAPE,
    b"".join(varint(8 * 8 + 1) + struct.pack("<d", value) for value in VALUES) + SHAPE,
    part(8, struct.pack("<6d", *VALUES)) + part(5, floats(9, 9, 9, 9, 9, 9)) + SHAPE,
    part(8) + part(5, RUN) + SHAPE,
    number(10, 1) + part(12, RUN) + SHAPE,
    number(10, 0) + part(12, struct.pack("<6d", *VALUES)) + SHAPE,
    part(5, RUN) + SHAPE + UNKNOWN,
    GROUPS + part(5, RUN) + SHAPE,
], ids=["packed", "shape_first", "chunks", "unpacked", "unpacked_last", "mixed", "unpacked_dims",
        "merged_shape",
        "diff", "unpacked_diff", "doubles", "unpacked_doubles", "doubles_win", "empty_doubles", "raw_float",
        "raw_double", "unknown_fields", "groups"])
def test_every_encoding_of_one_blob(tmp_path: Path, content: bytes) -> None:
    found = only_blob(tmp_path, content)
    assert (found.shape, found.legacy, found.data.dtype, found.data.flags.writeable) == ((2, 3), False, "f4", False)
    np.testing.assert_array_equal(found.data, VALUES.reshape(2, 3))


def test_float16(tmp_path: Path) -> None:
    halves = np.array([0.5, -1.25, 65504, 6e-8], "<f2")
    found = only_blob(tmp_path, number(10, 2) + part(12, halves.tobytes()) + part(7, part(1, varint(4))))
    np.testing.assert_array_equal(found.data, halves.astype(np.float32))


def test_a_long_unpacked_run(tmp_path: Path) -> None:
    """Longer than the blocks in which keys are compared, with fields of another key behind."""
    values = np.arange(5000, dtype="<f4")
    grid = np.zeros((5000, 5), np.uint8)
    grid[:, 0], grid[:, 1:] = 5 * 8 + 5, values.view(np.uint8).reshape(-1, 4)
    found = only_blob(tmp_path, grid.tobytes() + part(7, part(1, varint(5000))) + number(2000, 1))
    np.testing.assert_array_equal(found.data, values)


@pytest.mark.parametrize(("shape", "expected", "legacy"), [
    (number(1, 1) + number(2, 1) + number(3, 2) + number(4, 3), (1, 1, 2, 3), True),
    (number(1, 6) + number(2, 1) + number(3, 1) + number(4, 1) + SHAPE, (6, 1, 1, 1), True),
    (SHAPE, (2, 3), False),
    (b"", (6,), False),
])
def test_shapes(tmp_path: Path, shape: bytes, expected: tuple[int, ...], legacy: bool) -> None:
    """Legacy dimensions win wherever one of them is present, even beside `shape` (Blob::FromProto)."""
    found = only_blob(tmp_path, part(5, RUN) + shape)
    assert (found.shape, found.legacy) == (expected, legacy)


def test_a_scalar_has_the_empty_shape(tmp_path: Path) -> None:
    found = only_blob(tmp_path, part(7) + part(5, floats(2.5)))
    assert (found.shape, float(found.data)) == ((), 2.5)


def test_packed_floats_are_not_copied(tmp_path: Path) -> None:
    found = only_blob(tmp_path, part(5, RUN) + SHAPE)
    base = found.data
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert type(base).__name__ in ("mmap", "memoryview")


# -- layers --------------------------------------------------------------------------------------


def test_all_three_generations_in_the_weights_reader(tmp_path: Path) -> None:
    file = write(tmp_path, part(1, "mixed"),
                 part(2, part(1, part(1, "old"), part(2, "innerproduct"), part(50, blob(RUN, 6)))),
                 part(2, part(2, "a"), part(4, "middle"), number(5, 39), part(6, blob(RUN[:8], 2))),
                 part(2, part(4, "unheard"), number(5, 77)),
                 layer(blob(RUN[:4], 1), blob(RUN[4:8], 1), name="new"))
    weights = read_weights(file)
    assert list(weights.layers) == ["old", "middle", "unheard", "new"]
    assert list(weights.types.values()) == ["InnerProduct", "Deconvolution", "77", "Convolution"]
    assert [len(blobs) for blobs in weights.layers.values()] == [1, 1, 0, 2]


def test_a_layer_that_is_stored_twice(tmp_path: Path) -> None:
    weights = read_weights(write(tmp_path, layer(blob(RUN[:4], 1)), layer(blob(RUN[4:8], 1)), layer()))
    np.testing.assert_array_equal(weights.layers["c"][0].data, VALUES[1:2])
    (note,) = weights.notes
    assert_line(note, "'c'", "twice", "last")


def test_a_forks_parameter_is_found_by_the_layers_type(tmp_path: Path) -> None:
    """143 is input_param in BVLC Caffe and interp_param in DeepLab; 206 is norm_param in the SSD fork."""
    file = write(tmp_path,
                 part(100, part(1, "in"), part(2, "Input"), part(4, "x"),
                      part(143, part(1, part(1, varint(7))))),
                 part(100, part(1, "up"), part(2, "Interp"), part(3, "x"), part(4, "y"),
                      part(143, number(3, 8))),
                 part(100, part(1, "n"), part(2, "Normalize"), part(3, "y"), part(4, "z"),
                      part(206, number(1, 0), single(4, 1e-6))))
    net = net_from_caffemodel(file)
    assert net.inputs == {"x": (7,)}
    assert net.layers[0].params.get("interp_param").get("zoom_factor") == 8
    normalize = net.layers[1].params.get("norm_param")
    assert (normalize.get("across_spatial"), normalize.get("eps")) == (False, 1e-6)


def test_a_singular_message_that_comes_twice_is_merged(tmp_path: Path) -> None:
    relu = part(100, part(1, "r"), part(2, "ReLU"), part(3, "x"), part(4, "y"), part(123, single(1, 0.5)),
                part(123, number(2, 2)), part(123, single(1, 0.25)))
    found = net_from_caffemodel(write(tmp_path, relu)).layers[0].params.get("relu_param")
    assert (found.get("negative_slope"), found.get("engine")) == (0.25, "CUDNN")


@pytest.mark.parametrize("lenient", [False, True])
def test_an_enum_number_that_no_schema_has_is_refused(tmp_path: Path, lenient: bool) -> None:
    pool = part(100, part(1, "p"), part(2, "Pooling"), part(3, "x"), part(4, "y"), part(121, number(1, 9)))
    with pytest.raises(FileFormatError, match=r"layer 'p' \(Pooling\): `pool` .* 9"):
        net_from_caffemodel(write(tmp_path, pool), lenient)
    oldest = part(2, part(1, part(1, "p"), part(2, "pool"), number(11, 9)), part(2, "x"), part(3, "y"))  # V0
    with pytest.raises(FileFormatError, match=r"layer 'p' \(pool\): `pool` .* 9"):
        net_from_caffemodel(write(tmp_path, oldest), lenient)


def test_an_unknown_field_of_a_computing_layer_is_refused_or_noted(tmp_path: Path) -> None:
    """Field 99 of PoolingParameter is no Caffe's; DeepLab's dilation came so. In a Data layer nobody looks at it."""
    data = part(100, part(1, "d"), part(2, "Data"), part(4, "x"), part(107, number(99, 3)))
    pool = part(100, part(1, "p"), part(2, "Pooling"), part(3, "x"), part(4, "y"), part(121, number(99, 3)))
    path = write(tmp_path, data + pool)
    with pytest.raises(FileFormatError, match=r"unknown fields .*\n.*layer 'p' .*unknown field 99 in PoolingParameter"):
        net_from_caffemodel(path)
    notes = net_from_caffemodel(path, lenient=True).notes
    assert [note for note in notes if "'p'" in note and "unknown field 99" in note]


@pytest.mark.parametrize(
    ("kind", "messages"),
    [
        ("Convolution", part(158, number(1, 1))),  # Ristretto's quantization_param
        ("Convolution", number(149, 1)),
        ("Flip", part(212, number(1, 0)) + part(158, number(1, 1))),  # which of the two is flip_param is not known
        ("BoxOutput", part(153, single(1, 0.5)) + part(154, single(1, 0.5))),
    ],
)
def test_an_unknown_message_of_a_layer_is_refused_or_noted(kind: str, messages: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, part(100, part(1, "c"), part(2, kind), part(3, "x"), part(4, "y"), messages))
    with pytest.raises(FileFormatError, match=rf"layer 'c' \({kind}\): unknown field 1[45]"):
        net_from_caffemodel(path)
    assert any("unknown field 1" in note for note in net_from_caffemodel(path, lenient=True).notes)


def test_parameters_of_another_type_are_no_unknown_field(tmp_path: Path) -> None:
    """Caffe reads only those of the layer's own type."""
    both = part(106, number(1, 2)) + part(121, number(2, 3))
    path = write(tmp_path, part(100, part(1, "c"), part(2, "Convolution"), part(3, "x"), part(4, "y"), both))
    assert not [note for note in net_from_caffemodel(path).notes if "unknown" in note]


def test_weights_alone_need_no_known_fields(tmp_path: Path) -> None:
    """Where a prototxt gives the graph, the fields of the binary's own do not matter."""
    pool = part(100, part(1, "p"), part(2, "Pooling"), part(3, "x"), part(4, "y"), part(121, number(1, 9)))
    assert read_weights(write(tmp_path, pool)).layers == {"p": ()}


# -- bad files -----------------------------------------------------------------------------------

GOOD = part(1, "net") + layer(blob(RUN, 2, 3), blob(RUN[:8], 2)) + layer(blob(RUN[:12], 3), name="d")


@pytest.mark.parametrize(("content", "fragment"), [
    (b"<!DOCTYPE html><html><body>404", "found a web page"),
    (b"  <html>", "found a web page"),
    (b'name: "LeNet"\nlayer {', "found text"),
    (b"\x08\x07\x12\x07pytorch\x3a\x00", "field 1 of a network"),
    (b"PK\x03\x04rest", "zip archive"),
    (b"\x1f\x8b\x08\x00rest", "gzip"),
    (b"\x80\x02}q\x00", "download"),
    (b"\x00" * 100, "byte 0: found the invalid field key 0"),
    (b"\xff" * 100, "more than 10 bytes"),
    (part(1, "net"), "no layers"),
    (part(1, "n") + varint(100 * 8 + 2) + varint(1 << 62) + b"abc", "length 4611686018427387904"),
    (part(1, "n") + varint(100 * 8 + 2) + b"\xff", "truncated inside a number"),
    (part(100, part(1, "c"), varint(7 * 8 + 2) + varint(99) + b"abc") + part(1, "n"),
     "the message around it"),
    (number(100, 5), "expected a length-delimited value"),
    (part(100, number(1, 5)), "a layer's name"),
    (part(100, number(7, 5)), "a layer's blobs"),
    (part(2, part(5, "x")), "a V1 layer's type"),
    (layer(part(1, "x")), "BlobProto.num"),
    (layer(number(5, 3)), "a run of numbers in BlobProto"),
    (layer(part(5, b"abcde")), "a multiple of 4"),
    (layer(part(8, RUN[:12])), "a multiple of 8"),
    (layer(part(7, single(1, 3))), "BlobShape.dim"),
    (layer(number(10, 3) + part(12, RUN)), "raw_data has type INT"),
    (layer(number(10, 99) + part(12, RUN)), "raw_data has type 99"),
    (varint(9 * 8 + 4) + GOOD, "invalid field key"),
    (varint(9 * 8 + 7) + GOOD, "invalid field key"),
    (varint(200 * 8 + 3) + GOOD, "truncated inside a number"),
    (varint(200 * 8 + 3) * 1000 + GOOD, "more than 100 levels of nested groups"),
    (varint(200 * 8 + 3) + varint(201 * 8 + 4) + GOOD, "group 201 ends"),
    (part(100, part(1, "x" * 2_000_000)), "2000000 bytes, expected at most"),
])
def test_bad_files(tmp_path: Path, content: bytes, fragment: str) -> None:
    file = write(tmp_path, content)
    with pytest.raises(FileFormatError) as caught:
        read_weights(file)
    assert fragment in str(caught.value) and str(file) in str(caught.value)


@pytest.mark.parametrize("content", [part(200) * 1001, layer(part(7, part(1, b"\x01" * 1001))),
                                     layer(part(5, floats(1)) * 1001)])
def test_the_number_of_fields_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                         content: bytes) -> None:
    monkeypatch.setattr(wire, "MOST_FIELDS", 1000)
    with pytest.raises(FileFormatError, match="more than 1000 fields"):
        read_weights(write(tmp_path, content))


@pytest.mark.parametrize(("content", "fragment"), [
    (part(5, RUN) + part(7, part(1, varint(7))), "its shape 7 needs 7 values, but the file holds 6"),
    (part(7, part(1, varint(4))), "needs 4 values, but the file holds 0"),
    (part(5, RUN) + part(7, part(1, varint(0), varint(6))), "0x6 has a size that is not positive"),
    (part(5, RUN) + part(7, part(1, varint(-2), varint(-3))), "-2x-3 has a size that is not positive"),
    (part(5, RUN) + part(7, part(1, varint(1 << 62), varint(1 << 62))), "but the file holds 6"),
    (part(5, RUN) + part(7, part(1, b"\x01" * 33)), "33 axes"),
    (part(5, RUN) + number(1, 6) + SHAPE, "6x0x0x0 has a size that is not positive"),
])
def test_blobs_whose_shape_is_wrong_are_listed(tmp_path: Path, content: bytes, fragment: str) -> None:
    with pytest.raises(FileFormatError) as caught:
        read_weights(write(tmp_path, layer(blob(RUN, 6), content, name="one"), layer(content, name="two")))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("damaged blobs: 2 (download the file again)")
    assert "'one', blob 1 (byte " in lines[1] and "'two', blob 0 (byte " in lines[2]
    assert fragment in lines[1]


@pytest.mark.process
@pytest.mark.parametrize("case", ["net_alexnet", "v1_net_vgg", "v0_net_padding"])
def test_a_file_cut_at_fifty_points(tmp_path: Path, case: str) -> None:
    """A cut between layers leaves a shorter caffemodel; anywhere else the reader says where the file ends."""
    whole = (DATA / "caffe" / case / "weights.caffemodel").read_bytes()
    names = list(read_weights(write(tmp_path, whole)).layers)
    refused = 0
    for length in np.linspace(1, len(whole) - 1, 50).astype(int):
        file = write(tmp_path, whole[:length])
        try:
            found = list(read_weights(file).layers)
            assert found == names[:len(found)] and len(found) < len(names)
        except FileFormatError as error:
            refused += 1
            assert any(fragment in str(error) for fragment in (
                f"truncated at {length} of ", "truncated inside a number", "no layers", "found text")), str(error)
    assert refused >= 40


def test_the_size_of_a_cut_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=f"truncated at {len(GOOD) - 5} of {len(GOOD)} bytes or more"):
        read_weights(write(tmp_path, GOOD[:-5]))


# -- mean files ----------------------------------------------------------------------------------

MEAN = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)


def test_mean_files(tmp_path: Path) -> None:
    file = tmp_path / "mean.binaryproto"
    legacy = number(1, 1) + number(2, 3) + number(3, 4) + number(4, 5)
    for content in (legacy + part(5, MEAN.tobytes()), blob(MEAN.tobytes(), 3, 4, 5), blob(MEAN.tobytes(), 1, 3, 4, 5)):
        file.write_bytes(content)
        np.testing.assert_array_equal(read_mean(file), MEAN)
    for array in (MEAN, MEAN[None], MEAN.astype(">f8"), np.asfortranarray(MEAN), MEAN.astype(np.uint8)):
        np.save(tmp_path / "mean.npy", array)
        np.testing.assert_array_equal(read_mean(tmp_path / "mean.npy"), MEAN)
    np.save(tmp_path / "mean.npy", MEAN[:, 0, 0])
    np.testing.assert_array_equal(read_mean(tmp_path / "mean.npy"), MEAN[:, :1, :1])
    (tmp_path / "mean.mat").write_bytes(b"MATLAB")
    rgb = MEAN[::-1].transpose(1, 2, 0).astype(np.float64)
    np.testing.assert_array_equal(read_mean(tmp_path / "mean.mat", lambda _: {"mean_img": rgb}), MEAN)


@pytest.mark.parametrize(("name", "content", "fragment"), [
    ("m.binaryproto", GOOD, "BlobProto"), ("m.binaryproto", blob(RUN, 6), "has the shape 6, expected"),
    ("m.binaryproto", blob(RUN, 1, 2, 3, 5), "needs 30 values"),
    ("m.binaryproto", blob(floats(1, 2, float("nan")), 3, 1, 1), "NaN or infinite"),
    ("m.npy", b"\x93NUMPY\x01\x00", "NumPy"), ("m.npy", b"nothing", "NumPy"),
    ("m.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4',", "NumPy header"),
    ("m.mat", b"MATLAB", "mean_img"),
])
def test_bad_mean_files(tmp_path: Path, name: str, content: bytes, fragment: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(FileFormatError, match=fragment):
        read_mean(file, lambda _: {"other": RUN})


# -- the writers ---------------------------------------------------------------------------------


def test_the_bytes_of_a_caffemodel(tmp_path: Path) -> None:
    net = build("NetParameter", name="n", layer=[
        {"name": "c", "type": "Convolution", "bottom": ["x"], "top": ["y"], "phase": "TEST",
         "convolution_param": {"num_output": 2, "kernel_size": [3, 1], "bias_term": False}},
        {"name": "r", "type": "ReLU", "bottom": ["y"], "top": ["y"]}])
    weights = VALUES.reshape(3, 2).T
    write_caffemodel(tmp_path / "n.caffemodel", net, {"c": [weights, np.float64(4)]})
    expected = (part(1, "n") + part(
        100, part(1, "c"), part(2, "Convolution"), part(3, "x"), part(4, "y"),
        part(7, part(7, part(1, varint(2), varint(3))), part(5, floats(1.5, 0, 7, -2, 3e38, 8))),
        part(7, part(7), part(5, floats(4))), number(10, 1),
        part(106, number(1, 2), number(2, 0), number(4, 3), number(4, 1)))
        + part(100, part(1, "r"), part(2, "ReLU"), part(3, "y"), part(4, "y")))
    assert (tmp_path / "n.caffemodel").read_bytes() == expected
    found = read_weights(tmp_path / "n.caffemodel").layers["c"]
    np.testing.assert_array_equal(found[0].data, weights)
    assert found[1].shape == ()


def test_a_binaryproto_is_read(tmp_path: Path) -> None:
    (tmp_path / "m.binaryproto").write_bytes(binaryproto(MEAN))
    np.testing.assert_array_equal(read_mean(tmp_path / "m.binaryproto"), MEAN)
    judge = protobuf_class("BlobProto").FromString((tmp_path / "m.binaryproto").read_bytes())
    assert (judge.num, judge.channels, judge.height, judge.width, len(judge.data)) == (1, 3, 4, 5, 60)


@pytest.mark.parametrize("file", CAFFEMODELS, ids=lambda file: file.parent.name)
def test_whole_files_against_protobuf(file: Path, tmp_path: Path) -> None:
    """protobuf reads what is written, writes the same bytes for a graph, and sees the same numbers."""
    weights = read_weights(file)
    judge = protobuf_class("NetParameter").FromString(file.read_bytes())
    for theirs in [*judge.layer, *(v1.layer if v1.HasField("layer") else v1 for v1 in judge.layers)]:
        for our, their in zip(weights.layers[theirs.name], theirs.blobs, strict=True):
            np.testing.assert_array_equal(our.data.reshape(-1), np.array(their.data, np.float32))
    graph = read_text(file.with_name("deploy.prototxt"))
    data = encode(graph)
    assert protobuf_class("NetParameter").FromString(data).SerializeToString() == data
    assert decode(WireReader(data, "x"), message_type("NetParameter"), 0, len(data), []) == graph
    arrays = {name: [blob.data for blob in blobs] for name, blobs in weights.layers.items()}
    net = build("NetParameter", layer=[{"name": name, "type": "Odd"} for name in arrays])
    write_caffemodel(tmp_path / "again.caffemodel", net, arrays)
    judge = protobuf_class("NetParameter").FromString((tmp_path / "again.caffemodel").read_bytes())
    for theirs in judge.layer:
        for array, their in zip(arrays[theirs.name], theirs.blobs, strict=True):
            assert tuple(their.shape.dim) == array.shape
            np.testing.assert_array_equal(array.reshape(-1), np.array(their.data, np.float32))
