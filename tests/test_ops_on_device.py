"""Every op through `xp` = a stand-in for CuPy: whole networks of MatConvNet and Caffe, and what the stand-in refuses.

Results must be numpy's, bit by bit, since the stand-in computes with numpy; numpy's own are held against
MatConvNet's and Caffe's numbers elsewhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matnet.convert import main as convert_main
from matnet.engines.numpy_engine import NumpyEngine
from matnet.ops import REGISTRY
from matnet.run import main as run_main
from tests import device_double
from tests.conftest import DATA, conformance_cases
from tests.device_double import FUNCTIONS, METHODS, DeviceArray, xp

MATCONVNET = [f"{kind}/{name}" for kind in ("matconvnet", "metrics") for name in conformance_cases(kind)]


@pytest.fixture
def on_both(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lets the numpy engine run every layer with the double as well; the types of the layers that ran."""
    ran: list[str] = []

    def run(self: NumpyEngine, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for layer in self.layers:
            params = [self.net.params[name].value for name in layer.params]
            results = device_double.forward(layer.op, [values[name] for name in layer.inputs], params)
            values.update(zip(layer.outputs, results, strict=False))
            ran.append(layer.type_name)
        return values

    monkeypatch.setattr(NumpyEngine, "run", run)
    return ran


@pytest.mark.process
@pytest.mark.parametrize("case", MATCONVNET)
def test_matconvnet_networks(case: str, on_both: list[str], tmp_path: Path) -> None:
    folder, out = DATA / case, tmp_path / "out.npz"
    assert run_main([str(folder / "model.mat"), str(folder / "io.npz"), str(out), "--all", "--layout", "hwcn"]) == 0
    assert on_both


@pytest.mark.process
@pytest.mark.parametrize("case", conformance_cases("caffe"))
def test_caffe_networks(case: str, on_both: list[str], tmp_path: Path) -> None:
    folder, model = DATA / "caffe" / case, tmp_path / "net.mat"
    files = ["--prototxt", str(folder / "deploy.prototxt"), "--caffemodel", str(folder / "weights.caffemodel")]
    assert convert_main([*files, "--color-format", "rgb", "--no-simplify", "--out", str(model)]) == 0
    assert run_main([str(model), str(folder / "io.npz"), str(tmp_path / "out.npz"), "--all"]) == 0
    assert on_both


def test_the_ops_that_use_the_host() -> None:
    """Boxes, lattices, losses, sequences, indices to check, unknown sizes; all others can be replayed as a graph."""
    assert {op.__name__ for op in REGISTRY if op.uses_host} == {
        "BatchReindex", "BoxGroupOutput", "BoxOutput", "CTCGreedyDecoder", "DenseCRF", "DetectionOutput", "Embed",
        "Filter", "FrcnnOutput", "Loss", "MultiStageMeanfield", "PSROIPooling", "PriorBox", "Proposal", "ROIAlign",
        "ROIPooling", "Unpooling", "YoloDetectionOutput",
    }  # fmt: skip


def test_the_double_offers_what_cupy_has() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    assert not [name for name in FUNCTIONS if not hasattr(cupy, name)]
    assert not [name for name in METHODS if not hasattr(cupy.ndarray, name)]
    assert hasattr(cupy.lib.stride_tricks, "sliding_window_view")


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_doubles_keywords_are_cupys(name: str) -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    function = getattr(cupy, name)
    if isinstance(function, cupy.ufunc) or name == "matmul":  # written in C: their keywords are those of all ufuncs
        return
    known = inspect.signature(function).parameters
    open_ended = any(item.kind is item.VAR_KEYWORD for item in known.values())
    assert open_ended or set(FUNCTIONS[name].split()) <= set(known)


HOST, DEVICE = np.ones((2, 3), np.float32), xp.asarray(np.ones((2, 3), np.float32))
REFUSED: dict[str, Callable[[], Any]] = {
    "conversion": lambda: np.asarray(DEVICE),
    "a numpy ufunc": lambda: np.exp(DEVICE),
    "a numpy function": lambda: np.concatenate([DEVICE, DEVICE]),
    "numpy on the left": lambda: HOST * DEVICE,
    "numpy on the right": lambda: DEVICE * HOST,
    "numpy in a function": lambda: xp.maximum(DEVICE, HOST),
    "numpy in a list": lambda: xp.concatenate([DEVICE, HOST]),
    "numpy as an index": lambda: DEVICE[np.array([0])],
    "assigning numpy": lambda: DEVICE.__setitem__(0, HOST[0]),
    "a keyword": lambda: xp.pad(DEVICE, 1, reflect_type="odd"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_double_refuses_what_cupy_refuses(what: str) -> None:
    with pytest.raises(TypeError):
        REFUSED[what]()


def test_the_double_lacks_what_cupy_lacks() -> None:
    with pytest.raises(AttributeError, match="fromiter"):
        xp.fromiter([1.0], xp.float32)
    with pytest.raises(AttributeError, match="tobytes"):
        DEVICE.tobytes()


def test_the_double_keeps_scalars_on_the_device_and_counts_what_crosses() -> None:
    with device_double.watched() as crossings:
        total = (np.float32(2) * DEVICE).sum()
        assert isinstance(total, DeviceArray) and total.shape == ()
        assert not crossings
        assert float(total) == 12
        DEVICE[DEVICE > 0]
        xp.asarray(HOST)
        assert crossings == ["item", "nonzero", "upload"]
