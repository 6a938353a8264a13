"""Param: a read-only parameter array of a network with its training factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from matnet.edits import CountedDict, Edited
from matnet.errors import NetworkError


@dataclass
class Param(Edited):
    """A parameter array in MatConvNet's shape, with the training factors from its file.

    `value` and its views are read-only, so that compiled engines never use stale weights. To change it, edit a copy and
    assign that. Assigning a writable array copies it; `owned` avoids the copy.
    """

    value: np.ndarray
    learning_rate: float | None = None
    weight_decay: float | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, _read_only(value) if name == "value" else value)

    def __reduce__(self) -> Any:  # also used by copy
        return _restored, (_plain(self.value), self.learning_rate, self.weight_decay)


def owned(array: np.ndarray) -> np.ndarray:
    """The array as a param value without a copy. The caller must not keep a writable view of its memory.

    The array and its bases become read-only.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base.flags.writeable = False
        base = base.base
    return array.view(ParamArray)


def is_owned(array: object) -> bool:
    """Whether this is the array of a param, or a view of it."""
    return isinstance(array, ParamArray) and not array.flags.writeable


def _read_only(value: Any) -> Any:
    """The value to store for an assigned array: the array itself if its memory is immutable, otherwise a copy."""
    if is_owned(value) or not isinstance(value, np.ndarray):
        return value
    if _is_constant(value):
        return value.view(ParamArray)
    return owned(np.array(value, order="K", copy=True, subok=False))


def _is_constant(array: np.ndarray) -> bool:
    """Whether the memory belongs to an immutable object, such as bytes or a file mapped read-only.

    A read-only array that owns its memory does not qualify: a writable view of it may exist.
    """
    memory: Any = array
    while isinstance(memory, np.ndarray):
        if memory.flags.writeable or memory.base is None:
            return False
        memory = memory.base
    try:
        with memoryview(memory) as view:
            return view.readonly
    except TypeError:
        return False


def _restored(value: Any, learning_rate: float | None, weight_decay: float | None) -> Param:
    """A param from a copy or pickle. Nothing else refers to its array."""
    return Param(owned(value) if isinstance(value, np.ndarray) else value, learning_rate, weight_decay)


class Params(CountedDict):
    """The params of a network by name. Stores the name in each array, for error messages."""

    def __init__(self, *entries: Any, **named: Param) -> None:
        super().__init__()
        self.update(*entries, **named)

    def __setitem__(self, name: str, param: Param) -> None:
        super().__setitem__(name, param)
        _name(name, param)

    def update(self, *entries: Any, **named: Param) -> None:
        for name, param in dict(*entries, **named).items():
            self[name] = param

    def setdefault(self, name: str, param: Any = None) -> Any:
        if name not in self:
            self[name] = param
        return self[name]

    def __ior__(self, entries: Any) -> Params:  # type: ignore[misc]
        self.update(entries)
        return self


def _name(name: str, param: Any) -> None:
    if isinstance(param, Param) and isinstance(param.value, ParamArray):
        param.value.name = name


class ParamArray(np.ndarray):
    """The read-only array of a param. Copies and results of arithmetic are plain arrays."""

    name = ""

    def __array_finalize__(self, made_from: Any) -> None:
        self.name = getattr(made_from, "name", "")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if any(is_owned(out) for out in options.get("out", ())):
            self._refuse()
        given = [_plain(x) for x in inputs]
        if "out" in options:
            options["out"] = tuple(_plain(out) for out in options["out"])
        return getattr(ufunc, method)(*given, **options)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._require_writable()
        super().__setitem__(key, value)

    def fill(self, value: Any) -> None:
        self._require_writable()
        super().fill(value)

    def put(self, *arguments: Any, **options: Any) -> None:
        self._require_writable()
        super().put(*arguments, **options)

    def sort(self, *arguments: Any, **options: Any) -> None:
        self._require_writable()
        super().sort(*arguments, **options)

    def __repr__(self) -> str:
        return repr(_plain(self))

    def copy(self, order: Any = "C") -> np.ndarray:
        """A writable plain array."""
        return np.array(self, order=order, copy=True, subok=False)

    def __reduce__(self) -> Any:
        return _plain(self).__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain(self).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> np.ndarray:
        return self.copy("K")

    def _require_writable(self) -> None:
        if not self.flags.writeable:
            self._refuse()

    def _refuse(self) -> None:
        name = repr(self.name) if self.name else "NAME"
        raise NetworkError(
            f"param {name} is read-only, because a compiled engine may use its values; edit a copy and assign it: "
            f"net.params[{name}].value = edited"
        )


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, ParamArray) else x
