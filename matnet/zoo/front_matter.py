"""The head of a model's readme.md: YAML between the first two lines that are `---`, prose behind it."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from matnet.errors import FileFormatError

FENCE = "---"
LARGEST = 1 << 20  # a card is a page of text, not a data file
UNUSABLE = (ValueError, TypeError, OverflowError)
"""What PyYAML's constructors raise, beside lookups that fail, for values that do not fit a stated tag (`!!int x`)."""


def read_front_matter(path: Path) -> tuple[dict[str, Any], str]:
    """The fields and the prose of a readme.md; FileFormatError if there are no fields, or a key stands twice.

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
    """The value of a YAML text: text, numbers, true and false, lists and mappings, and nothing that grows.

    Unlike YAML 1.1 nothing becomes a date (2016-09-30) or a number of base 60 (1:30). Aliases must not make the value
    larger than a card may be, nor contain themselves.
    """
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast, where it is there

    class Loader(base):  # type: ignore[misc]
        """A safe loader that refuses a key that stands twice, of which YAML would silently take the last."""

    def mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = loader.construct_object(key_node)
            if isinstance(key, Hashable) and key_node.tag != "tag:yaml.org,2002:merge":
                if key in seen:
                    raise FileFormatError(f"{path}, line {key_node.start_mark.line + 1}: {key!r} stands twice")
                seen.add(key)
        return loader.construct_mapping(node, deep=True)

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag.rpartition(":")[2] in ("bool", "null", "merge")]
        for first, known in base.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
    number = r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(number), list("-+0123456789."))
    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        if _expanded(node, {}) > LARGEST:
            raise FileFormatError(f"{path}: its aliases (*name) expand to more than {LARGEST:,} characters")
        return None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise FileFormatError(f"{path}{line}: no YAML: {error.problem or error.context}") from None
    except (AttributeError, IndexError, KeyError):
        raise FileFormatError(f"{path}: no YAML: a value does not fit the type that the file states for it") from None
    except (yaml.YAMLError, RecursionError, *UNUSABLE) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise FileFormatError(f"{path}: no YAML: {said}") from None
    finally:
        loader.dispose()


def _expanded(node: Any, known: dict[int, int]) -> int:
    """The characters of a YAML node with every alias written out; ValueError if one contains itself."""
    if node is None:
        return 0
    if id(node) in known:
        if known[id(node)] < 0:
            raise ValueError("an alias contains itself")
        return known[id(node)]
    if isinstance(node.value, str):
        return len(node.value) + 1
    known[id(node)] = -1
    children = (child for item in node.value for child in (item if isinstance(item, tuple) else (item,)))
    known[id(node)] = size = 1 + sum(_expanded(child, known) for child in children)
    return size
