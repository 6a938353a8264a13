"""The GPU engine as far as no GPU is needed: lowering, fusing, layouts and memory, proved by carrying the steps out.

Expected numbers are MatConvNet's and Caffe's own, or numpy's through the ops; numpy stands in for the libraries.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.engines.cupy import engine as engine_module
from matnet.engines.cupy.probe import Gpu
from matnet.run import main as run_main
from tests.conftest import DATA, assert_close, conformance_cases
from tests.emulated_gpu import EmulatedDevice
from tests.helpers import full

TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2}  # of the greatest value; float16 keeps 11 bits from layer to layer
MATCONVNET = [f"matconvnet/{name}" for name in conformance_cases("matconvnet")]
MATCONVNET += [f"metrics/{name}" for name in conformance_cases("metrics")]
X = (2, 6, 7, 11)


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backend cupy finds a GPU, on which numpy carries the steps out."""
    gpu = Gpu(0, "emulated", (9, 0), 1 << 34, 13000, 13000)
    monkeypatch.setattr(engine_module, "find_gpu", lambda index=None, precision="fp32": gpu)
    monkeypatch.setattr(engine_module, "GpuDevice", EmulatedDevice)


@pytest.mark.process
@pytest.mark.parametrize(("which", "precision"), [("--all", "fp32"), ("outputs", "fp32"), ("outputs", "fp16")])
@pytest.mark.parametrize("case", MATCONVNET)
def test_matconvnet_cases(case: str, which: str, precision: str, tmp_path: Path) -> None:
    """All variables, which leaves nothing to fuse, and the outputs alone, which leaves everything."""
    folder, out = DATA / case, tmp_path / "out.npz"
    arguments = [str(folder / "model.mat"), str(folder / "io.npz"), str(out), "--layout", "hwcn", "--backend", "cupy"]
    arguments += ["--precision", precision]
    assert run_main([*arguments, *([which] if which == "--all" else [])]) == 0
    with np.load(out) as found, np.load(folder / "io.npz") as reference:
        names = [name for name in reference.files if name.startswith("out__") and name in found.files]
        assert names
        for name in names:
            assert_close(full(found[name]), full(reference[name]), TOLERANCES[precision], name)


@cache
def converted(case: str) -> matnet.Network:
    folder = DATA / "caffe" / case
    return matnet.convert_caffe(folder / "deploy.prototxt", folder / "weights.caffemodel", color_format="rgb")


@pytest.mark.parametrize(
    "options",
    [{}, {"precision": "fp16"}, {"cudnn": False}, {"fused": False}],
    ids=["cudnn", "fp16", "cupy alone", "one by one"],
)
@pytest.mark.parametrize("case", conformance_cases("caffe"))
def test_caffe_cases(case: str, options: dict[str, Any]) -> None:
    folder = DATA / "caffe" / case
    net = converted(case).copy()
    with np.load(folder / "io.npz") as io:
        inputs = {name[4:]: full(io[name]).astype(np.float32) for name in io.files if name.startswith("in__")}
        expected = {name[5:]: full(io[name]) for name in io.files if name.startswith("out__")}
    wanted = [name for name in expected if name in net.variables or name in net.aliases]
    for names in (wanted, wanted[-1:]):  # all blobs, which leaves nothing to fold, and the last one alone
        found = net.forward(inputs, names, backend="cupy", **options)
        for name in names:
            assert_close(found[name], expected[name], TOLERANCES[options.get("precision", "fp32")], name)
