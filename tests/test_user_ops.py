"""Layers of a user's own: right numbers in every engine, however batches are divided; facts reach their readers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import Layer, Network, NetworkError, OutOfMemoryError, Param
from matnet.datasets import ImageList
from matnet.display.svg import family
from matnet.display.table import network_table
from matnet.engines import compile_network
from matnet.engines.batches import Halving, run_in_batches
from matnet.engines.cpu.runtimes import available
from matnet.engines.cupy import engine as gpu_engine
from matnet.engines.cupy.lower import lower
from matnet.engines.cupy.probe import Gpu
from matnet.engines.cupy.schedules import why_layer_by_layer
from matnet.evaluation import evaluate
from matnet.evaluation.streams import fills_up
from matnet.files import models_folder
from matnet.images import Preprocessing
from matnet.meta import input_channels
from matnet.ops import REGISTRY, Op, register
from matnet.ops.activation import DropOut, ReLU, SoftMax
from matnet.ops.base import Array, Elementwise
from matnet.ops.combine import Sum
from matnet.ops.convolution import Conv
from matnet.ops.normalization import LRN, BatchNorm
from matnet.ops.pooling import Pooling
from matnet.shapes import Shape
from tests.conftest import assert_close
from tests.emulated_gpu import EmulatedDevice
from tests.helpers import values

X = (5, 6, 7, 11)
TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class LessMean(Op):
    """x minus the mean over the batch; it states no facts."""

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [inputs[0] - inputs[0].mean(axis=0, keepdims=True)]


@dataclass(frozen=True, kw_only=True)
class Twice(Elementwise):
    """2 x."""

    half_precision = True
    family = "pooling"

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        return [2 * inputs[0]]


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register("mylab.LessMean", simplenn="lessmean")(LessMean)
    register("mylab.Twice", simplenn="twice")(Twice)
    yield
    REGISTRY.remove(LessMean)
    REGISTRY.remove(Twice)


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backend cupy finds a GPU, on which numpy carries the steps out."""
    gpu = Gpu(0, "emulated", (9, 0), 1 << 34, 13000, 13000)
    monkeypatch.setattr(gpu_engine, "find_gpu", lambda index=None, precision="fp32": gpu)
    monkeypatch.setattr(gpu_engine, "GpuDevice", EmulatedDevice)


FILTERS = values(3, 3, 6, 8)


def network(own: Op) -> Network:
    """A convolution, the user's layer, ReLU."""
    net = Network()
    net.params["filters"] = Param(FILTERS)
    net.add(Layer("conv", Conv(hasBias=False), ["x"], ["a"], ["filters"]))
    net.add(Layer("own", own, ["a"], ["b"]))
    net.add(Layer("relu", ReLU(), ["b"], ["c"]))
    return net


def convolved(x: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ijck->nkhw", windows, FILTERS)


def expected(x: np.ndarray, own: Op) -> np.ndarray:
    y = convolved(x)
    return np.maximum(y - y.mean(axis=0) if isinstance(own, LessMean) else 2 * y, 0)


BACKENDS = [
    ("numpy", {}),
    ("cupy", {}),
    *(("onnx", {"runtime": runtime, "threads": 2}) for runtime in (None, "openvino", "auto:onnxruntime")),
]


@pytest.mark.process
@pytest.mark.parametrize("own", [LessMean(), Twice()], ids=["mixes images", "does not"])
@pytest.mark.parametrize(("backend", "options"), BACKENDS, ids=lambda value: str(value))
def test_every_engine_computes_a_users_layer(backend: str, options: dict[str, Any], own: Op, emulated: None) -> None:
    """Also a smaller batch behind a larger one, which a GPU would fill up where images are independent."""
    runtime = "openvino" if options.get("runtime") == "openvino" else "onnxruntime"
    if backend == "onnx" and not available(runtime):
        pytest.skip(f"{runtime} is not installed")
    engine = compile_network(network(own), backend=backend, **options)
    # OpenVINO compiled for open sizes may crash the process when it ends.
    for images in (5,) if options.get("runtime") == "openvino" else (5, 2, 1):
        x = values(images, *X[1:])
        assert_close(engine(x)["c"], expected(x, own), 1e-4, f"{images} images")


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_batch_is_divided_only_where_the_op_allows_it(batch_size: int) -> None:
    x = values(*X)
    found = run_in_batches(compile_network(network(Twice())), x, batch_size)
    assert_close(found["c"], expected(x, Twice()), TOLERANCE, "c")
    with pytest.raises(NetworkError, match=r"layer 'own' \(mylab.LessMean\)"):
        run_in_batches(compile_network(network(LessMean())), x, batch_size)


def test_a_batch_that_does_not_fit_is_halved_only_where_the_op_allows_it() -> None:
    def small(own: Op) -> Halving:
        engine = compile_network(network(own))
        run = engine.run

        def limited(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            if len(given["x"]) > 2:
                raise OutOfMemoryError("more than 2 images do not fit", len(given["x"]))
            return run(given)

        engine.run = limited  # type: ignore[method-assign]
        return Halving(engine)

    x = values(*X)
    assert_close(small(Twice())(x)["c"], expected(x, Twice()), TOLERANCE, "c")
    with pytest.raises(OutOfMemoryError):
        small(LessMean())(x)


def test_inputs_of_unequal_length_are_not_divided() -> None:
    """FFDNet's map of noise levels is one for all images: cutting it into batches would leave nothing of it."""
    net = Network()
    net.add(Layer("sum", Sum(), ["x", "y"], ["z"]))
    engine = compile_network(net)
    with pytest.raises(NetworkError, match="input 'y'"):
        run_in_batches(engine, {"x": values(*X), "y": values(1, *X[1:])}, 2)


def test_a_gpu_fills_up_batches_only_where_the_op_allows_it(emulated: None) -> None:
    for own, filled in ((Twice(), True), (LessMean(), False)):
        assert fills_up(compile_network(network(own), backend="cupy")) is filled


@pytest.mark.process
def test_an_unreadable_image_takes_no_part_in_a_batch_that_is_combined(tmp_path: Path) -> None:
    """Three files of digits, the second broken: the layer that subtracts the mean gets the other two alone."""
    folder = models_folder() / "digits-lenet"
    listed = ImageList.load(folder / "test").head(3)
    paths = [tmp_path / f"{number}{path.suffix}" for number, path in enumerate(listed.paths)]
    for source, target in zip(listed.paths, paths, strict=True):
        shutil.copy(source, target)
    paths[1].write_bytes(b"no image")
    net = matnet.load(folder / "digits-lenet.mat")
    seen = []

    @dataclass(frozen=True, kw_only=True)
    class Counting(LessMean):
        def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
            seen.append(len(inputs[0]))
            return super().forward(xp, inputs, params)

    first = next(iter(net.layers.values()))
    net.add(Layer("own", Counting(), ["input"], ["centred"]))
    first.inputs = ["centred"]
    row = evaluate(net, replace(listed, paths=tuple(paths)), Preprocessing.from_meta(net.meta), backend="numpy")
    assert (row.images, seen) == (2, [2])
    assert any("'own'" in note for note in row.notes)


# -- each fact reaches its reader -------------------------------------------------------------------


def test_half_precision_reaches_the_gpu() -> None:
    """float16 between the convolution and what else may be float16; an op that does not say so gives float32."""
    for own, dtype in ((Twice(), "float16"), (LessMean(), "float32")):
        plan = lower(network(own), {"x": X}, ["c"], "fp16")
        written = {blob.name: blob.dtype for step in plan.steps for blob in step.writes}
        assert (written["a"], written["b"]) == ("float16", dtype)


def test_sizes_that_depend_on_values_reach_the_gpu() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Positive(LessMean):
        sizes_depend_on_values = True

    assert why_layer_by_layer(network(LessMean())) is None
    assert "'own'" in (why_layer_by_layer(network(Positive())) or "")


def test_channels_reach_the_reader_of_meta() -> None:
    net = Network()
    net.params["filters"] = Param(FILTERS)
    net.add(Layer("own", Twice(), ["x"], ["a"]))
    net.add(Layer("conv", Conv(hasBias=False), ["a"], ["b"], ["filters"]))
    assert input_channels(net, "x") == 6
    net.layers["own"].op = LessMean()
    assert input_channels(net, "x") is None


def test_family_reaches_the_drawing() -> None:
    net = network(Twice())
    table = network_table(net, inputs={"x": X})
    assert [family(row) for row in table.layers] == ["convolution", "pooling", "activation"]


def test_fields_of_a_users_layer_are_shown_whatever_their_names() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Named(Twice):
        size: int = 1
        rate: float = 0.5
        epsilon: float = 0.0
        method: str = "usual"
        dilate: int = 1

    table = network_table(network(Named(size=3, rate=0.1, epsilon=1e-3, method="other", dilate=2)), inputs={"x": X})
    assert table.layers[1].settings == "size 3, rate 0.1, epsilon 0.001, method other, dilate 2"


def test_filters_reach_the_table_of_layers() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Banked(LessMean):
        has_filters = True

    net = network(Banked())
    net.layers["own"] = replace(net.layers["own"], params=["filters"])
    assert [row.filters for row in network_table(net, inputs={"x": X}).layers] == [FILTERS.shape, FILTERS.shape, None]


# -- a subclass of matnet's own op that computes something else ------------------------------------

BASES: dict[type[Op], list[Shape]] = {
    ReLU: [], DropOut: [], SoftMax: [], LRN: [], Pooling: [], BatchNorm: [(8, 1), (8, 1), (8, 2)],
    Conv: [(1, 1, 8, 8), (8, 1)],
}  # fmt: skip


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("backend", ["numpy", "onnx", "cupy"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_subclass_with_another_forward_pass_is_another_layer(
    base: type[Op], backend: str, precision: str, emulated: None
) -> None:
    """It is not dropped, folded, fused or computed by the kernel of the class from which it inherits its fields."""
    if precision == "fp16" and backend != "cupy":
        return

    @dataclass(frozen=True, kw_only=True)
    class Own(base):  # type: ignore[misc, valid-type]
        def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
            return [inputs[0] - inputs[0].mean(axis=0, keepdims=True)]

    if backend == "onnx" and not available():
        pytest.skip("onnxruntime is not installed")
    net = network(LessMean())
    params = [np.random.default_rng(4).uniform(0.5, 2, shape).astype(np.float32) for shape in BASES[base]]
    net.params.update({f"own{number}": Param(value) for number, value in enumerate(params)})
    names = [f"own{number}" for number in range(len(params))]
    net.layers["own"] = replace(net.layers["own"], op=Own(), params=names)
    x = values(*X)
    engine = compile_network(net, backend=backend, precision=precision)
    assert_close(engine(x)["c"], expected(x, LessMean()), 1e-4 if precision == "fp32" else 1e-2, "c")
