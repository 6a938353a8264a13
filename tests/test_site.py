"""The pages that the documentation site makes from the code: no option, public name, layer type or model is missing."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import matnet
from matnet.__main__ import verbs
from matnet.ops import REGISTRY
from matnet.zoo.cards import cards_in

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("generate")
    sys.path.remove(str(DOCS))


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every spelling that --help shows, with those of the parser's own commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from options_of(sub)
        elif action.help != argparse.SUPPRESS:
            yield from action.option_strings


@pytest.mark.process
@pytest.mark.parametrize("verb", sorted(verbs()))
def test_the_page_of_a_command_has_every_option(verb: str, generate: ModuleType) -> None:
    page = generate.command_pages()[f"commands/{verb}.rst"]
    shown = {
        word.split()[0]
        for line in page.splitlines()
        if line.startswith(".. option::")
        for word in line.removeprefix(".. option:: ").split(", ")
    }
    assert set(options_of(generate.parser_of(verb))) - shown == set()


def test_every_public_name_has_an_entry(generate: ModuleType) -> None:
    pages = generate.reference_pages()
    text = "\n".join(pages.values())
    names = [f"{module}.{name}" for module, names in generate.public_names().items() for name in names]
    assert len(names) > 150
    assert [name for name in names if f":: {name}\n" not in text] == []
    assert [name for name in matnet.__all__ if f":: matnet.{name}\n" not in text and name != "ops"] == []


def test_every_module_with_a_public_face_is_in_the_reference(generate: ModuleType) -> None:
    """Modules directly below matnet that state `__all__`, but for commands and tools."""
    tools = {"matnet.benchmarks", "matnet.reproduce"}
    found = {f"matnet.{module.name}" for module in pkgutil.iter_modules([matnet.__path__[0]])}
    stated = {name for name in found - tools if hasattr(importlib.import_module(name), "__all__")}
    assert stated - set(generate.PUBLIC) == set()


def test_every_public_name_is_explained(generate: ModuleType) -> None:
    silent = []
    for module, names in generate.public_names().items():
        loaded = importlib.import_module(module)
        values = ((name, getattr(loaded, name)) for name in names)
        silent += [f"{module}.{name}" for name, value in values if callable(value) and not value.__doc__]
    assert silent == []


def test_every_layer_type_is_listed(generate: ModuleType) -> None:
    page = generate.reference_pages()["reference/layers.rst"]
    own = [op for op in set(REGISTRY) if op.__module__.startswith("matnet.")]
    assert [op.__name__ for op in own if f":: {op.__module__}.{op.__name__}\n" not in page] == []


@pytest.mark.process
def test_every_model_has_a_page(generate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "structure", lambda card: ("<svg/>", "layers"))  # the drawings take half a minute
    pages = generate.model_pages()
    for card in cards_in(DOCS.parent / "models"):
        page = pages[f"models/{card.name}.md"]
        assert page.startswith(f"# {card.name}\n") and f"matnet zoo show {card.name}" in page
        assert all(alias in page for alias in card.aliases)
        assert f"[{card.name}]({card.name}.md)" in pages["models/index.md"]


@pytest.mark.process
def test_a_page_of_a_model_has_its_drawing_and_layers(generate: ModuleType) -> None:
    (card,) = (card for card in cards_in(DOCS.parent / "models") if card.name == "digits-lenet")
    drawing, layers = generate.structure(card)
    assert drawing.startswith("<svg") and "conv1" in drawing
    assert "conv2" in layers and "Pooling" in layers
    page = "\n".join(generate.model_page(card, True, layers))
    assert "digits-lenet.svg" in page and layers in page


def test_links_and_anchors_of_a_built_site(tmp_path: Path) -> None:
    sys.path.insert(0, str(DOCS))
    try:
        from check_links import broken  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(DOCS))
    (tmp_path / "a.html").write_text('<h1 id="top">a</h1><a href="b.html#there">b</a><a href="#top">up</a>')
    (tmp_path / "b.html").write_text('<p id="here"></p><a href="c.html">c</a><a href="https://example.org">out</a>')
    assert broken(tmp_path) == ["a.html: b.html#there: no such anchor", "b.html: c.html: no such file"]
