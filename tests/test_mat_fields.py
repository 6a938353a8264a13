"""Every field of what is written for MATLAB: its class, its shape and which way it lies, as scipy reads the file.

The tables below are those of MatConvNet's documentation: of vl_simplenn and vl_simplenn_tidy for the types of a
SimpleNN layer, of DagNN.saveobj and the properties of the classes in matlab/+dagnn for a DagNN.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, whosmat

import matnet
from matnet.formats.mat import read_mat
from matnet.network import Layer, Network, Param
from matnet.ops.base import REGISTRY


class Field(NamedTuple):
    """A MATLAB class, and the shape of the array (None: any number of rows or columns)."""

    kind: str
    shape: tuple[int | None, ...]


SCALAR, TRUTH, TEXT = Field("double", (1, 1)), Field("logical", (1, 1)), Field("char", (1, None))
PAIR, FOUR, NONE = Field("double", (1, 2)), Field("double", (1, 4)), Field("cell", (0, 0))


def column(length: int) -> Field:
    return Field("single", (length, 1))


FILTERS = Field("single", (3, 2, 4, 6))
BACKWARD = Field("single", (3, 2, 6, 4))
"""Of a transposed convolution: height, width, output channels, input channels."""


class Row(NamedTuple):
    """One row of a table: values of the op's fields, arrays of its params, inputs, and the expected fields."""

    given: dict[str, Any]
    params: list[Field]
    fields: dict[str, Field]
    inputs: int = 1


MOMENTS = [column(4), column(4), Field("single", (4, 2))]
CONV = {"pad": (1, 2, 0, 1), "stride": (2, 1)}
POOL = {"method": "avg", "poolSize": (2, 3), "stride": (1, 2), "pad": (0, 1, 1, 0)}
BACK = {"upsample": (2, 3), "crop": (1, 0, 1, 1), "numGroups": 2}

DAGNN = {
    "dagnn.Conv": Row(
        CONV, [FILTERS, column(6)], {"size": FOUR, "hasBias": TRUTH, "pad": FOUR, "stride": PAIR, "dilate": PAIR}
    ),
    "dagnn.ConvTranspose": Row(
        BACK,
        [BACKWARD, column(12)],
        {"size": FOUR, "hasBias": TRUTH, "upsample": PAIR, "crop": FOUR, "numGroups": SCALAR},
    ),
    "dagnn.Pooling": Row(POOL, [], {"method": TEXT, "poolSize": PAIR, "pad": FOUR, "stride": PAIR}),
    "dagnn.ReLU": Row({"leak": 0.1}, [], {"leak": SCALAR}),
    "dagnn.LRN": Row({}, [], {"param": FOUR}),
    "dagnn.BatchNorm": Row({}, MOMENTS, {"numChannels": SCALAR, "epsilon": SCALAR}),
    "dagnn.SoftMax": Row({}, [], {}),
    "dagnn.Sigmoid": Row({}, [], {}),
    "dagnn.Sum": Row({}, [], {}, inputs=3),
    "dagnn.Concat": Row({}, [], {"dim": SCALAR}, inputs=3),
    "dagnn.DropOut": Row({}, [], {"rate": SCALAR}),
    "dagnn.Crop": Row({"crop": (1, 2)}, [], {"crop": PAIR}, inputs=2),
    "dagnn.Scale": Row({}, [Field("single", (1, 1, 4)), Field("single", (1, 1, 4))], {"size": FOUR, "hasBias": TRUTH}),
    "dagnn.Loss": Row({}, [], {"loss": TEXT, "normalise": TRUTH, "opts": NONE}, inputs=2),
    "dagnn.PDist": Row({}, [], {"p": SCALAR, "aggregate": TRUTH, "noRoot": TRUTH, "epsilon": SCALAR}, inputs=2),
    "dagnn.NormOffset": Row({}, [], {"param": PAIR}),
    "dagnn.SpatialNorm": Row({}, [], {"param": FOUR}),
    "dagnn.ROIPooling": Row(
        {"subdivisions": (2, 3)},
        [],
        {"method": TEXT, "subdivisions": PAIR, "transform": SCALAR, "flatten": TRUTH},
        inputs=2,
    ),
    "dagnn.BilinearSampler": Row({}, [], {}, inputs=2),
    "dagnn.AffineGridGenerator": Row({"Ho": 3, "Wo": 5}, [], {"Ho": SCALAR, "Wo": SCALAR}),
    "dagnn.UniformScalingGridGenerator": Row({"Ho": 3, "Wo": 5}, [], {"Ho": SCALAR, "Wo": SCALAR}),
}
SIMPLENN = {
    "conv": Row(CONV, [FILTERS, column(6)], {"pad": FOUR, "stride": PAIR, "dilate": SCALAR, "opts": NONE}),
    "convt": Row(BACK, [BACKWARD, column(12)], {"crop": FOUR, "upsample": PAIR, "numGroups": SCALAR, "opts": NONE}),
    "pool": Row(POOL, [], {"method": TEXT, "pool": PAIR, "pad": FOUR, "stride": PAIR, "opts": NONE}),
    "lrn": Row({}, [], {"param": FOUR}),
    "bnorm": Row({}, MOMENTS, {"epsilon": SCALAR}),
    "relu": Row({"leak": 0.1}, [], {"leak": SCALAR}),
    "sigmoid": Row({}, [], {}),
    "softmax": Row({}, [], {}),
    "dropout": Row({}, [], {"rate": SCALAR}),
    "noffset": Row({}, [], {"param": PAIR}),
    "spnorm": Row({}, [], {"param": FOUR}),
    "softmaxloss": Row({}, [], {"opts": NONE}, inputs=2),
}
TOP = ("vars", "params", "layers", "meta")
COMMON = {"name": TEXT, "type": TEXT, "precious": TRUTH}


def network(kind: Any, row: Row) -> Network:
    """A network of one layer, its params of values in order."""
    inputs = ["input", "label", "third"][: row.inputs]
    layer = Layer("l", kind(**row.given), inputs, ["y"], [f"p{place}" for place in range(len(row.params))])
    net = Network()
    net.add(layer)
    for name, field in zip(layer.params, row.params, strict=True):
        shape = tuple(size or 1 for size in field.shape)
        net.params[name] = Param(np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape))
    return net


def saved(net: Network, folder: Path, **options: Any) -> dict[str, Any]:
    """The file's variables, as scipy reads them with MATLAB's classes."""
    return loadmat(matnet.save(net, folder / "net.mat", **options), mat_dtype=True)


def matlab_class(array: np.ndarray) -> str:
    """What class() would say in MATLAB, for arrays as scipy reads them."""
    if array.dtype.names is not None:
        return "struct"
    names = {"float64": "double", "float32": "single", "bool": "logical", "object": "cell"}
    return "char" if array.dtype.kind == "U" else names.get(str(array.dtype), str(array.dtype))


def assert_field(value: np.ndarray, field: Field, what: str) -> None:
    found = value.shape
    if field.kind == "char":  # scipy gives the text as one item
        found = (1, len(value.item()))
    assert matlab_class(value) == field.kind, what
    assert len(found) == len(field.shape), (what, found)
    assert all(expected in (None, size) for size, expected in zip(found, field.shape, strict=True)), (what, found)


def assert_struct(struct: np.ndarray, fields: dict[str, Field], what: str) -> None:
    """Exactly these fields, each of its class and shape."""
    assert set(struct.dtype.names or ()) == set(fields), what
    for name, field in fields.items():
        assert_field(struct[name], field, f"{what}.{name}")


def assert_values(struct: np.ndarray, given: dict[str, Any], spelling: dict[str, str]) -> None:
    """The fields that a row gives hold its values, in its order."""
    for name, value in given.items():
        found = struct[spelling.get(name, name)]
        assert found.ravel().tolist() == np.ravel(value).tolist(), name


def assert_names(cell: np.ndarray, count: int, what: str) -> None:
    assert matlab_class(cell) == "cell", what
    assert cell.shape == (1, count), what
    for item in cell.ravel():
        assert_field(item, TEXT, what)


@pytest.mark.parametrize("kind", DAGNN)
def test_a_row_of_the_dagnn_table(kind: str, tmp_path: Path) -> None:
    row = DAGNN[kind]
    file = saved(network(REGISTRY.dagnn[kind], row), tmp_path, format="dagnn")
    assert {name: kind for name, _, kind in whosmat(tmp_path / "net.mat")} == dict.fromkeys(TOP, "struct")
    assert file["layers"].shape == (1, 1)
    layer = file["layers"][0, 0]
    assert layer.dtype.names == ("name", "type", "inputs", "outputs", "params", "block")
    assert layer["type"].item() == kind
    assert_names(layer["inputs"], row.inputs, "inputs")
    assert_names(layer["outputs"], 1, "outputs")
    assert_names(layer["params"], len(row.params), "params")
    assert layer["block"].shape == (1, 1)
    if row.fields:
        assert_struct(layer["block"][0, 0], row.fields, kind)
        assert_values(layer["block"][0, 0], row.given, {})
    else:
        assert read_mat(tmp_path / "net.mat")["layers"]["block"] == {}  # scipy tells it from a cell no longer
    assert file["vars"].shape == (1, row.inputs + 1)
    for var in file["vars"].ravel():
        assert_struct(var, {"name": TEXT, "precious": TRUTH}, "vars")
    assert file["params"].shape == ((1, len(row.params)) if row.params else (0, 0))
    assert file["params"].dtype.names == ("name", "value", "learningRate", "weightDecay")
    for param, value in zip(file["params"].ravel(), row.params, strict=True):
        assert_struct(param, {"name": TEXT, "value": value, "learningRate": SCALAR, "weightDecay": SCALAR}, "params")


def test_every_class_and_type_of_matconvnet_has_its_row() -> None:
    assert set(DAGNN) == {name for name, op in REGISTRY.dagnn.items() if op.stock}
    types = {name for name, op in REGISTRY.simplenn.items() if op.stock}
    assert types - set(SIMPLENN) == {
        "normalize",  # lrn by its old name
        "loss",  # softmaxloss by its old name
        "pdist",  # below
        "scale",  # vl_simplenn does not evaluate it
    }


@pytest.mark.parametrize("kind", SIMPLENN)
def test_a_row_of_the_simplenn_table(kind: str, tmp_path: Path) -> None:
    row = SIMPLENN[kind]
    net = network(REGISTRY.simplenn[kind], row)
    file = saved(net, tmp_path, format="simplenn")
    assert {name: kind for name, _, kind in whosmat(tmp_path / "net.mat")} == {"layers": "cell", "meta": "struct"}
    assert matlab_class(file["layers"]) == "cell"
    assert file["layers"].shape == (1, 1)
    struct = file["layers"][0, 0]
    assert struct.shape == (1, 1)
    layer = struct[0, 0]
    weights = Field("cell", (1, len(row.params)) if row.params else (0, 0))
    assert_struct(layer, {**COMMON, "weights": weights, **row.fields}, kind)
    assert_values(layer, row.given, {"poolSize": "pool"})
    assert layer["type"].item() == kind
    for value, field, param in zip(layer["weights"].ravel(), row.params, net.params.values(), strict=True):
        assert_field(value, field, f"{kind}.weights")
        np.testing.assert_array_equal(value, param.value)


def test_the_reference_of_pdist_stands_in_class(tmp_path: Path) -> None:
    row = Row({}, [Field("single", (1, 1, 4))], {})
    (layer,) = saved(network(REGISTRY.simplenn["pdist"], row), tmp_path, format="simplenn")["layers"][0, 0].ravel()
    own = {"p": SCALAR, "noRoot": TRUTH, "aggregate": TRUTH, "epsilon": SCALAR, "class": row.params[0]}
    fields = {**COMMON, **own, "weights": NONE, "instanceWeights": Field("double", (0, 0))}
    assert_struct(layer, fields, "pdist")


def test_unequal_dilation_lies_as_a_column_in_simplenn(tmp_path: Path) -> None:
    """vl_simplenn_display multiplies a column by it."""
    row = Row({"dilate": (2, 3)}, [FILTERS, column(6)], {})
    (layer,) = saved(network(REGISTRY.simplenn["conv"], row), tmp_path, format="simplenn")["layers"][0, 0].ravel()
    np.testing.assert_array_equal(layer["dilate"], [[2], [3]])


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("format", ["simplenn", "dagnn"])
def test_several_layers_lie_in_a_row(format: str, version: str, tmp_path: Path) -> None:
    """1 x L: a cell in SimpleNN, struct arrays in a DagNN, which also has a row of variables and one of params."""
    net = network(REGISTRY.dagnn["dagnn.Conv"], DAGNN["dagnn.Conv"])
    for place, kind in enumerate(("ReLU", "SoftMax")):
        net.add(Layer(f"l{place}", REGISTRY.dagnn[f"dagnn.{kind}"](), [net.outputs[-1]], [f"y{place}"]))
    matnet.save(net, tmp_path / "net.mat", format=format, version=version)
    lengths = {"layers": 3} if format == "simplenn" else {"layers": 3, "vars": 4, "params": 2}
    if version == "5":
        shapes = {name: shape for name, shape, _ in whosmat(tmp_path / "net.mat")}
    else:  # a cell is a data set of references, a struct array a group of them; HDF5 has MATLAB's axes in reverse
        with h5py.File(tmp_path / "net.mat") as file:
            stored = {name: file[name] if format == "simplenn" else file[name]["name"] for name in lengths}
            shapes = {name: item.shape[::-1] for name, item in stored.items()}
    assert {name: shapes[name] for name in lengths} == {name: (1, length) for name, length in lengths.items()}


@pytest.mark.parametrize("format", ["simplenn", "dagnn"])
def test_a_convolution_without_bias(format: str, tmp_path: Path) -> None:
    """vl_simplenn reads weights{2} of every convolution; DagNN says so in hasBias."""
    file = saved(network(REGISTRY.dagnn["dagnn.Conv"], Row({"hasBias": False}, [FILTERS], {})), tmp_path, format=format)
    if format == "simplenn":
        weights = file["layers"][0, 0]["weights"][0, 0]
        assert weights.shape == (1, 2)
        assert_field(weights[0, 1], Field("double", (0, 0)), "bias")
    else:
        assert not file["layers"]["block"][0, 0]["hasBias"][0, 0].item()
        assert_names(file["layers"]["params"][0, 0], 1, "params")


@pytest.mark.parametrize("format", ["simplenn", "dagnn"])
def test_values_of_several_classes_are_all_written_as_single(format: str, tmp_path: Path) -> None:
    """vl_nnconv takes data, filters and biases of one class only."""
    net = network(REGISTRY.dagnn["dagnn.Conv"], DAGNN["dagnn.Conv"])
    net.params["p1"].value = net.params["p1"].value.astype(np.float64)
    file = saved(net, tmp_path, format=format)
    values = file["layers"][0, 0]["weights"][0, 0] if format == "simplenn" else file["params"]["value"]
    assert [matlab_class(value) for value in values.ravel()] == ["single", "single"]


META = {
    "imageSize": Field("double", (1, 3)),
    "averageImage": Field("single", (1, 1, 3)),
    "interpolation": TEXT,
    "keepAspect": TRUTH,
    "border": PAIR,
    "cropSize": PAIR,
}


@pytest.mark.parametrize("mean", [None, (10, 20, 30)])
@pytest.mark.parametrize("format", ["simplenn", "dagnn"])
def test_the_meta_of_a_conversion(format: str, mean: Any, tmp_path: Path) -> None:
    """Without a mean the average image holds zeros: the quick start of MatConvNet subtracts it by bsxfun."""
    text = "input: 'for' input_dim: 1 input_dim: 3 input_dim: 5 input_dim: 7 layer { name: 'end' type: 'Convolution' "
    text += (
        "bottom: 'for' top: 'y' convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: 'xavier' } } }"
    )
    prototxt = tmp_path / "net.prototxt"
    prototxt.write_text(text)
    net = matnet.convert_caffe(prototxt, mean_values=mean, class_names=["cat", "dog"])
    file = saved(net, tmp_path, format=format)
    meta = file["meta"][0, 0]
    for name, field in META.items():
        assert_field(meta["normalization"][0, 0][name], field, name)
    average = meta["normalization"][0, 0]["averageImage"].ravel()
    np.testing.assert_array_equal(average, mean or (0, 0, 0))
    for name in ("name", "description"):
        assert_names(meta["classes"][0, 0][name], 2, name)
    first = "input" if format == "simplenn" else file["vars"]["name"].ravel()[0].item()
    inputs = meta["inputs"][0, 0]
    assert_struct(inputs, {"name": TEXT, "size": FOUR}, "inputs")
    assert inputs["name"].item() == meta["caffe"][0, 0]["flipped"].ravel()[0].item() == first
    np.testing.assert_array_equal(inputs["size"], [[5, 7, 3, 1]])
    assert not {"end", "for"} & {str(name.item()) for name in _names_in(file)}


def _names_in(file: dict[str, Any]) -> list[np.ndarray]:
    """The names of all layers and, in a DagNN, variables."""
    if matlab_class(file["layers"]) == "cell":
        return [struct["name"][0, 0] for struct in file["layers"].ravel()]
    return [*file["layers"]["name"].ravel(), *file["vars"]["name"].ravel()]
