"""What the modules of the package import, read from their source."""

from __future__ import annotations

import ast
import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matnet

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(matnet.__file__).parent
LINKED = ("benchmarks", "converters", "models")
HEAVY = ("cudnn", "cupy", "dask", "deflate", "h5py", "matplotlib", "onnx", "onnxruntime", "PIL", "pooch", "requests")
HEAVY += ("scipy", "tabulate", "torch", "tqdm", "yaml")


class Import(NamedTuple):
    """One imported name: its dotted path, its line, and whether it waits for a function to be called."""

    name: str
    line: int
    lazy: bool


class ImportFinder(ast.NodeVisitor):
    """Collects all imports of a module, except those that only a type checker sees."""

    def __init__(self) -> None:
        self.found: list[Import] = []
        self.functions = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.functions += 1
        self.generic_visit(node)
        self.functions -= 1

    def visit_If(self, node: ast.If) -> None:
        for child in node.orelse if "TYPE_CHECKING" in ast.unparse(node.test) else [*node.body, *node.orelse]:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [Import(alias.name, node.lineno, self.functions > 0) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = f"{'.' * node.level}{node.module or ''}"
        names = [f"{module}.{alias.name}" for alias in node.names]
        self.found += [Import(name, node.lineno, self.functions > 0) for name in names]


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name; the folders of models are data."""
    found = {}
    beside = [folder for name in LINKED if not (PACKAGE / name).is_dir() for folder in [ROOT / name]]  # no links
    for top in [PACKAGE, *beside]:
        for folder, subfolders, files in os.walk(top, followlinks=True):
            subfolders[:] = [name for name in subfolders if name not in ("models", "__pycache__")]
            for path in (Path(folder, name) for name in files if name.endswith(".py")):
                inside = path.relative_to(top) if top == PACKAGE else path.relative_to(ROOT)
                dotted = ".".join(["matnet", *inside.with_suffix("").parts])
                found[dotted.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def imports(module: str) -> list[Import]:
    finder = ImportFinder()
    finder.visit(modules()[module])
    return finder.found


def imported_module(name: str) -> str:
    """The module of the package that `name` is, or stands in."""
    while name not in modules():
        name = name.rpartition(".")[0]
    return name


def is_command(module: str) -> bool:
    """Whether `python -m` runs it."""
    return any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in modules()[module].body)
