""".mat files with the faults and shapes of public ones, tests/data/mat_public: each runs as in MATLAB, or says why not.

Expected values are computed here with scipy and numpy from the arrays that scipy.io reads from the same files,
after MatConvNet's documentation of vl_nnconv, vl_nnpool, vl_nnrelu and vl_argparse.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat
from scipy.signal import correlate

import matnet
from matnet.errors import FileFormatError, MatnetError, NetworkError
from matnet.formats.mat import read_mat, write_mat
from matnet.formats.mat.values import Cell, StructArray, equal
from matnet.network import Layer, Network
from matnet.ops.activation import ReLU, Sigmoid
from tests.conftest import DATA, assert_close

PUBLIC = DATA / "mat_public"
X = np.random.default_rng(7).standard_normal((2, 3, 8, 6)).astype(np.float32)


def conv(
    x: np.ndarray, filters: np.ndarray, bias: np.ndarray, pad: int = 1, stride: int = 1, dilate: int = 1
) -> np.ndarray:
    """vl_nnconv, one filter and one image at a time: N x C x H x W, filters h x w x C x K."""
    h, w, c, k = filters.shape
    spread = np.zeros(((h - 1) * dilate + 1, (w - 1) * dilate + 1, c, k))
    spread[::dilate, ::dilate] = filters
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    maps = [[correlate(image, spread[..., i].transpose(2, 0, 1), "valid")[0] for i in range(k)] for image in padded]
    return np.array(maps)[:, :, ::stride, ::stride] + bias.reshape(1, -1, 1, 1)


def weights(name: str, layer: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The first filters and bias of a file, as scipy reads them."""
    file = loadmat(PUBLIC / f"{name}.mat")
    if "params" in file:
        filters, bias = (file["params"]["value"][0, i] for i in range(2))
    else:
        stored = file["layers"][0, layer]["weights"][0, 0]
        filters, bias = stored[0, 0], stored[0, 1]
    return filters, bias.ravel()


def pooled(x: np.ndarray, fold: Any) -> np.ndarray:
    """2 x 2 windows, stride 2."""
    n, c, h, w = x.shape
    return fold(x.reshape(n, c, h // 2, 2, w // 2, 2), axis=(3, 5))


def chain(name: str, leak: float = 0.0, dilate: int = 1, prob: bool = True) -> np.ndarray:
    """conv, ReLU, max pooling, conv and mostly softmax: what `base` and its variants are."""
    x = conv(X, *weights(name), dilate=dilate)
    x = conv(pooled(np.maximum(x, 0) + leak * np.minimum(x, 0), np.max), *weights(name, 3))
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True) if prob else x


def load(file: str, **options: Any) -> Network:
    return matnet.load(PUBLIC / f"{file}.mat", **options)


def relu(x: np.ndarray, leak: float = 0.0) -> np.ndarray:
    return np.maximum(x, 0) + leak * np.minimum(x, 0)


RUNS = {
    "base": lambda: chain("base"),
    "leak": lambda: chain("leak", leak=0.2),
    "leak_neg": lambda: chain("leak_neg"),  # vl_simplenn hands on a leak > 0 only
    "hole2": lambda: chain("hole2"),
    "opts_dilate": lambda: chain("opts_dilate", dilate=2),
    "net_is_cell": lambda: chain("base"),
    "netnet": lambda: chain("base"),
    "v5_type_cell": lambda: chain("base"),
    "m_std": lambda: chain("m_std"),
    "ctrl_names": lambda: pooled(relu(conv(X, *weights("ctrl_names"))), np.max),
    "rt_names": lambda: relu(conv(X, *weights("rt_names"))),
    "layers_structarray": lambda: relu(conv(X, *weights("base"))),
    "layers_one_struct": lambda: conv(X, *weights("base")),
    "dag_relu": lambda: relu(conv(X, *weights("dag_relu"))),
    "dag_relu_optsleak": lambda: relu(conv(X, *weights("dag_relu_optsleak")), 0.2),
    "dag_conv_opts_pad": lambda: conv(X, *weights("dag_conv_opts_pad"), pad=0),
    "dag_conv_opts_stride": lambda: conv(X, *weights("dag_conv_opts_stride"), stride=2),
    "dag_pool_opts": lambda: pooled(X, np.mean),
    "dag_sigmoid": lambda: 1 / (1 + np.exp(-X.astype(np.float64))),
    "dag_twowriters": lambda: relu(X),  # the last of two writers wins
}


@pytest.mark.process
@pytest.mark.parametrize("backend", ["numpy", "onnx"])
@pytest.mark.parametrize("name", RUNS)
def test_runs_as_matlab_would(name: str, backend: str, tmp_path: Path) -> None:
    expected = RUNS[name]()
    net = load(name)
    (found,) = net.forward(X, backend=backend).values()
    assert_close(found, expected, 1e-5, name)
    for version in ("5", "7.3"):
        again = matnet.load(matnet.save(net, tmp_path / f"{version}.mat", version=version))
        (found,) = again.forward(X, backend=backend).values()
        assert_close(found, expected, 1e-5, f"{name}, saved again")


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


FUNCTIONS = {"ReLU": relu, "Sigmoid": sigmoid, "LeakyReLU": lambda x: relu(x, 0.5)}
# Layers in the order of the file (name, function, input, output), and what MatConvNet has in y at the end. It runs the
# layers by the longest way to a last layer, of equal ones in file order (DagNN's rebuild), and the last writer counts.
SEVERAL_WRITERS = {
    "the later one in the file": (
        [("a", "Sigmoid", "x", "v"), ("b", "ReLU", "x", "v"), ("r", "Sigmoid", "v", "y")], lambda x: sigmoid(relu(x)),
    ),
    "a reader between the writers reads the last": (
        [("a", "Sigmoid", "x", "v"), ("r", "Sigmoid", "v", "y"), ("b", "ReLU", "x", "v")], lambda x: sigmoid(relu(x)),
    ),
    "three writers": (
        [("a", "Sigmoid", "x", "v"), ("b", "ReLU", "x", "v"), ("c", "LeakyReLU", "x", "v"), ("r", "ReLU", "v", "y")],
        lambda x: relu(relu(x, 0.5)),
    ),
    "a writer behind a chain that the file has last": (
        [
            ("a", "LeakyReLU", "c2", "v"), ("b", "ReLU", "x", "v"), ("r", "Sigmoid", "v", "y"),
            ("c1", "Sigmoid", "x", "c1"), ("c2", "Sigmoid", "c1", "c2"),
        ],
        lambda x: sigmoid(relu(x)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL_WRITERS)
def test_of_several_writers_the_last_counts_as_in_matconvnet(name: str, tmp_path: Path) -> None:
    layers, value = SEVERAL_WRITERS[name]
    net = Network()
    for layer, kind, read, wrote in layers:
        op = Sigmoid() if kind == "Sigmoid" else ReLU(leak=0.5 if kind == "LeakyReLU" else 0)
        net.add(Layer(layer, op, [read], [wrote]))
    expected = value(X.astype(np.float64))
    again = matnet.load(matnet.save(net, tmp_path / "net.mat", format="dagnn"))
    for found in (net(X), net.forward(X, backend="onnx")["y"], again(X)):
        assert_close(found, expected, 1e-5, name)
    assert_close(onnx_values(again, tmp_path), expected, 1e-5, f"{name}, ONNX")


def onnx_values(net: Network, folder: Path) -> np.ndarray:
    """The one output for X of the network's ONNX file, as ONNX Runtime computes it."""
    from onnxruntime import InferenceSession

    save_onnx(net, folder / "net.onnx", size=X.shape[1:])
    session = InferenceSession(str(folder / "net.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: X})[0]


def test_the_onnx_file_of_two_writers_gives_matconvnets_numbers(tmp_path: Path) -> None:
    assert_close(onnx_values(load("dag_twowriters"), tmp_path), relu(X), 1e-5, "dag_twowriters")


@pytest.mark.parametrize("name", ["dag_conv_opts_pad", "dag_conv_opts_stride", "dag_pool_opts", "dag_relu_optsleak"])
def test_saving_keeps_fields_and_options_apart(name: str, tmp_path: Path) -> None:
    saved = read_mat(matnet.save(load(name), tmp_path / "again.mat"))
    for before, after in zip(structs(read_mat(PUBLIC / f"{name}.mat")), structs(saved), strict=True):
        for field, value in before["block"].items():
            assert equal(value, after["block"][field]), field
    assert "leak" not in structs(saved)[-1]["block"]  # a DagNN of old betas has no such property


def structs(file: Any) -> list[dict[str, Any]]:
    return list(file["layers"]) if isinstance(file["layers"], StructArray) else [file["layers"]]


def test_an_option_whose_field_was_edited_is_not_written(tmp_path: Path) -> None:
    net = load("dag_conv_opts_pad")
    net.layers["c"].op = replace(net.layers["c"].op, pad=2)
    again = matnet.load(matnet.save(net, tmp_path / "again.mat"))
    assert_close(again(X), conv(X, *weights("dag_conv_opts_pad"), pad=2), 1e-5, "pad 2")


@pytest.mark.parametrize("format", ["simplenn", "dagnn"])
def test_an_option_of_a_simplenn_whose_field_was_edited_is_not_written(format: str, tmp_path: Path) -> None:
    net = load("opts_dilate")
    for layer in net.layers.values():
        if hasattr(layer.op, "dilate"):
            layer.op = replace(layer.op, dilate=1)
    again = matnet.load(matnet.save(net, tmp_path / "again.mat", format=format))
    assert_close(again(X), chain("opts_dilate"), 1e-5, format)


@pytest.mark.parametrize("opts", [["pad"], ["Stride", np.array([[2.0]]), "PAD"]], ids=str)
def test_an_option_without_its_value_keeps_the_layer_from_running(opts: list[Any], tmp_path: Path) -> None:
    """vl_argparse stops at it."""
    layer = {"name": "c", "type": "conv", "weights": Cell([np.ones((1, 1, 3, 2), np.float32)]), "opts": Cell(opts)}
    write_mat(tmp_path / "net.mat", {"layers": Cell([layer])})
    with pytest.raises(MatnetError, match=r"(?i)'c'.*pad.*without a value"):
        matnet.load(tmp_path / "net.mat")(X)


def test_moments_among_the_options_of_batch_norm(tmp_path: Path) -> None:
    """BatchNorm hands `opts` to vl_nnbnorm behind its own moments."""
    g, b = np.float32([[1], [2], [3]]), np.float32([[4], [5], [6]])
    stored, given = np.float32([[0, 1]] * 3), np.float32([[1, 2], [3, 4], [5, 8]])
    block = {"epsilon": np.array([[1e-5]]), "opts": Cell(["NoCuDNN", "Moments", given])}
    layer = {
        "name": "bn", "type": "dagnn.BatchNorm", "inputs": Cell(["x"]), "outputs": Cell(["y"]),
        "params": Cell(["g", "b", "m"]), "block": block,
    }  # fmt: skip
    params = StructArray({"name": name, "value": value} for name, value in (("g", g), ("b", b), ("m", stored)))
    write_mat(tmp_path / "bn.mat", {"params": params, "layers": layer})
    expected = (X - given[:, 0].reshape(3, 1, 1)) / given[:, 1].reshape(3, 1, 1) * g.reshape(3, 1, 1) + b.reshape(
        3, 1, 1
    )
    net = matnet.load(tmp_path / "bn.mat")
    assert_close(net(X), expected, 1e-5, "moments")
    again = matnet.load(matnet.save(net, tmp_path / "again.mat"))
    assert_close(again(X), expected, 1e-5, "moments, saved again")


@pytest.mark.parametrize(
    ("layer", "note"),
    [
        ({"type": "relu", "opts": Cell(["leak", np.array([[0.5]])])}, "opts"),  # vl_simplenn does not hand it on
        ({"type": "relu", "slope": np.array([[0.5]])}, "slope"),
        ({"type": "pool", "pool": np.array([[2.0]]), "leak": np.array([[0.5]])}, "leak"),
    ],
)
def test_what_vl_simplenn_does_not_read_is_noted(layer: dict[str, Any], note: str, tmp_path: Path) -> None:
    write_mat(tmp_path / "net.mat", {"layers": Cell([{"name": "only", **layer}])})
    net = matnet.load(tmp_path / "net.mat")
    assert any(note in text and "only" in text for text in net.source.notes)
    expected = np.maximum(X, 0)
    if layer["type"] == "pool":
        windows = np.lib.stride_tricks.sliding_window_view(X, (2, 2), axis=(2, 3))
        expected = windows.max(axis=(4, 5))
    np.testing.assert_array_equal(net(X), expected)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("pool_missing", ["'p1'", "pool", "missing", "computed is 'layer2'"]),
        ("dag_unknown_prop", ["'c'", "hole", "exBackprop"]),
        ("dag_missing_param", ["'c'", "'cb'"]),
    ],
)
def test_loads_and_shows_and_saves_but_does_not_run(
    name: str, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from matnet.show import main as show

    net = load(name)
    assert show([str(PUBLIC / f"{name}.mat")]) == 0
    assert all(layer in capsys.readouterr().out for layer in list(net.layers)[:1])
    again = matnet.load(matnet.save(net, tmp_path / "again.mat"))
    for one in (net, again):
        for action in (lambda one=one: one(X), lambda one=one: save_onnx(one, tmp_path / "n.onnx", size=(8, 6))):
            with pytest.raises(MatnetError) as caught:
                action()
            assert all(part in str(caught.value) for part in parts), caught.value
    assert not list(tmp_path.glob("*.onnx"))


def save_onnx(net: Network, path: Path, **options: Any) -> None:
    from matnet.formats.onnx import save_onnx as save

    save(net, path, **options)


def test_an_unknown_property_is_ignored_where_asked(tmp_path: Path) -> None:
    net = load("dag_unknown_prop", lenient=True)
    assert any("hole" in note and "'c'" in note for note in net.source.notes)
    assert_close(net(X), conv(X, *weights("dag_unknown_prop")), 1e-5, "without the property")
    block = read_mat(matnet.save(net, tmp_path / "again.mat"))["layers"]["block"]
    assert float(block["hole"].item()) == 2


REFUSED = {
    "autonn_like": ["autonn"],
    "layers_bare_arrays": ["layers", "3x3x3x4"],
    "layers_num": ["layers", "3x3"],
    "imdb": ["image database"],
    "v5_gpu_pad": ["layers{1}", "conv", "pad", "gpuArray"],
    "two_nets": ["netA", "netB", "name"],
    "ircnn_like": ["CNNdenoiser{1}", "CNNdenoiser{3}", "name"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    with pytest.raises(MatnetError) as caught:
        load(name)
    assert isinstance(caught.value, (FileFormatError, NetworkError))
    for part in (f"{name}.mat", *REFUSED[name]):
        assert part in str(caught.value)
    assert "nearest: layers" not in str(caught.value)


def test_one_of_several_networks_by_name() -> None:
    stored = loadmat(PUBLIC / "two_nets.mat")["netB"]["layers"][0, 0][0, 0]["weights"][0, 0]
    assert_close(load("two_nets", name="netB")(X), relu(conv(X, stored[0, 0], stored[0, 1])), 1e-5, "netB")
    assert_close(load("two_nets", name="netA")(X), chain("base"), 1e-5, "netA")
    for number in range(1, 4):
        cells = loadmat(PUBLIC / "ircnn_like.mat")["CNNdenoiser"]
        first = cells[0, number - 1]["layers"][0, 0][0, 0]["weights"][0, 0][0, 0]
        net = load("ircnn_like", name=f"CNNdenoiser{{{number}}}")
        np.testing.assert_array_equal(net.params["c1f"].value, first)
    with pytest.raises(FileFormatError, match=r"'netC'.*'netA', 'netB'"):
        load("two_nets", name="netC")


def run_command_line(module: str, *arguments: Any) -> int:
    """A command's exit status, as the shell sees it."""
    import importlib

    from matnet.command_line import run_command

    return run_command(importlib.import_module(f"matnet.{module}").main, [str(argument) for argument in arguments])


@pytest.mark.process
def test_the_commands_choose_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two, stored = PUBLIC / "two_nets.mat", tmp_path / "in.npz"
    np.savez(stored, in__input=X)
    for name in ("netA", "netB"):
        expected = load("two_nets", name=name)(X)
        assert run_command_line("run", two, stored, tmp_path / "out.npz", "--net", name) == 0
        with np.load(tmp_path / "out.npz") as found:
            assert_close(next(iter(found.values())), expected, 1e-6, name)
        assert run_command_line("show", two, "--net", name) == 0
        assert run_command_line("convert", two, tmp_path / f"{name}.mat", "--net", name) == 0
        assert_close(matnet.load(tmp_path / f"{name}.mat")(X), expected, 1e-6, f"{name}, converted")
        onnx = ("--to-onnx", tmp_path / f"{name}.onnx", "--input-size", "8x6")
        assert run_command_line("convert", two, *onnx, "--net", name) == 0
        assert run_command_line("diff", two, tmp_path / f"{name}.mat", "--net", name, "--no-meta") == 0
        assert run_command_line("diff", tmp_path / f"{name}.mat", two, "--net-b", name, "--no-meta") == 0
    assert run_command_line("diff", two, two, "--net", "netA", "--net-b", "netB") == 1
    capsys.readouterr()
    for command in (("show", two), ("run", two, stored, tmp_path / "o.npz"), ("convert", two, tmp_path / "o.mat")):
        assert run_command_line(*command) == 2
        message = capsys.readouterr().err
        assert all(part in message for part in ("two_nets.mat", "netA", "netB", "--net"))
    assert run_command_line("show", PUBLIC / "base.mat", "--net", "netA") == 2


@pytest.mark.process
def test_the_commands_ignore_an_unknown_property_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, stored, out = PUBLIC / "dag_unknown_prop.mat", tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(stored, X)
    run, onnx = ("run", file, stored, out), ("convert", file, "--to-onnx", tmp_path / "n.onnx", "--input-size", "8x6")
    for command in (run, onnx):
        assert run_command_line(*command) == 2
        message = capsys.readouterr().err
        assert all(part in message for part in ("'c'", "hole", "--lenient"))
        assert run_command_line(*command, "--lenient") == 0
    with np.load(out) as found:
        expected = conv(X, *weights("dag_unknown_prop"))
        assert_close(next(iter(found.values())), expected, 1e-5, "without the property")
    assert run_command_line("show", file, "--lenient") == 0
    assert run_command_line("convert", file, tmp_path / "again.mat", "--lenient") == 0


def test_an_evaluation_is_of_the_network_that_was_chosen() -> None:
    """Two networks of one file, or one read in two ways, are not one run that can be resumed."""
    from matnet.evaluation.provenance import network_sha256, whole_file

    ways = [load("two_nets", name="netA"), load("two_nets", name="netB"), load("dag_unknown_prop", lenient=True)]
    assert [whole_file(net) for net in ways] == [None] * 3
    assert len({network_sha256(net) for net in ways}) == 3
    assert whole_file(load("base")) == PUBLIC / "base.mat"


def test_a_caffe_model_holds_one_network(tmp_path: Path) -> None:
    definition = tmp_path / "net.prototxt"
    definition.write_text('input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 6\n'
                          'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }\n')  # fmt: skip
    assert list(matnet.load(definition, mmap=False).layers) == ["r"]
    with pytest.raises(FileFormatError, match=r"net\.prototxt.*one network"):
        matnet.load(definition, name="net")


def test_an_image_database_is_input(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The images of imdb, H x W x C x N, as MatConvNet's examples hand them to the network."""
    images = loadmat(PUBLIC / "imdb.mat")["images"]["data"][0, 0]
    with caplog.at_level("INFO"):
        assert run_command_line("run", PUBLIC / "base.mat", PUBLIC / "imdb.mat", tmp_path / "out.mat") == 0
    assert "images.data" in caplog.text
    expected = load("base")(np.ascontiguousarray(images.transpose(3, 2, 0, 1)))
    (found,) = (value for name, value in read_mat(tmp_path / "out.mat").items() if name.startswith("out__"))
    assert_close(found.transpose(3, 2, 0, 1) if found.ndim == 4 else found, expected, 1e-6, "imdb")


def test_arrays_inside_structs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mat(tmp_path / "in.mat", {"s": {"x": np.ones((8, 6, 3)), "y": np.ones((2, 2))}})
    assert run_command_line("run", PUBLIC / "base.mat", tmp_path / "in.mat", tmp_path / "out.mat") == 2
    message = capsys.readouterr().err
    assert all(part in message for part in ("in.mat", "s.x (8x6x3)", "s.y (2x2)", "in__"))


def test_batch_norm_without_moments_is_not_written_for_caffe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Moments of zeros are those of a network that was never trained: like `run`, which refuses them."""
    np.savez(tmp_path / "in.npz", X)
    file, size = PUBLIC / "bn_mo_zero.mat", ("--input-size", "8x6")
    for command in (
        ("run", file, tmp_path / "in.npz", tmp_path / "out.npz"),
        ("convert", "--to-caffe", file, "--out", tmp_path / "caffe", *size),
        ("convert", file, "--to-onnx", tmp_path / "net.onnx", *size),
    ):
        assert run_command_line(*command) == 2, command
        message = capsys.readouterr().err
        assert all(part in message for part in ("bn_mo_zero.mat", "layer2", "moments")), message
    assert [path.name for path in tmp_path.iterdir()] == ["in.npz"]


def test_moments_of_two_rows_are_taken_by_linear_memory(tmp_path: Path) -> None:
    """vl_nnbnorm reads the moments as mean then sigma, whatever the shape of their array is."""
    stored = loadmat(PUBLIC / "bn_mo_T.mat")["layers"][0, 1]["weights"][0, 0].ravel()
    factor, offset = (value.reshape(-1, 1, 1).astype(np.float64) for value in stored[:2])
    mean, sigma = stored[2].ravel(order="F").reshape(2, -1, 1, 1).astype(np.float64)
    expected = (conv(X, *weights("bn_mo_T")) - mean) / sigma * factor + offset
    net = load("bn_mo_T")
    for backend in ("numpy", "onnx"):
        assert_close(net(X, backend=backend), expected, 1e-5, backend)
    out = tmp_path / "caffe"
    assert run_command_line("convert", "--to-caffe", PUBLIC / "bn_mo_T.mat", "--out", out, "--input-size", "8x6") == 0
    again = matnet.load(f"{out}.prototxt", f"{out}.caffemodel")  # takes R, G, B again
    assert_close(again(X), expected, 1e-5, "through Caffe")


def test_a_standard_deviation_of_the_importers() -> None:
    """averageImage and imageStd of values 0..1, as importers from PyTorch write them: (pixel / 255 - mean) / std."""
    pixels = np.random.default_rng(3).integers(0, 256, (40, 48, 3)).astype(np.uint8)
    flat = np.full((40, 48, 3), 128, np.uint8)
    prepared = load("m_std").preprocessing
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((128 / 255 - mean) / std).reshape(1, 3, 1, 1)
    assert_close(prepared.apply(flat).reshape(1, 3, 32, 32), np.broadcast_to(expected, (1, 3, 32, 32)), 1e-5, "flat")
    assert np.abs(prepared.apply(pixels)).max() < 3


def test_every_file_has_its_test() -> None:
    text = Path(__file__).read_text()
    files = [path.stem for path in PUBLIC.glob("*.mat")]
    assert len(files) == 35
    assert not [name for name in files if f'"{name}"' not in text and f'"{name}.mat"' not in text]


def test_names_of_params_come_back(tmp_path: Path) -> None:
    net = load("rt_names")
    assert list(net.params) == ["conv1-1f", "conv1-1b"]
    again = matnet.load(matnet.save(net, tmp_path / "again.mat"))
    assert (list(again.params), list(again.layers)) == (list(net.params), list(net.layers))


def test_a_simplenn_without_weights_loads_and_names_what_is_missing(tmp_path: Path) -> None:
    net = load("base")
    net.params.clear()
    again = matnet.load(matnet.save(net, tmp_path / "empty.mat", format="simplenn"))
    assert again.source.format == "simplenn"
    assert list(again.layers) == list(net.layers)
    with pytest.raises(NetworkError, match=r"(?s)'c1'.*'c1f'.*'c2'.*'c2f'"):
        again(X)


def test_a_filter_bank_of_five_axes_is_named(tmp_path: Path) -> None:
    layer = {"name": "c", "type": "conv", "weights": Cell([np.zeros((2, 2, 3, 4, 5), np.float32)])}
    write_mat(tmp_path / "deep.mat", {"layers": Cell([layer])})
    with pytest.raises(NetworkError, match=r"deep\.mat, layers\{1\}.*2.*3.*4.*5"):
        matnet.load(tmp_path / "deep.mat")


@pytest.mark.parametrize("name", ["end_MSEloss", "end_pdist", "dag_uloss"])
def test_a_training_layer_at_the_end_is_left_out(name: str, tmp_path: Path) -> None:
    from matnet.run import main as run

    expected = conv(X, *weights(name)) if name == "dag_uloss" else chain(name, prob=False)
    net = load(name)
    for backend in ("numpy", "onnx"):
        assert_close(net(X, backend=backend), expected, 1e-5, f"{name}, {backend}")
    inference = net.for_inference()
    assert any(list(net.layers)[-1] in note for note in inference.source.notes)
    assert_close(inference(X), expected, 1e-5, name)
    np.savez(tmp_path / "in.npz", x=X)
    assert run([str(PUBLIC / f"{name}.mat"), str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]) == 0
    with np.load(tmp_path / "out.npz") as found:
        assert_close(found[f"out__{inference.outputs[0]}"], expected, 1e-5, f"{name}, run")


def written(net: Network, tmp_path: Path, **options: Any) -> Any:
    return read_mat(matnet.save(net, tmp_path / "written.mat", **options))


def test_dilate_is_a_scalar_or_a_column_where_the_source_had_none(tmp_path: Path) -> None:
    """vl_simplenn_display multiplies a column by it."""
    from matnet.network import Layer
    from matnet.ops.convolution import Conv
    from matnet.params import Param

    for dilate, expected in ((1, [[1]]), ((2, 2), [[2]]), ((2, 3), [[2], [3]])):
        net = Network()
        net.add(Layer("c", Conv(dilate=dilate, hasBias=False), ["x"], ["y"], ["f"]))
        net.params["f"] = Param(np.ones((2, 2, 3, 4), np.float32))
        (layer,) = written(net, tmp_path, format="simplenn")["layers"]
        np.testing.assert_array_equal(layer["dilate"], np.array(expected, np.float64))


def test_a_type_that_vl_simplenn_does_not_evaluate_is_refused(tmp_path: Path) -> None:
    from matnet.formats.needs import matlab_needs
    from matnet.network import Layer
    from matnet.ops.combine import Scale
    from matnet.params import Param

    net = Network()
    net.add(Layer("only", Scale(hasBias=False), ["data"], ["out"], ["m"]))
    net.params["m"] = Param(np.ones((1, 1, 3), np.float32))
    with pytest.raises(NetworkError, match=r"'only'.*'scale'"):
        matnet.save(net, tmp_path / "net.mat", format="simplenn")
    assert "stock" in matlab_needs(net, "dagnn")
    assert "scale" in matlab_needs(net, "simplenn")


@pytest.mark.parametrize(("name", "parts"), [("bn_mo_zero", ["layer2", "moments"]), ("pool_missing", ["p1", "pool"])])
def test_a_network_that_cannot_run_is_not_said_to_run_in_matlab(name: str, parts: list[str]) -> None:
    from matnet.formats.needs import matlab_needs

    for kind in ("simplenn", "dagnn"):
        told = matlab_needs(load(name), kind)
        assert "stock" not in told
        assert all(part in told for part in parts)


def test_names_that_matlab_keeps_for_itself(tmp_path: Path) -> None:
    net = load("dag_relu")
    net.layers["c"].name = "end"
    net.layers = {layer.name: layer for layer in net.layers.values()}
    net.rename({"data": "data/0", "x": "for"})
    net.meta["inputs"] = {"name": "data/0", "size": np.array([[8.0, 6, 3, 1]])}
    net.meta["caffe"] = {"flipped": Cell(["data/0"])}
    file = written(net, tmp_path)
    names = [struct["name"] for kind in ("layers", "vars") for struct in file[kind]]
    assert not {"end", "for"} & set(names)
    assert file["meta"]["inputs"]["name"] == file["meta"]["caffe"]["flipped"][0] == file["vars"][0]["name"]
    again = matnet.load(tmp_path / "written.mat")
    assert list(again.layers) == ["end", "r"]
    assert again.variables == net.variables
    assert again.meta["inputs"]["name"] == again.meta["caffe"]["flipped"][0] == "data/0"


def test_a_constant_of_pdist_is_an_extension_in_dagnn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = matnet.load(DATA / "matconvnet/sn_pdist/model.mat")
    matnet.save(net, tmp_path / "dag.mat", format="dagnn")
    name = next(layer.name for layer in net.layers.values() if layer.params)
    assert name in caplog.text
    assert "PDist" in caplog.text
