"""The pages that are made from the code: every command, every public name, every layer type, every model of the zoo.

`write_all(folder)` writes them into `commands`, `reference` and `models`, which are no part of the repository.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from matnet.__main__ import module_of, verbs
from matnet.errors import called_as

ROOT = Path(__file__).resolve().parent.parent
NEED_TORCH = ["examples/finetuning.md", "examples/deepdream.md"]

PUBLIC = {
    "matnet": "What `import matnet` gives",
    "matnet.network": "Networks, layers, params",
    "matnet.answers.classify": "Predictions",
    "matnet.answers.detect": "Detections",
    "matnet.answers.classes": "Class names",
    "matnet.answers.layers": "One layer of a network",
    "matnet.answers.drawing": "Drawings and summaries",
    "matnet.images": "Images and their preprocessing",
    "matnet.plots": "Pictures",
    "matnet.meta": "What a file says about its network",
    "matnet.datasets": "Data sets",
    "matnet.evaluation": "Evaluation",
    "matnet.evaluation.tasks": "Tasks of an evaluation",
    "matnet.metrics": "Figures",
    "matnet.reproduction": "The published tables",
    "matnet.doctor": "The doctor",
    "matnet.zoo": "Known models",
    "matnet.formats": "MatConvNet's files",
    "matnet.formats.mat": "MAT files",
    "matnet.formats.mat.values": "Values of MAT files",
    "matnet.formats.onnx": "ONNX",
    "matnet.torch": "PyTorch",
    "matnet.converters": "Caffe's files",
    "matnet.engines": "Engines",
    "matnet.ops": "Layers",
    "matnet.ops.base": "The interface of a layer",
    "matnet.shapes": "Sizes",
    "matnet.comparison": "Comparing networks",
    "matnet.tables": "Tables",
    "matnet.outcomes": "Outcomes",
    "matnet.errors": "Errors",
}
"""The public modules, each with the title of its page."""

def write_all(docs: Path) -> None:
    """Write every generated page below `docs`; files that have not changed are left as they are."""
    pages = {**command_pages(), **reference_pages(), **model_pages(), **copied_pages()}
    for name, text in pages.items():
        path = docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for folder in ("commands", "reference", "models"):
        for path in (docs / folder).iterdir():
            if f"{folder}/{path.name}" not in pages:
                path.unlink()


def page_of(path: str) -> str | None:
    """The page that shows a file of the repository, named from docs/; None for code and data."""
    known = {
        "README.md": "start.md",
        "CHANGELOG.md": "changelog.md",
        "CONTRIBUTING.md": "contributing.md",
        "SECURITY.md": "security.md",
        "models/README.md": "models/index.md",
        "models": "models/index.md",
    }
    card = re.fullmatch(r"models/([^/]+)(/readme\.md)?", path)
    if card and path not in known:
        return card_pages().get(card[1])
    return known.get(path)


def copied_pages() -> dict[str, str]:
    """The pages that stand at the top of the repository, with their links as they are here."""
    return {
        page: LINK.sub(lambda found: here(found["text"], found["target"]), (ROOT / name).read_text(encoding="utf-8"))
        for name, page in {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}.items()
    }


LINK = re.compile(r"(?P<text>\[[^\]\n]*\])\((?P<target>(?!https?:|#)[^)\s]+)\)")


def here(text: str, target: str) -> str:
    """A link from a page at the top as a link from docs/; its text alone where the target is no page."""
    path, _, anchor = target.partition("#")
    page = path.removeprefix("docs/") if path.startswith("docs/") else page_of(path)
    return f"{text}({page}{f'#{anchor}' if anchor else ''})" if page else text[1:-1]


# -- commands -------------------------------------------------------------------------------------


def parser_of(verb: str) -> argparse.ArgumentParser:
    """The parser of a command, as `matnet VERB --help` shows it."""
    called_as("matnet")
    module = module_of(verb)
    assert module is not None
    command = import_module(module)
    made = command.parser() if hasattr(command, "parser") else sys.modules[command.main.__module__].parser()
    assert isinstance(made, argparse.ArgumentParser)
    made.prog = f"matnet {verb}"
    return made


def subparsers_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a command's own commands, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def command_pages() -> dict[str, str]:
    """A page per command in reStructuredText, and the index of all."""
    pages = {}
    index = [
        *heading("Commands", "="),
        "Every command and every option, made from the commands' own parsers. ``matnet VERB ...`` and",
        "``python -m matnet VERB ...`` are the same.",
        "",
        ".. list-table::",
        "   :widths: 15 85",
        "",
    ]
    for verb, text in verbs().items():
        pages[f"commands/{verb}.rst"] = "\n".join(command_page(verb, text))
        index += [f"   * - :doc:`matnet {verb} <{verb}>`", f"     - {escape(text)}"]
    index += ["", ".. toctree::", "   :hidden:", "", *(f"   {verb}" for verb in verbs()), ""]
    pages["commands/index.rst"] = "\n".join(index)
    return pages


def command_page(verb: str, text: str) -> Iterator[str]:
    parser = parser_of(verb)
    yield from heading(f"matnet {verb}", "=")
    yield from (escape(parser.description or text), "")
    yield from parser_lines(parser)
    for name, sub in subparsers_of(parser).items():
        sub.prog = f"matnet {verb} {name}"
        yield from heading(f"matnet {verb} {name}", "-")
        yield from (escape(sub.description or ""), "")
        yield from parser_lines(sub)
        for inner, last in subparsers_of(sub).items():
            last.prog = f"matnet {verb} {name} {inner}"
            yield from heading(f"matnet {verb} {name} {inner}", "~")
            yield from (escape(last.description or ""), "")
            yield from parser_lines(last)


def parser_lines(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The usage line, then every argument and option in its group; hidden spellings are left out."""
    yield from (f".. program:: {parser.prog}", "", "::", "", f"   {usage(parser)}", "")
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if visible(action)]
        if not actions:
            continue
        yield from (f".. rubric:: {escape((group.title or '').capitalize())}", "")
        if group.description:
            yield from (escape(group.description), "")
        for action in actions:
            yield from option_lines(parser, action)
    if parser.epilog:
        yield from (escape(" ".join(parser.epilog.split())), "")


def visible(action: argparse.Action) -> bool:
    return action.help != argparse.SUPPRESS and not isinstance(action, argparse._SubParsersAction)


def option_lines(parser: argparse.ArgumentParser, action: argparse.Action) -> Iterator[str]:
    formatter = parser._get_formatter()
    default = action.dest.upper() if action.option_strings else action.dest
    values = formatter._format_args(action, default).strip() if action.nargs != 0 else ""
    names = ", ".join(f"{name} {values}".strip() for name in action.option_strings) or values
    text = formatter._expand_help(action) if action.help else ""
    yield from (f".. option:: {names}", "", f"   {escape(' '.join(text.split()))}", "")


def usage(parser: argparse.ArgumentParser) -> str:
    found = " ".join(parser.format_usage().split()).removeprefix("usage: ")
    return re.sub(r"^(python -m )?matnet[. ]\S+|^\S+\.py", parser.prog, found, count=1) if parser.usage else found


# -- the reference --------------------------------------------------------------------------------


def public_names() -> dict[str, list[str]]:
    """The public names of every public module: its `__all__`, else what it defines itself without an underscore.

    What two modules give is listed with the first.
    """
    found: dict[str, list[str]] = {}
    shown: set[int] = set()
    for module in PUBLIC:
        loaded = import_module(module)
        names = getattr(loaded, "__all__", None)
        if names is None:
            names = [name for name, value in vars(loaded).items() if own(loaded, name, value)]
        values = {name: getattr(loaded, name) for name in sorted(names)}
        new = [name for name, value in values.items() if not inspect.ismodule(value) and id(value) not in shown]
        shown |= {id(values[name]) for name in new if callable(values[name])}
        found[module] = new
    return found


def own(module: Any, name: str, value: Any) -> bool:
    is_code = inspect.isclass(value) or inspect.isfunction(value)
    return is_code and not name.startswith("_") and value.__module__ == module.__name__


def reference_pages() -> dict[str, str]:
    """A page per public module in reStructuredText, one of all layer types, and their index."""
    pages = {}
    rows = [*heading("Reference", "="), "Every public name of matnet, by module.", ""]
    rows += [".. list-table::", "   :widths: 35 65", ""]
    for module, names in public_names().items():
        pages[f"reference/{module}.rst"] = "\n".join(module_page(module, names))
        rows += [f"   * - :doc:`{module} <{module}>`", f"     - {code_marks(PUBLIC[module])}"]
    pages["reference/layers.rst"] = "\n".join(layers_page())
    rows += ["   * - :doc:`Layer types <layers>`", "     - Their names in MatConvNet and Caffe, and what they compute"]
    rows += ["", ".. toctree::", "   :hidden:", "", *(f"   {module}" for module in PUBLIC), "   layers", ""]
    pages["reference/index.rst"] = "\n".join(rows)
    return pages


def module_page(module: str, names: Sequence[str]) -> Iterator[str]:
    loaded = import_module(module)
    yield from heading(module, "=")
    yield from (*as_rst(inspect.cleandoc(loaded.__doc__ or "").splitlines()), "")
    yield from (f".. module:: {module}", "")
    for name in names:
        yield from entry(module, name, getattr(loaded, name))


def entry(module: str, name: str, value: Any) -> Iterator[str]:
    """The directive for one public name."""
    if inspect.isclass(value):
        yield from (f".. autoclass:: {module}.{name}", "   :members:")
        yield from ("   :show-inheritance:" if issubclass(value, Exception) else "", "")
    elif callable(value):
        yield from (f".. autofunction:: {module}.{name}", "")
    else:
        yield from (f".. autodata:: {module}.{name}", "   :no-value:", "")


def layers_page() -> Iterator[str]:
    """Every registered layer type with its names and its docstring."""
    from matnet.ops import REGISTRY

    ops = sorted(set(REGISTRY), key=lambda op: (op.__module__, op.__name__))
    yield from heading("Layer types", "=")
    yield "Every layer type that matnet runs, with its names in DagNN, SimpleNN and Caffe files."
    yield ""
    family = ""
    for op in ops:
        if op.__module__ != family:
            family = op.__module__
            first = (sys.modules[family].__doc__ or family).strip().splitlines()[0]
            yield from heading(family.removeprefix("matnet.ops."), "-")
            yield from (code_marks(escape(first)), "")
        names = [("DagNN", [op.dagnn] if op.dagnn else []), ("SimpleNN", op.simplenn), ("Caffe", op.caffe)]
        known = "; ".join(f"{what} {', '.join(f'``{name}``' for name in list_)}" for what, list_ in names if list_)
        yield from (f".. class:: {op.__module__}.{op.__name__}", "   :no-index:", "", f"   {known}", "")
        doc = inspect.cleandoc(op.__doc__ or "") if "(" not in (op.__doc__ or "")[: len(op.__name__) + 1] else ""
        yield from (f"   {line}".rstrip() for line in as_rst(doc.splitlines()))
        yield ""


# -- models ---------------------------------------------------------------------------------------


def card_pages() -> dict[str, str]:
    """The page of each folder of models/, and of each card: by both names."""
    from matnet.zoo.cards import cards_in

    pages = {}
    for card in cards_in(ROOT / "models"):
        pages.setdefault(card.folder.name, f"models/{card.name}.md")
        pages[card.name] = f"models/{card.name}.md"
    return pages


def model_pages() -> dict[str, str]:
    """A page per model card in Markdown, its drawing, and the index."""
    from matnet.zoo.cards import cards_in

    pages: dict[str, str] = {}
    cards = cards_in(ROOT / "models")
    for card in cards:
        drawing, layers = structure(card)
        if drawing:
            pages[f"models/{card.name}.svg"] = drawing
        pages[f"models/{card.name}.md"] = "\n".join(model_page(card, bool(drawing), layers))
    pages["models/index.md"] = "\n".join(models_index(cards))
    return pages


def structure(card: Any) -> tuple[str, str]:
    """The drawing as SVG and the layers as text, of a card whose definition is at hand; else empty."""
    from matnet.display.svg import network_svg
    from matnet.display.table import network_table
    from matnet.display.text import table_text, totals
    from matnet.zoo.random_weights import skeleton

    if card.prototxt is None:
        return "", ""
    net = skeleton(card)
    table = network_table(net)
    lines = [*table_text(table).splitlines(), "", *(f"{label:17} {text}" for label, text in totals(table))]
    return network_svg(table, card.name), "\n".join(line.rstrip() for line in lines)


def model_page(card: Any, drawn: bool, layers: str) -> Iterator[str]:
    from matnet.zoo.describe import spelled

    yield from (f"# {card.name}", "")
    facts = [
        ("names", ", ".join(f"`{name}`" for name in (card.name, *card.aliases))),
        ("by its authors", markdown_text(card.title)),
        ("task", f"{card.task}, {card.introduced}" if card.introduced else card.task),
        ("licence", markdown_text(card.license)),
        ("inputs", ", ".join(f"`{name}` {' x '.join(map(str, size))}" for name, size in card.inputs.items())),
        ("outputs", ", ".join(f"`{name}`" for name in card.outputs)),
        ("parameters", f"{card.parameters:,}" if card.parameters else ""),
        ("files", ", ".join(f"`{name}`" for name in (card.mat, *(file.file for file in card.files)) if name)),
        ("page", f"<{card.page}>" if card.page else ""),
    ]
    yield from ("| | |", "|---|---|", *(f"| {what} | {text} |" for what, text in facts if text), "")
    yield from published_lines(card, spelled)
    yield from (*getting(card), "")
    if drawn:
        yield from ("## The network", "", f"```{{figure}} {card.name}.svg", f":target: ../_images/{card.name}.svg", "")
        yield from ("Layers as boxes, variables as arrows. A click opens the drawing alone.", "```", "")
        yield from ("## Layers", "", "```text", layers, "```", "")
    yield from ("## About it", "", card_prose(card.prose), "")
    if card.citation:
        yield from ("## To cite it", "", *(f"- {markdown_text(text)}" for text in card.citation), "")
    if card.evidence:
        yield from ("## Not certain", "", *(f"- {markdown_text(text)}" for text in card.evidence), "")


def published_lines(card: Any, spelled: Any) -> Iterator[str]:
    rows = [entry for entry in card.published if entry.figures]
    if rows:
        yield from ("## Published figures", "", "| figures | data | protocol | source | in `matnet reproduce` |")
        yield "|---|---|---|---|---|"
        for entry in rows:
            figures = ", ".join(f"{spelled(name)} {value:g}" for name, value in entry.figures.items())
            measured = f"no: {entry.unmeasured}" if entry.unmeasured else "yes"
            cells = (figures, entry.data, entry.protocol, entry.source, measured)
            yield f"| {' | '.join(markdown_text(str(cell)) for cell in cells)} |"
        yield ""


def getting(card: Any) -> Iterator[str]:
    """How to get the model, by what its card has."""
    yield from ("## How to get it", "")
    if card.test_images is not None:
        yield "It comes with matnet:"
    elif card.mat_urls:
        yield "matnet downloads it, checks it and keeps it in its cache:"
    elif card.file("caffemodel") is not None and card.prototxt is not None:
        yield "matnet downloads Caffe's files, checks them and converts them:"
    else:
        yield "No address is known from which matnet could take its weights. What is known of its files:"
    yield from ("", "```sh", f"matnet zoo show {card.name}")
    if card.test_images is not None or card.mat_urls:
        yield f"matnet zoo fetch {card.name}"
    elif card.file("caffemodel") is not None and card.prototxt is not None:
        yield f"matnet convert {card.name}"
    yield "```"
    if card.prototxt is not None:
        yield from ("", "Its layers with random weights, for sizes and speed:", "", "```sh")
        yield from (f"matnet show {card.name} --random-weights", "```")


def models_index(cards: Iterable[Any]) -> Iterator[str]:
    from matnet.zoo.describe import leading_figure

    cards = list(cards)
    yield from ("# Models", "", "Every model that matnet knows, from its card in `models/`.")
    yield from ("[Where models come from](../zoo.md) explains how files are found, fetched and checked.", "")
    yield "| model | task | year | parameters | published |"
    yield "|---|---|---|---:|---|"
    for card in cards:
        number = f"{card.parameters:,}" if card.parameters else ""
        cells = (card.task, card.introduced or "", number, markdown_text(leading_figure(card)))
        yield f"| [{card.name}]({card.name}.md) | {' | '.join(map(str, cells))} |"
    yield from ("", "```{toctree}", ":hidden:", "", *(card.name for card in cards), "```", "")


def card_prose(prose: str) -> str:
    """A card's text below its heading: headings one level down, links that lead nowhere here as plain text."""
    lines = prose.strip().splitlines()
    if lines and lines[0].startswith("# "):
        lines = lines[1:]
    text = "\n".join(f"#{line}" if re.match(r"#{1,4} ", line) else line for line in lines).strip()
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", lambda found: found[1], text)


# -- text -----------------------------------------------------------------------------------------


def heading(text: str, mark: str) -> tuple[str, str, str]:
    return text, mark * len(text), ""


def escape(text: str) -> str:
    """Plain text for reStructuredText, `code` kept as code."""
    marks = re.compile(r"([\\*_|`])")
    parts = re.split(r"(`[^`\n]+`)", " ".join(text.split()))
    return "".join(code_marks(part) if re.fullmatch("`.+`", part) else marks.sub(r"\\\1", part) for part in parts)


def code_marks(text: str) -> str:
    return re.sub(r"(?<!`)`([^`\n]+)`(?!`)", r"``\1``", text)


def markdown_text(text: str) -> str:
    return re.sub(r"([|<>*_\[\]])", r"\\\1", text)


def as_rst(lines: Sequence[str]) -> list[str]:
    """A docstring of plain text, `code`, lists and examples as reStructuredText."""
    found: list[str] = []
    for block in paragraphs(lines):
        if block[0].lstrip().startswith(">>>"):
            found += [*block, ""]
        elif all(line.startswith("    ") for line in block):
            found += ["::", "", *block, ""]
        elif re.match(r"\s*[-*] ", block[0]):
            found += [*items(block), ""]
        else:
            found += [escape(" ".join(block)), ""]
    return found


def items(block: Sequence[str]) -> Iterator[str]:
    """The items of a list, each on one line."""
    text = "\n".join(block)
    for item in re.split(r"^\s*[-*] ", text, flags=re.MULTILINE):
        if item.strip():
            yield f"- {escape(item)}"


def paragraphs(lines: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line.rstrip())
        elif block:
            yield block
            block = []
