"""Parse the `param_str` of Caffe's Python layers: Python literals, or YAML."""

from __future__ import annotations

import ast
from typing import Any

from matnet.errors import NetworkError


def param_values(text: str) -> dict[str, Any]:
    """Name -> value in a `param_str`. Raises NetworkError for anything else.

    >>> param_values("{'im_shape': (227, 227), 'split': 'train'}"), param_values("'feat_stride': 16")
    ({'im_shape': (227, 227), 'split': 'train'}, {'feat_stride': 16})
    """
    found = _literal(text)
    if found is None:
        import yaml  # slow to load

        class ParamLoader(yaml.SafeLoader):
            """YAML with Python tuples, which Caffe's Python layers use; executes nothing."""

        ParamLoader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)
        try:
            found = yaml.load(text, ParamLoader) or {}
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = str(error).splitlines()[0]
            raise NetworkError(f"param_str {text!r:.80} is neither Python nor YAML: {reason}") from None
    if not isinstance(found, dict):
        raise NetworkError(f"param_str {text!r:.80} does not hold names with values")
    return found


def _tuple(loader: Any, node: Any) -> Any:
    return loader.construct_sequence(node)


def _literal(text: str) -> Any:
    """The text as a dictionary of Python literals; None for anything else."""
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


SIZES = ("im_shape", "image_shape", "input_shape", "shape", "crop_size", "im_size", "image_size", "input_size", "size",
         "new_size", "target_size")
SIDES = (("height", "width"), ("new_height", "new_width"), ("im_height", "im_width"), ("crop_h", "crop_w"),
         ("crop_height", "crop_width"), ("h", "w"))
MOST_CHANNELS = 4


def image_shape(text: str) -> tuple[int, int, int, int] | None:
    """The N x C x H x W of a Python data layer's images; None if its `param_str` has no size.

    By default, N is 1 and C is 3. A size of three numbers is C x H x W or H x W x C, whichever has at most four
    channels.
    """
    try:
        values = param_values(text)
    except NetworkError:
        return None
    found = next((size for size in map(_whole, map(values.get, SIZES)) if size), ())
    if not found:
        pairs = (_whole([values.get(name) for name in pair]) for pair in SIDES)
        found = next((pair for pair in pairs if pair), ())
    batch, channels = ((_whole(values.get(name)) or (None,))[0] for name in ("batch_size", "channels"))
    if len(found) == 1:
        found *= 2
    if len(found) == 3:
        first = found[0] <= MOST_CHANNELS
        channels, found = (found[0], found[1:]) if first else (found[2], found[:2])
    if len(found) == 4:
        batch, channels, found = found[0], found[1], found[2:]
    return (batch or 1, channels or 3, found[0], found[1]) if len(found) == 2 else None


def _whole(value: Any) -> tuple[int, ...]:
    """A number or a list of numbers, as positive integers; () for anything else."""
    items = value if isinstance(value, (list, tuple)) else [value]
    fit = all(isinstance(item, int) and not isinstance(item, bool) and 0 < item < 1 << 31 for item in items)
    return tuple(items) if fit and len(items) <= 4 else ()
