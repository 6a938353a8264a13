"""Every name of CuPy that the GPU engine uses exists in CuPy; the calls themselves are tested on stand-ins."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import matnet.engines.cupy as package

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
    """Those that are given by name, and those of Cython functions, whose docstrings tell them."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    told = {
        cupy.cuda.Event: ("block", "disable_timing"),
        cupy.cuda.Stream: ("non_blocking",),
        cupy.cuda.MemoryPool.set_limit: ("size",),
        cupy.cuda.cublas.gemmEx: (
            "handle, int transa, int transb, int m, int n, int k, size_t alpha, size_t A, int Atype, int lda, "
            "size_t B, int Btype, int ldb, size_t beta, size_t C, int Ctype, int ldc, int computeType, int algo",
        ),
        cupy.cuda.MemoryPointer.copy_from_host_async: ("mem, size_t size, stream=None",),
        cupy.cuda.MemoryPointer.copy_to_host_async: ("mem, size_t size, stream=None",),
        cupy.cuda.Graph.launch: ("stream=None",),
        cupy.cuda.Graph.upload: ("stream=None",),
        cupy.cuda.Stream.wait_event: ("event",),
    }
    for function, names in told.items():
        text = inspect.getdoc(function) or ""
        assert all(name in text for name in names), f"{function}: {text[:300]}"
    assert {"a", "dtype"} <= set(inspect.signature(cupy.asarray).parameters)
