"""Cache of compiled engines per network, valid until its graph or params change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter, is_
from threading import Lock
from typing import Any

from matnet.edits import edits
from matnet.engines import compile_network
from matnet.engines.base import Engine, network_to_run, release_files
from matnet.engines.options import EngineOptions
from matnet.network import Network

MOST = 4  # engines per network; each has a copy of the weights
Key = tuple[tuple[str, ...] | None, EngineOptions, frozenset[str]]


class KeptEngines:
    """The most recently used engines of one network, by outputs and options. Thread-safe.

    An engine has the param values from its compilation, and param arrays are read-only (see `matnet.params`). After a
    change to the graph or an assignment to `Param.value`, the next call compiles again.
    """

    def __init__(self) -> None:
        self._engines: OrderedDict[Key, Engine] = OrderedDict()
        self._graph: Snapshot | None = None
        self._edits = 0
        self._lock = Lock()

    def engine(
        self, net: Network, outputs: Sequence[str] | None, options: EngineOptions, given: frozenset[str] = frozenset()
    ) -> Engine:
        """The cached engine for these outputs and options, or a newly compiled one; errors as of `compile_network`.

        given: the names of the inputs if there are several, including labels; see `network_to_run`.
        """
        if not (outputs is None or isinstance(outputs, (str, list, tuple))):
            return compile_network(net, outputs, options)
        names = None if outputs is None else (outputs,) if isinstance(outputs, str) else tuple(outputs)
        if not all(isinstance(name, str) for name in names or ()):
            return compile_network(net, outputs, options)  # raises the error
        with self._lock:
            if self._graph is not None and not (self._graph.counted and self._edits == edits()):
                now = edits()  # read before the comparison, so that concurrent edits count later
                if not self._graph.is_that_of(net):
                    self._engines.clear()
                self._edits = now
            key = names, options, given
            engine = self._engines.get(key)
            if engine is None:
                release_files(net)  # once for all engines
                form = network_to_run(net, names, given)
                engine = self._engines[key] = compile_network(form, names, options)
                self._edits, self._graph = edits(), Snapshot.of(net)
                if len(self._engines) > MOST:
                    self._engines.popitem(last=False)
            self._engines.move_to_end(key)
            return engine


def kept_engines(net: Network) -> KeptEngines:
    """The engine cache of `net`, which is neither copied nor pickled."""
    kept: KeptEngines = vars(net).setdefault("_kept", KeptEngines())
    return kept


@dataclass(frozen=True)
class Snapshot:
    """The state of a network that an engine depends on. (Ops and param arrays are immutable.)

    Names are compared by value, objects (layers, ops, params and their arrays) by identity.
    """

    names: list[str]
    links: list[tuple[list[str], list[str], list[str]]]
    aliases: dict[str, str]
    objects: list[Any]
    counted: bool  # whether every edit changes `edits()`

    @classmethod
    def of(cls, net: Network) -> Snapshot:
        """The current state of `net`."""
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
