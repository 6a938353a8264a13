"""Small hostile things: cards that grow, damaged cards, escape characters, leftovers, absurd numbers of threads."""

from __future__ import annotations

import importlib
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import matnet
from matnet.command_line import run_command
from matnet.datasets.objects import read_annotation
from matnet.datasets.scan import image_sizes
from matnet.datasets.voc import read_labels
from matnet.engines import EngineOptions
from matnet.errors import EngineError, FileFormatError, MatnetError, printable
from matnet.files import atomic_write
from matnet.network import Layer
from matnet.ops.base import Unknown
from matnet.zoo import cards
from matnet.zoo.cards import all_cards, read_cards
from matnet.zoo.front_matter import read_front_matter, read_yaml
from matnet.zoo.model_info import import_info

GOOD = """---
name: A net
license: unknown
task: classification
format: simplenn
definition: unknown
citation: ["A. Author: A title."]
md5: {2016-09-30: 3513562d28089bd965cc050cbf8597a6}
---
"""


def laughs(levels: int) -> str:
    """Each list holds nine of the one before: 9 to the power of the levels."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]" for i in range(levels)]
    return "\n".join(lines)


HOSTILE = {
    "billion laughs": laughs(9),
    "merged billion laughs": "m0: &m0 {x: 1}\n"
    + "\n".join(f"m{i}: &m{i} {{<<: [{','.join([f'*m{i - 1}'] * 9)}]}}" for i in range(1, 10)),
    "an alias in itself": "a: &a [*a]",
    "nested too deep": "a: " + "[" * 20_000 + "]" * 20_000,
    "a tag that does not fit": "introduced: !!timestamp x",
    "a number that is none": "x: !!int ''",
    "code": "x: !!python/object/apply:os.system [ls]",
    "a key twice": "k: 1\nk: 2",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_front_matter_is_refused(case: str, tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text(f"---\n{HOSTILE[case]}\n---\n")
    with pytest.raises(FileFormatError, match=r"readme\.md"):
        read_front_matter(tmp_path / "readme.md")


def test_values_stay_what_is_written(tmp_path: Path) -> None:
    """YAML 1.2 (its core schema) knows neither dates nor numbers of base 60; YAML 1.1 makes 5430 of 1:30:30."""
    text = "[2016-09-30, 1:30:30, 59:59.5, 12, -3, 0.5, 1e3, 1.5e-3, .inf, true, null, 1_000, 0x1F, 017]"
    (tmp_path / "x.yaml").write_text(text)
    expected = ["2016-09-30", "1:30:30", "59:59.5", 12, -3, 0.5, 1000.0, 0.0015, float("inf"), True, None]
    assert read_yaml(tmp_path / "x.yaml") == [*expected, "1_000", "0x1F", "017"]


@pytest.mark.process
def test_fifty_thousand_keys_are_refused_in_a_page(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("---\n" + "".join(f"k{i}: 1\n" for i in range(50_000)) + "---\n")
    with pytest.raises(FileFormatError, match="more unknown fields") as caught:
        read_cards(tmp_path)
    assert len(str(caught.value)) < 10_000


@pytest.mark.process
def test_a_damaged_card_of_the_user_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MATNET_HOME", str(tmp_path))
    for name, text in (("good", GOOD), ("damaged", "---\n\tname\n---\n"), ("empty", ""), ("utf16", "\ufeff---\x00")):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "readme.md").write_text(text)
    cards.cards_in.cache_clear()
    with caplog.at_level(logging.WARNING, "matnet"):
        names = [card.name for card in all_cards()]
    assert "good" in names and "imagenet-vgg-f" in names
    assert not {"damaged", "empty", "utf16"} & set(names)
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert all(f"{name}/readme.md" in said for name in ("damaged", "empty", "utf16"))
    assert len(caplog.records) == 1


def test_a_terminal_gets_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b[2Jb\x9b31mc\x07d\te\nf\rg"

    def main(argv: list[str] | None) -> int:
        logging.getLogger("matnet.trial").warning(hostile)
        raise MatnetError(hostile)

    assert run_command(main, []) == 2
    said = capsys.readouterr().err
    assert not [
        character for character in said if (ord(character) < 32 and character not in "\t\n") or character == "\x9b"
    ]
    assert printable(hostile) == "a\\x1b[2Jb\\x9b31mc\\x07d\te\nf\\x0dg"


@pytest.mark.process
@pytest.mark.parametrize("command", ["show", "convert", "diff", "doctor"])
def test_names_of_a_network_bring_no_control_characters(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of layers, variables and unknown types, on stdout as on stderr."""
    net = matnet.Network()
    net.add(Layer("a\x1b[2J", Unknown(kind="dagnn.Foo\x1b[31m"), ["x\x1b[2J"], ["y\x9b2J"]))
    net.source.format = "dagnn"
    path = matnet.save(net, tmp_path / "net.mat", format="dagnn")
    main = importlib.import_module(f"matnet.{command}.__main__" if command == "doctor" else f"matnet.{command}").main
    assert run_command(main, [str(path), *([str(path)] if command == "diff" else [])]) in (0, 1)
    said = capsys.readouterr()
    assert "Foo" in said.out or command == "diff"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", said.out + said.err)


@pytest.mark.process
@pytest.mark.skipif(os.name != "posix", reason="whether a process exists is asked where that does not end it")
def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\nfrom matnet.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n    file.write(b'half')\n    file.flush()\n    print(flush=True)\n"
        "    time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "x.mat")], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    with atomic_write(tmp_path / "x.mat") as file:
        file.write(b"other")
    assert len(list(tmp_path.glob(".x.mat.*.part"))) == 1, "a living process keeps its file"
    child.kill()
    child.wait()
    child.stdout.close()
    with atomic_write(tmp_path / "x.mat") as file:
        file.write(b"whole")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.mat", b"whole")]


PARTS_OF_FOLDERS: dict[str, Callable[[Path], object]] = {
    "a card": read_front_matter,
    "the info of a model": lambda path: import_info(path.parent, "other"),
    "an annotation": read_annotation,
    "an image": image_sizes,
    "labels": lambda path: read_labels(path, 3),
}


@pytest.mark.skipif(os.name != "posix", reason="needs FIFOs")
@pytest.mark.parametrize("what", PARTS_OF_FOLDERS)
def test_a_pipe_among_the_files_of_a_folder_does_not_block(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "home"))
    (tmp_path / "model").mkdir()
    pipe = tmp_path / "model" / "readme.md"
    os.mkfifo(pipe)
    with pytest.raises(MatnetError, match=r"readme\.md: is a pipe"):
        PARTS_OF_FOLDERS[what](pipe)


def test_absurd_numbers_of_threads_are_refused() -> None:
    with pytest.raises(EngineError, match=r"threads is 100,000.*1,024"):
        EngineOptions("onnx", threads=100_000)
