"""What is read from meta, in the shapes that MatConvNet, its Caffe importer and other people's scripts write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.formats.mat.values import Cell, CharArray, Opaque, StructArray
from matnet.meta import (
    class_descriptions,
    class_names,
    declared_input_shapes,
    display_name,
    image_input,
    input_channels,
    preprocessing_summary,
)
from matnet.network import Layer, Network, Source
from matnet.ops.activation import ReLU
from matnet.ops.base import Channels, Unknown
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.normalization import BatchNorm
from matnet.params import Param
from tests.conftest import DATA
from tests.op_cases import CASES, OpCase


def row(*values: float, dtype: Any = np.float64) -> np.ndarray:
    return np.array([values], dtype)


def chain(meta: dict[str, Any], filters: tuple[int, ...] = (3, 5, 6, 4), inputs: str = "input") -> Network:
    """A SimpleNN-like network: one convolution (6 channels to 4 unless told otherwise) and a relu."""
    net = Network(meta, Source(format="simplenn"))
    net.params["f"] = Param(np.zeros(filters, np.float32))
    net.add(Layer("conv", Conv(hasBias=False), [inputs], ["layer1"], ["f"]))
    net.add(Layer("relu", ReLU(), ["layer1"], ["layer2"]))
    return net


def two_inputs(meta: dict[str, Any]) -> Network:
    """A DagNN of two inputs, `data` and `rois`, joined by a layer of unknown type."""
    net = Network(meta, Source(format="dagnn"))
    net.params["f"] = Param(np.zeros((3, 5, 6, 4), np.float32))
    net.add(Layer("conv", Conv(hasBias=False), ["data"], ["x"], ["f"]))
    net.add(Layer("roi", Unknown(kind="lab.Roi"), ["x", "rois"], ["y"]))
    return net


def image_size(*values: float, dtype: Any = np.float64) -> dict[str, Any]:
    return {"normalization": {"imageSize": row(*values, dtype=dtype)}}


# -- input sizes: N x C x H x W from MATLAB's [H W C N] ----------------------------------------------


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, {}),
        ({"inputSize": row(7, 11, 6)}, {"input": (1, 6, 7, 11)}),
        ({"inputSize": row(7, 11, 6, 32)}, {"input": (32, 6, 7, 11)}),
        ({"inputSize": row(7, 11, 6).T}, {"input": (1, 6, 7, 11)}),
        ({"inputSize": [7, 11, 6]}, {"input": (1, 6, 7, 11)}),
        (image_size(7, 11, 6, 10, dtype=np.uint8), {"input": (10, 6, 7, 11)}),
        (image_size(7, 11), {"input": (1, 6, 7, 11)}),  # channels from the filters
        ({"inputSize": row(7)}, {"input": (1, 6, 7, 7)}),  # one number: a square, as in DCFNet's files
        ({"inputSize": row(7), **image_size(9, 9, 6)}, {"input": (1, 6, 7, 7)}),
        ({"inputSize": row(7, 11), **image_size(9, 13, 6, 5)}, {"input": (5, 6, 7, 11)}),
        ({"inputs": {"name": "data", "size": row(7, 11, 6, 10)}}, {"input": (10, 6, 7, 11)}),
        ({"inputs": {"name": "data", "size": row(7, 11, 6, 10)}, "inputSize": row(5, 5)}, {"input": (10, 6, 7, 11)}),
        ({"inputs": StructArray([{"name": "a", "size": row(7, 11, 6)}, {"name": "b"}])}, {"input": (1, 6, 7, 11)}),
        ({"inputs": {"name": "data"}, "inputSize": row(7, 11)}, {"input": (1, 6, 7, 11)}),
        ({"inputs": {"name": "data", "size": row(7, 11)}, **image_size(9, 13, 6)}, {"input": (1, 6, 7, 11)}),
        ({"inputs": Cell([{"name": Cell(["input"]), "size": row(7, 11)}])}, {"input": (1, 6, 7, 11)}),
    ],
)
def test_input_size_of_a_chain(meta: dict[str, Any], expected: dict[str, Any]) -> None:
    """Expected values follow from [H W C N] by hand; the filters are 6 deep."""
    assert declared_input_shapes(chain(meta)) == expected


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros((0, 0)),
        row(np.nan, 11, 6),
        row(7, -11, 6),
        row(0, 0, 6),
        row(7.5, 11, 6),
        row(np.inf, 11),
        row(1e12, 11),
        "7 11 6",
        Cell(),
        Cell(["x"]),
        StructArray(),
        {},
        {"size": row(7, 11)},
        Opaque("object", "gpuArray"),
        CharArray(("ab", "cd"), (2, 2)),
        np.array([[7 + 1j, 11]]),
        None,
    ],
    ids=repr,
)
@pytest.mark.parametrize("place", ["inputSize", "inputs", "normalization", "imageSize", "size"])
def test_odd_sizes_are_passed_over(place: str, odd: Any) -> None:
    """Whatever stands where a size should, nothing is raised, and no size is made up."""
    if place == "size":
        meta = {"inputs": {"name": "input", "size": odd}}
    else:
        meta = {"normalization": {"imageSize": odd}} if place == "imageSize" else {place: odd}
    if place == "inputs" and isinstance(odd, dict) and odd:
        assert declared_input_shapes(chain(meta)) == {"input": (1, 6, 7, 11)}  # a nameless entry is an entry
    else:
        assert declared_input_shapes(chain(meta)) == {}


def test_inputs_of_a_dag_are_found_by_name() -> None:
    entries = StructArray(
        [{"name": "rois", "size": row(1, 1, 5, 4)}, {"name": "data", "size": row(7, 11, 6, 2)}, {"name": "other"}]
    )
    assert declared_input_shapes(two_inputs({"inputs": entries})) == {"data": (2, 6, 7, 11), "rois": (4, 5, 1, 1)}


def test_image_size_is_that_of_the_image_input_alone() -> None:
    net = two_inputs(image_size(7, 11, 6))
    assert image_input(net) == "data"
    assert declared_input_shapes(net) == {"data": (1, 6, 7, 11)}


def test_known_shapes_come_before_meta() -> None:
    net = chain({"inputSize": row(7, 11, 6)})
    net.input_shapes["input"] = (2, 6, 13, 17)
    assert declared_input_shapes(net) == {"input": (2, 6, 13, 17)}


def test_an_entry_may_use_an_alias() -> None:
    net = two_inputs({"inputs": {"name": "image/rgb", "size": row(7, 11, 6)}})
    net.aliases["image/rgb"] = "data"
    assert declared_input_shapes(net) == {"data": (1, 6, 7, 11)}


def test_a_given_size_replaces_the_declared_one_but_not_single_pixels() -> None:
    entries = StructArray([{"name": "rois", "size": row(1, 1, 5, 4)}, {"name": "data", "size": row(7, 11, 6)}])
    found = two_inputs({"inputs": entries}).default_input_shapes(3, (13, 17))
    assert found == {"data": (3, 6, 13, 17), "rois": (3, 5, 1, 1)}


def test_a_given_size_serves_an_undeclared_input_whose_channels_are_known() -> None:
    assert chain({}).default_input_shapes(2, (13, 17)) == {"input": (2, 6, 13, 17)}
    assert two_inputs({}).default_input_shapes(2, (13, 17)) == {"data": (2, 6, 13, 17)}


@pytest.mark.parametrize(
    ("op", "shapes", "expected"),
    [
        (Conv(hasBias=False), [(3, 5, 6, 4)], 6),
        (Conv(hasBias=False), [(3, 5, 6)], 6),  # one filter: MATLAB drops the trailing 1
        (Conv(hasBias=False), [(3, 5)], 1),
        (Conv(hasBias=False), [(0, 0)], None),
        (ConvTranspose(hasBias=False), [(3, 5, 6, 4)], 4),  # filters are h x w x out x in
        (ConvTranspose(hasBias=False), [(3, 5, 6)], 1),
        (BatchNorm(), [(6, 1), (6, 1), (6, 2)], 6),
        (ReLU(), [], None),
    ],
)
def test_channels_from_the_first_params(op: Any, shapes: list[tuple[int, ...]], expected: int | None) -> None:
    """A relu stands before the layer, which keeps the number of channels."""
    net = Network()
    net.add(Layer("before", ReLU(), ["data"], ["x"]))
    names = [f"p{index}" for index in range(len(shapes))]
    net.params.update({name: Param(np.zeros(shape, np.float32)) for name, shape in zip(names, shapes, strict=True)})
    net.add(Layer("layer", op, ["x"], ["y"], names))
    assert input_channels(net, "data") == expected


KEEPING = [case for case in CASES if case.op.channels >= Channels.COUNT and len(case.inputs) == 1]


@pytest.mark.parametrize("case", KEEPING, ids=str)
def test_channels_are_read_behind_every_layer_that_keeps_their_number(case: OpCase) -> None:
    """Among them TanH, CaffePooling and Scale; the convolution behind has filters 1 x 1 x 6 x 4."""
    net = Network()
    for name, param in zip("mbs", case.arrays()[1], strict=False):
        net.params[name] = Param(param)
    outputs = ["x", "mask"][: 1 + bool(getattr(case.op, "mask", False))]
    net.add(Layer("before", case.op, ["data"], outputs, list(net.params)))
    net.params["f"] = Param(np.zeros((1, 1, 6, 4), np.float32))
    net.add(Layer("conv", Conv(hasBias=False), ["x"], ["y"], ["f"]))
    assert input_channels(net, "data") == 6


def test_a_missing_param_tells_no_channels() -> None:
    net = chain({})
    net.params.clear()
    assert input_channels(net, "input") is None


# -- classes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "names", "descriptions"),
    [
        (None, None, None),
        ({"name": Cell(["n1", "n2"]), "description": Cell(["tench", "goldfish"])}, ["n1", "n2"], ["tench", "goldfish"]),
        ({"name": Cell(["n1", "n2"], (2, 1))}, ["n1", "n2"], None),
        ({"name": Cell(), "description": Cell([np.array([[0]], np.int64)])}, None, None),  # the importer's placeholder
        ({"name": CharArray(("cat  ", "horse"), (2, 5))}, ["cat", "horse"], None),
        ({"name": Cell([Cell(["cat"]), CharArray(("dog",), (1, 3)), np.zeros((0, 0))])}, ["cat", "dog", ""], None),
        ({"name": "cat\ndog\nhorse"}, ["cat", "dog", "horse"], None),
        ({"name": "cat, dog, horse"}, ["cat", "dog", "horse"], None),
        ({"name": "cat"}, ["cat"], None),
        (StructArray([{"name": "n1", "description": "tench"}, {"name": "n2", "description": "goldfish"}]), ["n1", "n2"],
         ["tench", "goldfish"]),
        (Cell(["cat", "dog"]), ["cat", "dog"], None),
        (CharArray(("cat  ", "horse"), (2, 5)), ["cat", "horse"], None),
        ("abcd", ["a", "b", "c", "d"], None),  # four filters: a character per class
        ({"name": "abcd"}, ["a", "b", "c", "d"], None),
        ("", None, None),
        (row(1, 2, 3), None, None),
        (Opaque("object", "categorical"), None, None),
        ({"name": row(1, 2)}, None, None),
        ({}, None, None),
    ],
    ids=repr,
)
def test_classes(classes: Any, names: list[str] | None, descriptions: list[str] | None) -> None:
    """The last convolution has 4 filters."""
    net = chain({} if classes is None else {"classes": classes})
    assert class_names(net) == names
    assert class_descriptions(net) == descriptions


def test_classes_of_an_imported_file() -> None:
    """sn_alexnet: ten classes, named and described when the file was made."""
    net = matnet.load(DATA / "matconvnet" / "sn_alexnet" / "model.mat")
    names, words = class_names(net), class_descriptions(net)
    assert names is not None and words is not None
    assert (len(names), names[:2]) == (10, ["n01440764", "n01440771"])
    assert words[:2] == ["class 1, thing", "class 2, thing"]
    assert declared_input_shapes(net) == {"input": (10, 3, 83, 83)}


def test_classes_and_size_of_the_oldest_files() -> None:
    """sn_legacy_beta10 has `classes` and `normalization` at the top level; imageSize is [24 24 3]."""
    net = matnet.load(DATA / "matconvnet" / "sn_legacy_beta10" / "model.mat")
    assert len(class_names(net) or ()) == 6
    assert declared_input_shapes(net) == {"input": (1, 3, 24, 24)}


# -- preprocessing and name -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ({}, None),
        ("none", None),
        ({"imageSize": row(7, 11, 3), "interpolation": "bicubic"}, "size 7x11, bicubic"),
        ({"averageImage": row(123.68, 116.779, 103.939).T}, "mean 123.68 116.779 103.939"),
        ({"averageImage": np.full((7, 11, 3), 4.0, np.float32)}, "size 7x11, mean image 7x11x3 (average 4)"),
        ({"averageImage": np.zeros((0, 0)), "keepAspect": np.array([[True]])}, "keeps the aspect ratio"),
        ({"keepAspect": row(0), "cropSize": row(0.875), "border": row(32, 32)},
         "does not keep the aspect ratio, cropSize 0.875, border 32 32"),
        ({"averageImage": Opaque("object", "gpuArray"), "interpolation": Cell()}, None),
    ],
    ids=repr,
)
def test_preprocessing_in_a_line(normalization: Any, expected: str | None) -> None:
    assert preprocessing_summary(chain({"normalization": normalization})) == expected


def test_name_for_a_heading() -> None:
    assert display_name(Network()) == "network"
    assert display_name(Network(source=Source(Path("models/vgg-f.mat")))) == "vgg-f"
    assert display_name(Network({"name": "VGG-F"}, Source(Path("models/net.mat")))) == "VGG-F"
