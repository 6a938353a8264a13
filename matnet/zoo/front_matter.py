"""The head of a model's readme.md: YAML between the first two lines that are `---`, prose behind it."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

from matnet.errors import FileFormatError

FENCE = "---"
LARGEST = 1 << 20  # a card is a page of text, not a data file


def read_front_matter(path: Path) -> tuple[dict[str, Any], str]:
    """The fields and the prose of a readme.md; FileFormatError where there are no fields, or a key stands twice.

    The fences are found as Caffe's download script finds them: the first two lines that are `---` once stripped.
    """
    text = _text(path)
    lines = text.splitlines()
    fences = [number for number, line in enumerate(lines) if line.strip() == FENCE][:2]
    if len(fences) < 2:
        raise FileFormatError(
            f"{path}: no front matter; the fields must stand between two lines `{FENCE}` (models/README.md shows one)"
        )
    fields = _load_yaml("\n" * (fences[0] + 1) + "\n".join(lines[fences[0] + 1 : fences[1]]), path)
    if not isinstance(fields, dict):
        raise FileFormatError(f"{path}: the front matter is a {type(fields).__name__}; expected lines `field: value`")
    return {str(key): value for key, value in fields.items()}, "\n".join(lines[fences[1] + 1 :]).strip()


def read_yaml(path: Path) -> Any:
    """The value in a YAML file; FileFormatError as for a front matter."""
    return _load_yaml(_text(path), path)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise FileFormatError(f"{path}: has {path.stat().st_size:,} bytes; a card has at most {LARGEST:,}")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from None


def _load_yaml(text: str, path: Path) -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast, where it is there

    class Loader(base):  # type: ignore[misc]
        """A safe loader that refuses a key that stands twice, of which YAML would silently take the last."""

    def mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        for index, key in enumerate(keys):
            if isinstance(key, Hashable) and key in keys[:index]:
                raise FileFormatError(f"{path}, line {node.value[index][0].start_mark.line + 1}: {key!r} stands twice")
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise FileFormatError(f"{path}{line}: no YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FileFormatError(f"{path}: no YAML: {str(error).splitlines()[0]}") from None
