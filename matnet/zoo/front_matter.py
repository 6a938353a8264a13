"""The front matter of a model's readme.md: YAML between the first two `---` lines, followed by prose."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from matnet.errors import FileFormatError
from matnet.files import existing_file

FENCE = "---"
LARGEST = 1 << 20  # a card is a page of text, not a data file
UNUSABLE = (ValueError, TypeError, OverflowError)
"""Errors of PyYAML's constructors for values that do not fit an explicit tag (`!!int x`), besides failed lookups."""


def read_front_matter(path: Path) -> tuple[dict[str, Any], str]:
    """The fields and the prose of a readme.md. Raises FileFormatError if there are no fields, or a key is repeated.

    The fences are those of Caffe's download script: the first two lines that are `---` after stripping.
    """
    text = text_of(path)
    lines = text.splitlines()
    fences = [number for number, line in enumerate(lines) if line.strip() == FENCE][:2]
    if len(fences) < 2:
        raise FileFormatError(
            f"{path}: no front matter; put the fields between two lines `{FENCE}` (see models/README.md)"
        )
    fields = _load_yaml("\n" * (fences[0] + 1) + "\n".join(lines[fences[0] + 1 : fences[1]]), path)
    if not isinstance(fields, dict):
        raise FileFormatError(f"{path}: the front matter is a {type(fields).__name__}; expected lines `field: value`")
    return {str(key): value for key, value in fields.items()}, "\n".join(lines[fences[1] + 1 :]).strip()


def read_yaml(path: Path) -> Any:
    """The value in a YAML file. Raises FileFormatError as for a front matter."""
    return _load_yaml(text_of(path), path)


def text_of(path: Path, errors: str = "strict") -> str:
    """The text of a card, of limited size. errors: what to do with bytes that are not UTF-8, as for `bytes.decode`."""
    try:
        size = existing_file(path, "card").stat().st_size
        if size > LARGEST:
            raise FileFormatError(f"{path}: {size:,} bytes; a card has at most {LARGEST:,}")
        return path.read_text(encoding="utf-8", errors=errors)
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from None


def _load_yaml(text: str, path: Path) -> Any:
    """The value of a YAML text: text, numbers, booleans, lists and mappings, of limited size.

    Unlike in YAML 1.1, nothing becomes a date (2016-09-30) or a base-60 number (1:30). Aliases must not contain
    themselves, or expand to more than the size limit of a card.
    """
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, if available, is ten times as fast

    class Loader(base):  # type: ignore[misc]
        """A safe loader that rejects repeated keys, of which PyYAML would silently take the last."""

    def mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = loader.construct_object(key_node)
            if isinstance(key, Hashable) and key_node.tag != "tag:yaml.org,2002:merge":
                if key in seen:
                    raise FileFormatError(f"{path}, line {key_node.start_mark.line + 1}: {key!r} is repeated")
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
        raise FileFormatError(f"{path}{line}: invalid YAML: {error.problem or error.context}") from None
    except (AttributeError, IndexError, KeyError):
        raise FileFormatError(f"{path}: invalid YAML: a value does not fit its explicit type tag") from None
    except (yaml.YAMLError, RecursionError, *UNUSABLE) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise FileFormatError(f"{path}: invalid YAML: {said}") from None
    finally:
        loader.dispose()


def _expanded(node: Any, known: dict[int, int]) -> int:
    """The number of characters of a YAML node with expanded aliases. Raises ValueError if one contains itself."""
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
