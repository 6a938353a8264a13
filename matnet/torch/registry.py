"""The table of torch translations by op, filled by a decorator that also accepts custom ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from matnet.errors import NetworkError
from matnet.ops.base import Op
from matnet.torch.writer import LayerWriter

Translation = Callable[[LayerWriter, Any], None]
TranslationType = TypeVar("TranslationType", bound=Translation)
TRANSLATIONS: dict[type[Op], Translation] = {}


def translation(*ops: type[Op]) -> Callable[[TranslationType], TranslationType]:
    """Function decorator: `write(writer, op)` translates these ops; NetworkError if one already has a translation."""

    def enter(write: TranslationType) -> TranslationType:
        for op in ops:
            if op in TRANSLATIONS:
                raise NetworkError(f"op {op.__name__} already has a torch translation, {TRANSLATIONS[op].__name__}")
            TRANSLATIONS[op] = write
        return write

    return enter


def translation_of(op: Op) -> Translation | None:
    """The translation of an op's exact class; a subclass may differ and needs its own."""
    return TRANSLATIONS.get(type(op))
