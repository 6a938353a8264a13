"""Fixtures: a machine with one GPU of stand-ins, whose kernels the processor runs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from matnet.engines.cupy import device, kernels
from matnet.engines.cupy import engine as engine_module
from matnet.engines.cupy.kernels import elementwise, normalization, pooling, sampling
from matnet.engines.cupy.probe import Gpu
from tests import fake_cuda
from tests.cuda_on_cpu import COMPILER, Processor


@pytest.fixture(scope="session")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Processor:
    """A processor that keeps what it compiled for all tests."""
    if COMPILER is None:
        pytest.skip("g++ is not installed, which compiles the kernels")
    found = Processor(tmp_path_factory.mktemp("kernels"))
    if not found.usable():
        pytest.skip("g++ cannot compile the stand-in for CUDA: it needs _Float16 (g++ 12 for x86) and ucontext.h")
    return found


@pytest.fixture
def machine(processor: Processor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A machine with one GPU of stand-ins; its `cupy`, `cudnn` and `cublas`."""
    cupy, cudnn, cublas = fake_cuda.Cupy(), fake_cuda.Cudnn(), fake_cuda.Cublas()
    gpu = Gpu(0, "stand-in", (9, 0), 1 << 34, 13000, 13000)
    monkeypatch.setattr(engine_module, "find_gpu", lambda index=None, precision="fp32": gpu)
    monkeypatch.setattr(device, "import_cupy", lambda: cupy)
    monkeypatch.setattr(device, "import_cudnn", lambda runtime: cudnn)
    monkeypatch.setattr(device, "load_library", lambda runtime: cublas)
    monkeypatch.setattr(fake_cuda.Recording, "actions", None)
    monkeypatch.setenv("MATNET_HOME", str(tmp_path))
    pinned = SimpleNamespace(empty_pinned=np.empty, zeros_pinned=np.zeros)
    monkeypatch.setitem(sys.modules, "cupyx", pinned)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for module in (elementwise, normalization, pooling, sampling, kernels):
        monkeypatch.setattr(module, "start", lambda launch: fake_cuda.enqueue(lambda: processor.start(launch)))
    return SimpleNamespace(cupy=cupy, cudnn=cudnn, cublas=cublas, folder=tmp_path)
