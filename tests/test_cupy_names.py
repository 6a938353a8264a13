"""Every name of CuPy that the GPU engine uses exists in CuPy; the calls themselves are tested on stand-ins."""

from __future__ import annotations

import ast
import ctypes
import inspect
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import matnet.engines.cupy as package
from matnet.engines.cupy import blas

MODULES = ("cupy", "cupyx")


def chains(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """Names looked up in the module: cupy.a.b, self.cupy.a.b, self._device.cupy.a ... as (cupy, a, b)."""
    for node in ast.walk(tree):
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            parts.insert(0, node.id)
        found = [n for n, part in enumerate(parts) if part.lstrip("_") in MODULES]
        if found and parts[found[-1] + 1 :]:
            yield (parts[found[-1]].lstrip("_"), *parts[found[-1] + 1 :])


def used() -> set[tuple[str, ...]]:
    folder = Path(package.__file__).parent
    trees = [ast.parse(path.read_text()) for path in folder.rglob("*.py")]
    return {chain for tree in trees for chain in chains(tree)}


def test_names_exist() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    import cupyx

    missing = []
    for name, *attributes in sorted(used()):
        place = {"cupy": cupy, "cupyx": cupyx}[name]
        for attribute in attributes:
            if not hasattr(place, attribute):
                missing.append(".".join([name, *attributes]))
                break
            place = getattr(place, attribute)
    assert not missing
    assert ("cupy", "cuda", "MemoryPool") in used()


def test_arguments_are_cupys() -> None:
    """Those that are given by name, and those of Cython functions, as their docstrings have them."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    named = {
        cupy.cuda.Event: ("block", "disable_timing"),
        cupy.cuda.Stream: ("non_blocking",),
        cupy.cuda.MemoryPool.set_limit: ("size",),
        cupy.cuda.MemoryPool.total_bytes: ("self",),
        cupy.cuda.MemoryPointer.copy_from_host_async: ("mem, size_t size, stream=None",),
        cupy.cuda.MemoryPointer.copy_to_host_async: ("mem, size_t size, stream=None",),
        cupy.cuda.Graph.launch: ("stream=None",),
        cupy.cuda.Graph.upload: ("stream=None",),
        cupy.cuda.Stream.wait_event: ("event",),
    }
    for function, names in named.items():
        text = inspect.getdoc(function) or ""
        assert all(name in text for name in names), f"{function}: {text[:300]}"
    assert {"a", "dtype"} <= set(inspect.signature(cupy.asarray).parameters)


def test_the_functions_of_cublas_are_as_its_header_declares_them() -> None:
    """Number and kind of every argument, from cublas_api.h of the package nvidia-cublas."""
    places = [Path(place) for place in getattr(find_spec("nvidia"), "submodule_search_locations", None) or ()]
    headers = [header for place in places for header in place.glob("*/include/cublas_api.h")]
    if not headers:
        pytest.skip("nvidia-cublas is not installed")
    text = re.sub(r"/\*.*?\*/", "", headers[0].read_text(), flags=re.DOTALL)
    for name, types in blas.SIGNATURES.items():
        declared = re.search(rf"cublasStatus_t CUBLASWINAPI {name}\(([^)]*)\)", text)
        assert declared, name
        arguments = [" ".join(part.split()) for part in declared[1].split(",")]
        assert len(arguments) == len(types), name
        for argument, kind in zip(arguments, types, strict=True):
            pointer = "*" in argument or "cublasHandle_t" in argument or "cudaStream_t" in argument
            size = ctypes.c_size_t if "size_t" in argument else ctypes.c_int
            assert ctypes.sizeof(kind) == ctypes.sizeof(ctypes.c_void_p if pointer else size), argument
    numbers = dict(re.findall(r"(CUBLAS_\w+) = (-?\d+)", text))
    assert int(numbers["CUBLAS_COMPUTE_32F"]) == blas.FULL
    assert int(numbers["CUBLAS_COMPUTE_32F_FAST_TF32"]) == blas.FAST_TF32
    assert (int(numbers["CUBLAS_OP_N"]), int(numbers["CUBLAS_OP_T"])) == (blas.NO_TRANSPOSE, blas.TRANSPOSE)
