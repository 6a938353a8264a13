"""Every code block of README and docs runs as it is pasted, in order, from a fresh clone, or carries a visible mark."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import matnet.formats.onnx.extensions  # noqa: F401 - EXPORTERS is whole before a page adds to it
from matnet.__main__ import main as matnet_main
from matnet.__main__ import module_of
from matnet.command_line import run_command
from matnet.formats.onnx import EXPORTERS
from matnet.ops import REGISTRY

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for path in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/examples/*.md")]
    if path.name not in ("changelog.md", "contributing.md")  # generated from files at the top
)
OPTIONAL = ("torch", "sklearn", "openvino", "onnx2torch")
"""Packages that are no part of [test]: a block that needs one is skipped by name where it is not installed."""
NEEDS = {
    "torch": re.compile(
        r"^(import|from) torch|from matnet\.torch|to_torch\(|--to-torch|plots\.(dream|class_image)", re.MULTILINE
    ),
    "sklearn": re.compile(r"^(import|from) sklearn", re.MULTILINE),
    "openvino": re.compile(r"^import openvino", re.MULTILINE),
    "onnx2torch": re.compile(r"^import onnx2torch", re.MULTILINE),
}

LANGUAGES = {"sh", "console", "python", "{code-cell} ipython3"}
NOT_RUN = {"powershell", "matlab"}  # their language is their mark
MARKS = ("gpu", "data", "network", "slow")
PLAIN = {"", "text", "prototxt"}  # not code
DIRECTIVES = re.compile(r"\{(toctree|figure|gallery|include|image|note|math)\}")

COUNTED = {"data": 18, "gpu": 4, "matlab": 2, "network": 13, "powershell": 1, "slow": 4}
"""How many blocks carry each mark."""


@dataclass(frozen=True)
class Block:
    """A fenced block: the number of its first line of code, its language, its text, and its mark or nothing."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def mark(self) -> str:
        """`# data: ...` in the first line; the language where nothing here speaks it."""
        if self.language in NOT_RUN:
            return self.language
        found = re.match(r"# (\w+): \S", self.text)
        if found and found[1] in MARKS:
            return found[1]
        first = self.page.name == "README.md" and self.line == first_shell_line(self.page)
        return "network" if first else ""  # the two commands that install matnet, which .ci/run runs


def first_shell_line(page: Path) -> int:
    return page.read_text(encoding="utf-8").split("```sh\n")[0].count("\n") + 2


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page; options of a notebook's cell (`:tags: ...`) are left out."""
    fence, language, start, held = "", "", 0, [""]
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        opening = re.match(r"(`{3,}|~{3,})(.*)$", line)
        if not fence and opening:
            fence, language, start, held = opening[1], opening[2].strip(), number + 1, []
        elif fence and line.strip() == fence:
            if not DIRECTIVES.match(language):
                code = [text for text in held if not text.startswith(":")] if "{" in language else held
                yield Block(page, start, language, "\n".join(code) + "\n")
            fence = ""
        else:
            held.append(line)
    assert not fence, f"{page}: the block that begins in line {start} has no end"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that holds what a clone holds, for commands to write into; what pages register is forgotten."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name not in ("build", "dist"):
            (folder / path.name).symlink_to(path)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MATNET_OFFLINE", "1")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    tables: list[dict[Any, Any]] = [REGISTRY.dagnn, REGISTRY.simplenn, REGISTRY.caffe, EXPORTERS]
    if "matnet.torch" in sys.modules:
        tables.append(sys.modules["matnet.torch"].TRANSLATIONS)
    kept = [dict(table) for table in tables]
    yield folder
    for table, before in zip(tables, kept, strict=True):
        table.clear()
        table.update(before)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def pages_to_run() -> list[Any]:
    """The pages with code; those whose commands start processes, or compute for seconds, carry the mark."""
    return [
        pytest.param(page, id=name_of(page), marks=pytest.mark.process if SLOW.search(page.read_text()) else ())
        for page in PAGES
        if any(block.language in LANGUAGES and not block.mark for block in blocks(page))
    ]


SLOW = re.compile(r"--workers|doctor .*/test|benchmarks|Newton|evaluate\(")


@pytest.mark.process
@pytest.mark.parametrize("page", pages_to_run())
def test_the_code_of_a_page_runs(page: Path, clone: Path) -> None:
    """In order, with one namespace for the page; blocks that need a package which is absent are skipped by name."""
    names: dict[str, Any] = {"__name__": "__main__"}
    absent, table = "", right_column(page)
    for block in blocks(page):
        if block.language not in LANGUAGES or block.mark:
            continue
        where = f"{name_of(page)}:{block.line}"
        needed = [name for name in OPTIONAL if NEEDS[name].search(block.text) and find_spec(name) is None]
        if needed or (absent and block.language.startswith(("python", "{"))):  # later Python uses what was skipped
            absent = absent or f"{where}: {needed[0]} is not installed"
        elif block.language == "sh":
            for command in commands(block.text):
                assert run(command, where)[0] == 0, f"{where}: {command}"
        elif block.language == "console":
            check_session(block, where)
        else:
            exec(compile("\n" * (block.line - 1) + block.text, name_of(page), "exec"), names)
            for code in table:
                exec(compile(code, f"{name_of(page)}, table", "exec"), names)
    if absent:
        pytest.skip(absent)


def right_column(page: Path) -> Iterator[str]:
    """The code in the last column of the tables of `from-...` pages, row by row."""
    if page.name.startswith("from-"):
        for row in re.findall(r"^\| `.*\| (.*) \|$", page.read_text(encoding="utf-8"), re.MULTILINE):
            found = re.fullmatch(r"`([^`]+)`", row)
            assert found, f"{page}: not code: {row}"
            yield found[1]


def commands(text: str) -> list[str]:
    """The commands of a shell block, lines that end in a backslash joined."""
    joined = text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if shlex.split(line, comments=True)]


def run(command: str, where: str) -> tuple[int, str]:
    """The exit status and the standard output of a command of matnet, run in this process."""
    words = shlex.split(command, comments=True)
    if words[0] == "cp":
        shutil.copy(words[1], words[2])
        return 0, ""
    if words[:2] == ["python", "-m"]:
        words = words[2].split(".", 1) + words[3:]
    assert words[0] == "matnet", f"{where}: not a command of matnet; give the block a mark: {command}"
    verb, arguments = (words[1], words[2:]) if len(words) > 1 else ("", [])
    written = io.StringIO()
    with redirect_stdout(written):
        if module_of(verb) is not None:
            status = run_command(import_module(module_of(verb) or "").main, arguments)
        elif "." in verb:
            status = run_command(import_module(f"matnet.{verb}").main, arguments)
        else:
            status = run_command(matnet_main, words[1:])
    return status, written.getvalue()


def check_session(block: Block, where: str) -> None:
    """Commands after `$ `, each with the output that must follow it."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        status, output = run(command, where)
        assert status == 0, f"{where}: {command}"
        assert output.rstrip() == expected.rstrip(), f"{where}: {command}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    known = LANGUAGES | NOT_RUN | PLAIN
    assert [(block.line, block.language) for block in blocks(page) if block.language not in known] == []
    code = re.compile(r"^(\$ )?(matnet|python|pip|import|from) ", re.MULTILINE)
    assert [block.line for block in blocks(page) if block.language in PLAIN and code.search(block.text)] == []


def test_the_marks_are_counted() -> None:
    """A block that does not run here is a decision: it changes this table."""
    found = Counter(block.mark for page in PAGES for block in blocks(page) if block.mark)
    assert dict(sorted(found.items())) == COUNTED


def test_files_that_pages_name_exist() -> None:
    """Files below models/ that the code of a page names are there."""
    missing = [
        (name_of(page), path)
        for page in PAGES
        for block in blocks(page)
        for path in re.findall(r"(?<![\w/.])models/[a-z0-9][\w./-]*\w", block.text)
        if block.language in LANGUAGES and not (ROOT / path).exists()
    ]
    assert missing == []
