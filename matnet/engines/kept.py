"""Compiled engines that a network keeps for its next call, as long as its graph and its params stay as they are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter, is_
from threading import Lock
from typing import Any

import numpy as np

from matnet.edits import edits
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
        self._graph: Graph | None = None
        self._edits = 0
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
            if self._graph is not None and not (self._graph.counted and self._edits == edits()):
                now = edits()  # before the comparison: an edit during it counts as a later one
                if not self._graph.is_that_of(net):
                    self._engines.clear()
                self._edits = now
            key = names, options, given
            engine = self._engines.get(key)
            if engine is None:
                release_files(net)  # once for all engines
                form = network_to_run(net, names, given)
                engine = self._engines[key] = compile_network(form, names, options)
                for name, param in net.params.items():
                    param.value = read_only(param.value, name)
                self._edits, self._graph = edits(), Graph.of(net)
                if len(self._engines) > MOST:
                    self._engines.popitem(last=False)
            self._engines.move_to_end(key)
            return engine


@dataclass(frozen=True)
class Graph:
    """All of a network that an engine depends on. Ops do not change; arrays of a kept engine are read-only.

    Names are compared by value, objects (layers, ops, params and their arrays) by identity.
    """

    names: list[str]
    links: list[tuple[list[str], list[str], list[str]]]
    aliases: dict[str, str]
    objects: list[Any]
    counted: bool  # whether every edit changes `edits()`

    @classmethod
    def of(cls, net: Network) -> Graph:
        """The state of `net` now."""
        counted = net.is_counted and all(layer.is_counted for layer in net.layers.values())
        links = [(list(layer.inputs), list(layer.outputs), list(layer.params)) for layer in net.layers.values()]
        return cls([*net.layers, *net.params], links, dict(net.aliases), _objects(net), counted)

    def is_that_of(self, net: Network) -> bool:
        """Whether `net` is still in this state."""
        objects = _objects(net)
        return (
            len(objects) == len(self.objects)
            and all(map(is_, objects, self.objects))
            and self.names == [*net.layers, *net.params]
            and self.links == list(map(LINKS, net.layers.values()))
            and self.aliases == net.aliases
        )


LINKS = attrgetter("inputs", "outputs", "params")


def _objects(net: Network) -> list[Any]:
    layers, params = net.layers.values(), net.params.values()
    return [*layers, *map(attrgetter("op"), layers), *params, *map(attrgetter("value"), params)]


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
