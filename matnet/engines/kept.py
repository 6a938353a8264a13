"""Compiled engines that a network keeps for its next call, as long as its graph and its params stay as they are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from matnet.engines import compile_network
from matnet.engines.base import Engine, network_to_run, release_files
from matnet.engines.options import EngineOptions
from matnet.errors import NetworkError
from matnet.network import Network

MOST = 4  # engines of one network; each holds a copy of the weights
Key = tuple[tuple[str, ...] | None, EngineOptions, frozenset[str]]


class KeptEngines:
    """The latest engines of one network by outputs and options. May be called from several threads.

    An engine holds the values of the params as they were when it was compiled. So their arrays become read-only: see
    `ReadOnlyParam`. A change of the graph and an assignment to `Param.value` are found at the next call, which then
    compiles anew.
    """

    def __init__(self) -> None:
        self._engines: OrderedDict[Key, Engine] = OrderedDict()
        self._state: list[Any] = []
        self._lock = Lock()

    def engine(
        self, net: Network, outputs: Sequence[str] | None, options: EngineOptions, given: frozenset[str] = frozenset()
    ) -> Engine:
        """The engine for these outputs and options: the kept one, else one compiled now; raises as compiling does.

        given: the names of the inputs where there are several, labels among them; see `network_to_run`.
        """
        if not (outputs is None or isinstance(outputs, (str, list, tuple))):
            return compile_network(net, outputs, options)
        names = None if outputs is None else (outputs,) if isinstance(outputs, str) else tuple(outputs)
        if not all(isinstance(name, str) for name in names or ()):
            return compile_network(net, outputs, options)  # says what is wrong
        with self._lock:
            if self._engines and not _unchanged(net, self._state):
                self._engines.clear()
            key = names, options, given
            engine = self._engines.get(key)
            if engine is None:
                release_files(net)  # once for all engines
                form = network_to_run(net, names, given)
                engine = self._engines[key] = compile_network(form, names, options)
                for name, param in net.params.items():
                    param.value = read_only(param.value, name)
                self._state = _state(net)
                if len(self._engines) > MOST:
                    self._engines.popitem(last=False)
            self._engines.move_to_end(key)
            return engine


def _state(net: Network) -> list[Any]:
    """All of a network that an engine depends on. Ops do not change; arrays of a kept engine are read-only."""
    layers = [
        (name, layer, layer.op, list(layer.inputs), list(layer.outputs), list(layer.params))
        for name, layer in net.layers.items()
    ]
    params = [(name, param, param.value) for name, param in net.params.items()]
    return [layers, params, dict(net.aliases)]


def _unchanged(net: Network, state: list[Any]) -> bool:
    """Whether the network is as it was: a call may take less than a millisecond, so this makes no lists."""
    layers, params, aliases = state
    if len(layers) != len(net.layers) or len(params) != len(net.params) or net.aliases != aliases:
        return False
    for (known, layer, op, inputs, outputs, used), name in zip(layers, net.layers, strict=True):
        found = net.layers[name]
        if found is not layer or name != known or found.op is not op:
            return False
        if found.inputs != inputs or found.outputs != outputs or found.params != used:
            return False
    now = net.params
    return all(name in now and now[name] is param and param.value is value for name, param, value in params)


def read_only(value: np.ndarray, name: str) -> np.ndarray:
    """The same memory as an array that refuses edits, and says what to do instead; `value` itself becomes read-only."""
    if isinstance(value, ReadOnlyParam) or not isinstance(value, np.ndarray):
        return value
    base: Any = value
    while isinstance(base, np.ndarray):
        base.flags.writeable = False
        base = base.base
    found = value.view(ReadOnlyParam)
    found.name = name
    return found


class ReadOnlyParam(np.ndarray):
    """The array of a param whose network keeps a compiled engine. Copies and results of arithmetic are plain arrays."""

    name = ""

    def __array_finalize__(self, made_from: Any) -> None:
        self.name = getattr(made_from, "name", "")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if any(isinstance(out, ReadOnlyParam) and not out.flags.writeable for out in options.get("out", ())):
            self._refuse()
        given = [_plain(x) for x in inputs]
        if "out" in options:
            options["out"] = tuple(_plain(out) for out in options["out"])
        return getattr(ufunc, method)(*given, **options)

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.flags.writeable:
            self._refuse()
        super().__setitem__(key, value)

    def __repr__(self) -> str:
        return repr(_plain(self))

    def copy(self, order: Any = "C") -> np.ndarray:  # type: ignore[override]
        """A plain array that may be edited."""
        return np.array(self, order=order, copy=True, subok=False)

    def __reduce__(self) -> Any:
        return _plain(self).__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain(self).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> np.ndarray:
        return self.copy("K")

    def _refuse(self) -> None:
        raise NetworkError(
            f"param {self.name!r} is read-only, because its network has run and keeps the compiled engine; edit a copy "
            f"and assign it: net.params[{self.name!r}].value = edited"
        )


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, ReadOnlyParam) else x
