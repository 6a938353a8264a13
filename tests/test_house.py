"""The house rules: who imports whom, what `import matnet` costs, and that the documents say what is there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from matnet.__main__ import VERBS
from matnet.converters.lower.python_layers import MODULES as PYTHON_MODULES
from matnet.converters.lower.python_layers import PYTHON
from matnet.converters.lower.registry import LOWERINGS, MODULES
from matnet.converters.lower.registry import places as lowered
from matnet.ops import REGISTRY
from matnet.ops.modules import DAGNN, SIMPLENN, places
from tests.imports import HEAVY, LINKED, PACKAGE, imported_module, imports, is_command, modules
from tests.op_cases import CASES

ROOT = Path(__file__).resolve().parents[1]

# What each room may import from the others when it is loaded: the table of docs/architecture.md.
BASE = {"errors", "keywords", "lazy", "kinds", "files", "foreign", "mapped", "shapes", "layout", "finite"}
MAY_IMPORT: dict[str, set[str]] = {
    "interrupts": set(),
    "errors": set(),
    "command_line": {"errors", "interrupts", "outcomes"},
    "lazy": set(),
    "keywords": {"errors"},
    "outcomes": set(),
    "edits": set(),
    "protobuf": set(),
    "records": {"errors", "files"},
    "kinds": set(),
    "finite": {"errors"},
    "files": {"errors", "kinds", "mapped"},
    "foreign": {"errors", "kinds"},
    "mapped": {"errors"},
    "layer_files": {"errors"},
    "shapes": {"errors"},
    "layout": {"errors"},
    "ops": {"errors", "lazy", "shapes", "layout"},
    "params": {"errors", "edits"},
    "network": {"errors", "shapes", "ops", "edits", "params"},
    "formats.mat": {"errors", "kinds", "files", "foreign", "mapped"},
    "meta": {"errors", "shapes", "ops", "formats.mat"},
    "formats": BASE | {"ops", "network", "params", "meta", "formats.mat"},
    "formats.onnx": BASE | {"protobuf", "ops", "network", "meta", "formats.mat"},
    "torch": BASE | {"ops", "network", "meta"},
    "converters": BASE | {"protobuf", "ops", "network", "params", "meta", "formats.mat"},
    "engines": BASE | {"records", "ops", "network", "params", "meta", "edits"},
    "images": BASE | {"meta"},
    "comparison": BASE | {"ops", "network", "formats.mat"},
    "zoo": BASE | {"tables", "ops", "network", "params", "formats", "converters", "comparison", "records"}
    | {"command_line", "interrupts", "stated_options"},
    "datasets": BASE,
    "metrics": BASE | {"ops"},
    "tables": set(),
    "figures": {"errors"},
    "arrays": {"errors", "kinds", "files"},
    "display": BASE | {"ops", "network", "meta", "formats.mat", "tables"},
    "loading": {"errors", "kinds", "foreign", "keywords", "network"},
    "stated_options": {"errors"},
    "arguments": {"kinds", "", "errors", "meta", "network", "engines", "zoo", "loading", "stated_options"},
    "image_arguments": {"errors", "meta", "arguments", "stated_options"},
    "conversion_arguments": {"command_line", "errors", "kinds", "foreign", "formats", "converters", "arguments"}
    | {"stated_options"},
    "evaluation": BASE | {"ops", "network", "meta", "engines", "metrics", "zoo", "arguments", "image_arguments"}
    | {"interrupts", "layer_files", "outcomes", "records", "stated_options", "tables"},
    "answers": BASE | {"ops", "network", "meta", "formats.mat", "engines", "images", "datasets", "evaluation"}
    | {"arrays", "formats", "layer_files", "records", "tables"},
    "reproduction": BASE | {"", "engines", "zoo", "evaluation", "arguments", "outcomes", "records", "stated_options"}
    | {"command_line", "figures", "interrupts", "tables"},
}
# What a function may import besides: a Network calls on these when asked to run, or to show itself.
# The CPU engine hands its runtime ONNX models. ImageNet's development kit states its classes in a MAT file.
ALSO_WHEN_CALLED = {
    "command_line": {"layer_files"},
    "network": {"meta", "engines", "answers", "images", "formats", "formats.onnx", "display", "torch"},
    "engines": {"formats.onnx"},
    "datasets": {"formats.mat"},
    "converters": {"datasets"},
    "arrays": {"layout", "formats", "formats.mat"},
    "loading": {"meta", "formats", "converters", "zoo", "answers"},
    "image_arguments": {"images", "converters"},
    "evaluation": {"", "datasets"},
    "answers": {"converters", "display", "zoo"},
    "zoo": {"engines"},
    "reproduction": {"datasets", "formats", "images"},
    "torch": {"", "images"},
}
# The public face, the benchmarks, the doctor, the page and pictures may import every room, as the commands may.
EVERYTHING = {"", "benchmarks", "demo", "doctor", "plots"}
# Modules of another room.
BESIDE = {"names": "network", "inference": "network", "graph": "network", "samples": "network"}
NUMPY_ALONE = ("errors", "shapes", "layout", "ops", "params", "network")


def room(module: str) -> str:
    """The part of the package that the module belongs to, such as `ops`; "" is the public face."""
    parts = module.split(".")[1:]
    nested = ".".join(parts[:2])
    alone = ".".join(parts[:1])
    return nested if nested in ("formats.mat", "formats.onnx") else BESIDE.get(alone, alone)


def first_line(tree: ast.Module) -> str:
    """The first line of a module's docstring; empty where it has none."""
    return (ast.get_docstring(tree, clean=False) or "").split("\n")[0].strip()


@pytest.mark.process
@pytest.mark.parametrize("own", sorted(MAY_IMPORT))
def test_a_room_imports_only_what_it_may(own: str) -> None:
    inhabitants = [name for name in modules() if room(name) == own]
    assert inhabitants, "no such room; mend the table"
    wrong = []
    for module in inhabitants:
        for item in imports(module):
            other = room(imported_module(item.name)) if item.name.startswith("matnet.") else own
            allowed = MAY_IMPORT[own] | (ALSO_WHEN_CALLED.get(own, set()) if item.lazy else set())
            if other != own and other not in allowed:
                wrong.append(f"{module}, line {item.line}: {item.name}")
    assert not wrong, f"{own} may import {', '.join(sorted(MAY_IMPORT[own]))}"


def test_every_room_is_in_the_table() -> None:
    missing = {room(module) for module in modules() if not is_command(module)} - MAY_IMPORT.keys() - EVERYTHING
    assert not missing, "state in MAY_IMPORT what they may import"


def test_the_map_of_the_architecture_names_every_part() -> None:
    shown = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1]
    parts = {name.split(".")[1] for name in modules() if "." in name and not is_command(name)}
    assert not {part for part in parts if not re.search(rf"\b{part}\b", shown)}


@pytest.mark.process
@pytest.mark.parametrize("name", ["dagnn.Conv", "dagnn.Proposal"])
def test_a_name_of_an_op_that_is_not_loaded_is_taken(name: str) -> None:
    code = f"""
from dataclasses import dataclass
from matnet.errors import NetworkError
from matnet.ops import Op, REGISTRY, register
try:
    @register("{name}")
    @dataclass(frozen=True, kw_only=True)
    class Other(Op):
        pass
except NetworkError as error:
    print(error)
print(REGISTRY.dagnn["{name}"].__name__)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    own = name.removeprefix("dagnn.")
    assert name in found.stdout and f"registered by {own}" in found.stdout and found.stdout.split()[-1] == own


@pytest.mark.process
def test_nothing_imports_a_command() -> None:
    wrong = [
        f"{module}, line {item.line}: {item.name}"
        for module in modules()
        for item in imports(module)
        if item.name.startswith("matnet.") and is_command(imported_module(item.name))
    ]
    assert not wrong


def test_a_command_can_be_interrupted_before_it_loads_anything() -> None:
    """Its packages, which Python loads before it, need next to nothing, and its first statements are these."""
    light = ("matnet.errors.", "matnet.interrupts.", "matnet.lazy.")
    start = ["from matnet.interrupts import interruptible", "if __name__ == '__main__':\n    interruptible()"]
    late = []
    for command in filter(is_command, modules()):
        body = modules()[command].body[2:4]  # after the docstring and __future__
        if [ast.unparse(node) for node in body] != start:
            late.append(command)
        packages = [name for name in modules() if command.startswith(f"{name}.")]
        loaded = {item.name for name in packages for item in imports(name) if not item.lazy}
        late += [
            f"{command}: {name}"
            for name in loaded
            if not name.startswith(light) and name.split(".")[0] not in sys.stdlib_module_names
        ]
    assert not late


def test_tests_import_no_tests() -> None:
    """What two of them need stands in a module of helpers; a test module runs its tests wherever it is imported."""
    test_import = re.compile(r"^\s*(from|import) tests\.test_", re.MULTILINE)
    wrong = [path.name for path in ROOT.glob("tests/*.py") if test_import.search(path.read_text(encoding="utf-8"))]
    assert not wrong


SHARED_NAMES = {
    "LayerWriter": "what exporters of layers write to: of ONNX, of PyTorch",
    "NotExpressible": "what they raise where the other side has no such layer",
    "Scale": "the layer as an op, and as a module of torch",
}


@pytest.mark.process
def test_no_two_classes_share_a_name_without_a_reason() -> None:
    places: dict[str, list[str]] = {}
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(module)
    shared = {name: found for name, found in places.items() if len(found) > 1 and name not in SHARED_NAMES}
    assert not shared, "rename all but one, or state the reason in SHARED_NAMES"


@pytest.mark.process
def test_messages_name_the_program_that_the_person_used() -> None:
    """`errors.program` knows whether that is `matnet VERB` or `python -m matnet.VERB`; docstrings may state either."""
    spelled = re.compile(rf"`matnet ({'|'.join(VERBS)})\b|python -m matnet\.({'|'.join(VERBS)})\b(?!\.)")
    found = []
    for module, tree in modules().items():
        plain = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            f"{module}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and spelled.search(node.value)
            if id(node) not in plain and not module.startswith("matnet.benchmarks.")
        ]
    assert not found


@pytest.mark.process
def test_imports_are_absolute() -> None:
    relative = [name for name in modules() if any(item.name.startswith(".") for item in imports(name))]
    assert not relative


@pytest.mark.process
def test_the_core_needs_numpy_alone() -> None:
    core = [name for name in modules() if room(name) in NUMPY_ALONE]
    outside = {item.name.split(".")[0] for name in core for item in imports(name)} - sys.stdlib_module_names
    assert outside <= {"matnet", "numpy"}


def test_every_module_says_what_it_is_for_in_its_first_line() -> None:
    silent = [name for name, tree in modules().items() if not first_line(tree)]
    assert not silent


def test_every_folder_of_modules_is_a_package() -> None:
    parents = {name.rpartition(".")[0] for name in modules()} - {""}
    assert parents <= set(modules()), "without __init__.py a folder is left out of the wheel"


@pytest.mark.process
@pytest.mark.parametrize("use", ["", "matnet.load, matnet.save, matnet.Network, matnet.ops"])
def test_import_loads_no_heavy_module(use: str) -> None:
    """Neither `import matnet` nor what it offers at first use needs more than numpy."""
    code = f"import sys, matnet; {use}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split())
    assert {"matnet", *(["numpy"] if use else [])} <= loaded
    assert not loaded.intersection(HEAVY)


@pytest.mark.process
def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = "import sys, matnet.images, matnet.datasets, matnet.metrics\nprint({'PIL', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Modules that `show` and `convert` of a .mat file do not need, and that take long to load.
NOT_AT_START = {"bz2", "difflib", "hashlib", "json", "lzma", "random", "shutil", "socket", "tempfile", "zipfile"}
NOT_AT_START |= {f"matnet.{name}" for name in ("engines.options", "images", "outcomes", "zoo.cards")}


@pytest.mark.process
@pytest.mark.parametrize("verb", ["show", "convert"])
def test_a_command_loads_only_what_it_uses(verb: str) -> None:
    """Besides what numpy loads; the network is a small .mat file."""
    code = "import sys, numpy; before = set(sys.modules)\n"
    code += f"from matnet.{verb} import main; main(sys.argv[1:])\nprint(*set(sys.modules) - before, file=sys.stderr)"
    network = str(ROOT / "models" / "digits-lenet" / "digits-lenet.mat")
    done = subprocess.run([sys.executable, "-c", code, network], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert f"matnet.{verb}" in loaded
    assert not loaded & NOT_AT_START


@pytest.mark.parametrize("name", LINKED)
def test_top_level_folders_are_part_of_the_package(name: str) -> None:
    if not (PACKAGE / name).is_dir():
        pytest.skip("a checkout without symbolic links")
    inside = {path.name for path in (PACKAGE / name).iterdir() if path.name != "__pycache__"}
    outside = {path.name for path in (ROOT / name).iterdir() if path.name != "__pycache__"}
    assert inside == outside
    assert inside


@pytest.fixture
def without_links(tmp_path: Path) -> Path:
    """A checkout as git makes it where there are no symbolic links: small files hold the links' texts."""
    (tmp_path / "matnet").mkdir()
    for path in PACKAGE.iterdir():
        if path.name not in (*LINKED, "__pycache__"):
            (tmp_path / "matnet" / path.name).symlink_to(path)
    for name in LINKED:
        (tmp_path / "matnet" / name).write_text(f"../{name}")
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run_in(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    places = {**os.environ, "PYTHONPATH": str(checkout), "MATNET_HOME": str(checkout / "home")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=checkout, env=places, capture_output=True, text=True, check=False
    )


@pytest.mark.process
def test_a_checkout_without_links_works(without_links: Path) -> None:
    done = run_in(without_links, "-m", "matnet.eval", "--limit", "3", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "digits-lenet" in done.stdout
    code = "import matnet.converters, matnet.benchmarks.timing as t; print(matnet.converters.__file__, t.__file__)"
    assert run_in(without_links, "-c", code).stdout.split() == [
        str(without_links / "converters" / "__init__.py"),
        str(without_links / "benchmarks" / "timing.py"),
    ]


@pytest.mark.process
@pytest.mark.parametrize("present", ["empty", "missing"])
def test_a_folder_without_cards_is_an_error(without_links: Path, present: str) -> None:
    (without_links / "models").unlink()
    if present == "empty":
        (without_links / "models").mkdir()
    done = run_in(without_links, "-m", "matnet.zoo", "list")
    assert done.returncode == 2
    assert str(without_links / "models") in done.stderr
    assert "Traceback" not in done.stderr


def test_type_checkers_know_the_public_names() -> None:
    """They read a literal `__all__`, and take what it lacks as private (PEP 484, "Stub Files")."""
    tree = ast.parse((ROOT / "matnet" / "__init__.py").read_text())
    stated = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and "__all__" in ast.unparse(node.targets[0])
    ]
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "matnet" in str(node.module)]
    names = {alias.asname or alias.name for node in found for alias in node.names}
    assert stated == [sorted(name for name in names if not name.startswith("_"))]


def test_the_readme_begins_with_two_commands() -> None:
    block = re.search(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block
    lines = block.group(1).splitlines()
    assert [line.split("&&")[-1].split()[:4] for line in lines] == [
        ["python", "-m", "matnet.eval"],
        ["python", "-m", "pytest", "-q"],
    ]


@pytest.mark.process
def test_the_readmes_python_runs_as_it_is_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the top of a checkout, with no name defined before; the picture is of a 7."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    *lines, last = blocks[0].strip().splitlines()
    exec("\n".join(lines), names)
    assert names["scores"].shape == (1, 10, 1, 1)
    assert {name: value.shape for name, value in names["features"].items()} == {
        "conv2": (1, 32, 4, 4),
        "ip1": (1, 64, 1, 1),
    }
    assert (tmp_path / "digits-dag.mat").is_file()
    assert eval(last, names).to_dicts()[0]["class"] == "7"


DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/**/*.md")])


def test_the_table_of_layer_types_is_what_the_modules_register() -> None:
    """Each name once, and in the module that registers it; no module is left out. The same for Caffe's types."""
    for table, known in ((DAGNN, REGISTRY.dagnn), (SIMPLENN, REGISTRY.simplenn)):
        names = [name for found in table.values() for name in found.split()]
        assert sorted(set(names)) == sorted(names)
        own = {name: op for name, op in known.items() if op.__module__.startswith("matnet.")}
        prefix = "dagnn." if table is DAGNN else ""
        assert {name: op.__module__ for name, op in own.items()} == places(table, prefix)
    for lowerings, own_modules in ((LOWERINGS, MODULES), (PYTHON, PYTHON_MODULES)):
        functions = {name: getattr(found, "function", found) for name, found in lowerings.items()}
        assert {name: function.__module__ for name, function in functions.items()} == lowered(own_modules)
    registering = {
        module
        for module, tree in modules().items()
        for node in tree.body
        if module.startswith("matnet.ops.") and isinstance(node, ast.ClassDef)
        if any(ast.unparse(decorator).startswith("register(") for decorator in node.decorator_list)
    }
    assert registering == {*places(DAGNN).values(), *places(SIMPLENN).values()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text())
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (document.parent / target).exists()] == []


def test_every_op_of_matnet_has_a_case() -> None:
    own = {op for op in REGISTRY if op.__module__.startswith("matnet.")}
    missing = own - {type(case.op) for case in CASES}
    assert not missing, f"add a case to tests/op_cases.py for each of {sorted(op.__name__ for op in missing)}"
