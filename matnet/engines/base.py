"""What every engine shares: which outputs are wanted, and whether the given inputs fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from matnet.engines.options import EngineOptions
from matnet.errors import EngineError, NetworkError, OutOfMemoryError, ShapeError, nearest
from matnet.files import in_memory
from matnet.inference import AT_INFERENCE, PROBABILITIES
from matnet.meta.inputs import InputFacts
from matnet.network import Layer, Network
from matnet.params import owned
from matnet.shapes import Shape, text

DLPACK_CUDA = (2, 13)  # kinds of devices: CUDA's memory, and its managed memory


class Engine(ABC):
    """A compiled network: call it with inputs, get {wanted name: float32 array N x C x H x W}.

    Attributes: `net`, `wanted` (name as asked for -> variable), `layers` (in execution order), `inputs` (variables);
    `options`; `device` and `precision`, as results name them; `notes`, for the user, on how the engine was chosen;
    `damaged`, the params that hold NaN or infinite values, as `weights_not_finite` says.
    """

    backend: ClassVar[str] = ""
    takes: ClassVar[frozenset[str]] = frozenset()  # the fields of EngineOptions that mean something to this engine only
    device = "cpu"
    precision = "fp32"
    damaged: Sequence[str] = ()

    def __init__(
        self, net: Network, outputs: Sequence[str] | None = None, options: EngineOptions | None = None
    ) -> None:
        self.options = options or EngineOptions()
        release_files(net)
        self.net = net = network_to_run(net, outputs)
        self.wanted = wanted_variables(net, outputs)
        self.layers: list[Layer] = net.upto(self.wanted.values())
        self.notes: list[str] = [note for note in net.source.notes if note.startswith(AT_INFERENCE)]
        self.inputs = _inputs_of(self.layers, self.wanted.values())
        facts = InputFacts(net)
        self._channels = {name: facts.size(name).channels for name in self.inputs}
        net.check(self.wanted.values())

    @abstractmethod
    def __call__(self, x: Any) -> dict[str, np.ndarray]:
        """The wanted variables, from one array or a dict of arrays; raises what `take_inputs` and `prepare` raise."""

    @classmethod
    def callers_for(cls, threads: int | None) -> int:
        """How many threads should call the engine at a time, each with a batch, where it has so many `threads`."""
        return 1

    def prepare(self, inputs: Mapping[str, Shape]) -> None:
        """Make what inputs of these shapes need; ShapeError, naming the layer, where they do not fit the network."""
        self.net.infer_shapes(inputs, self.wanted.values())

    def input_buffer(self, shape: Shape) -> np.ndarray:
        """A float32 array for inputs, zero at first; in memory from which the engine copies fastest."""
        return np.zeros(shape, np.float32)

    @property
    def runtimes(self) -> list[str]:
        """The packages that computed so far, whose versions belong to a result, by their names or those of RUNTIMES."""
        return []

    @property
    def variants(self) -> list[str]:
        """How inputs so far were computed, in words, where an engine has several ways."""
        return []

    def search(self, calls: int | None = None) -> None:  # noqa: B027 - most engines have one way
        """Look for a faster way to run the network beside the next calls, of which `calls` are expected (None: many).

        Of an engine that has several ways; others do nothing. The results of these calls come from the way that is
        used already, and all later ones from the one that was found.
        """

    @property
    def searching(self) -> bool:
        """Whether the next call may change the way in which the network runs."""
        return False

    @property
    def way(self) -> str:
        """How the network runs now, as the option `runtime` names it; "" where an engine has one way only."""
        return ""

    def take_inputs(self, x: Any) -> dict[str, np.ndarray]:
        """Given arrays by input variable, as float32 N x C x H x W; NetworkError, ShapeError where they do not fit."""
        if len(self.inputs) == 1 and _fits(x) and self._channels[self.inputs[0]] in (None, x.shape[1]):
            return {self.inputs[0]: x}
        given = dict(x) if isinstance(x, Mapping) else self._single(x)
        named = {}
        for name, array in given.items():
            if name in self.net.unread_inputs:
                continue
            variable = self._input_called(name)
            what = f"{self.net.source}, input {name!r}"
            named[variable] = self.as_activation(array, what)
            _refuse_channels_last(named[variable], self._channels.get(variable), what)
        missing = [name for name in self.inputs if name not in named]
        if missing:
            raise NetworkError(
                f"{self.net.source}: needs input{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}; "
                f"given: {', '.join(map(repr, given)) or 'nothing'}"
            )
        return named

    def as_activation(self, array: Any, what: str) -> Any:
        """One input as the engine reads it; NetworkError, ShapeError where it does not fit."""
        if lies_on_gpu(array):
            raise EngineError(f"{what}: lies on a GPU, which backend {self.backend!r} cannot read; copy it to the host")
        return as_activation(array, what)

    def _single(self, x: Any) -> dict[str, Any]:
        if not self.inputs:
            raise NetworkError(f"{self.net.source}: {', '.join(self.wanted)} depends on no input; give an empty dict")
        if len(self.inputs) != 1:
            raise NetworkError(
                f"{self.net.source}: takes {len(self.inputs)} inputs ({', '.join(self.inputs)}); give a dict by name"
            )
        return {self.inputs[0]: x}

    def _input_called(self, name: Any) -> str:
        if not isinstance(name, str):
            raise NetworkError(f"{self.net.source}: inputs are given by their names, not by {name!r:.60}")
        if name in self.inputs or name in self.net.inputs:
            return name
        for variable in self.inputs:
            if name in self.net.names_of_input(variable):
                return variable
        hint, inputs = nearest(name, self.inputs), ", ".join(self.inputs)
        raise NetworkError(f"{self.net.source}: has no input {name!r}{hint}; its inputs: {inputs}")


def release_files(net: Network) -> None:
    """Copy params that lie in a mapped file into memory: what then happens to the file changes no result."""
    for param in net.params.values():
        if isinstance(param.value, np.ndarray):
            value = in_memory(param.value)
            if value is not param.value:
                param.value = owned(value)


def does_not_fit(values: Mapping[str, Any], where: str, reason: object) -> OutOfMemoryError:
    """The error for inputs whose run needs more memory than there is; the batch size is that of the first input."""
    sizes = ", ".join(text(value.shape) for value in values.values())
    batch = len(next(iter(values.values()))) if values else None
    why = str(reason).strip().split("\n")[0].rstrip(".") or "no more memory"
    what = f"inputs of {sizes} do" if sizes else "the network does"
    return OutOfMemoryError(f"{what} not fit in the memory of {where} ({why})", batch)


def wanted_variables(net: Network, outputs: Sequence[str] | None) -> dict[str, str]:
    """Name as asked for -> variable, for `outputs` or, by default, all outputs of the graph.

    By default the outputs of training-only layers are left out, their inputs counting as outputs instead.
    """
    if outputs is not None:
        names = _names(outputs)
        return dict(zip(names, net.resolved(names), strict=True))
    dropped = {layer.name for layer in net.training_layers()}
    kept = [layer for layer in net.layers.values() if layer.name not in dropped]
    read = {name for layer in kept for name in layer.inputs}
    written = dict.fromkeys(name for layer in kept for name in layer.outputs)
    names = [name for name in written if name not in read] or net.outputs
    return {name: name for name in names}


def network_to_run(net: Network, outputs: str | Sequence[str] | None, given: Collection[str] | None = None) -> Network:
    """The form of `net` that computes `outputs`: that for inference by default, and for names that exist there only.

    A training-only layer that is asked for by name stays as it is, and needs its labels: unless `given` (the inputs
    that will be given, by any of their names) leaves them out. Flattened blobs become variables.
    """
    if outputs is not None:
        net = net.with_blobs(_names(outputs))
    training = net.training_layers()
    if not training:
        return net
    if outputs is None:
        return net if len(training) == len(net.layers) else net.for_inference()
    names = _names(outputs)
    try:
        needed = {layer.name for layer in net.upto(net.resolved(names))}
    except NetworkError:
        if PROBABILITIES not in names:
            raise
        return net.for_inference()
    if given is None or not needed.intersection(layer.name for layer in training):
        return net
    labels = [name for name in net.inputs if set(net.names_of_input(name)).intersection(given)]
    form = net.for_inputs({*net.data_inputs(), *labels})
    known = {*form.variables, *form.layers, *form.aliases}
    return form if known.issuperset(names) else net


def _names(outputs: Any) -> list[str]:
    """Names given as one or several; NetworkError for anything else."""
    names = [outputs] if isinstance(outputs, str) else list(outputs) if isinstance(outputs, Iterable) else [outputs]
    if not names:
        raise NetworkError("outputs names no variable or layer; leave it out for those of the network")
    if not all(isinstance(name, str) for name in names):
        raise NetworkError(f"outputs are names of variables or layers, one or a list of them, not {outputs!r:.60}")
    return names


def as_activation(array: Any, what: str) -> np.ndarray:
    """`array` as C-contiguous float32 N x C x H x W; ShapeError where its rank is not 4 or it is not numeric."""
    found = np.asarray(array)
    check_activation(found, what)
    return np.ascontiguousarray(found, dtype=np.float32)


def lies_on_gpu(array: Any) -> bool:
    """Whether its values lie in the memory of a GPU, as DLPack or CUDA's array interface say."""
    where = getattr(array, "__dlpack_device__", None)
    if where is not None:
        return int(where()[0]) in DLPACK_CUDA
    return hasattr(array, "__cuda_array_interface__")


def check_activation(found: Any, what: str) -> None:
    """ShapeError for an array that is not N x C x H x W, is empty, or does not hold numbers."""
    if found.dtype.kind not in "fiub":
        raise ShapeError(f"{what}: holds {found.dtype}, expected real numbers")
    if found.ndim != 4:
        raise ShapeError(
            f"{what}: has {found.ndim} dimensions ({text(found.shape) or 'a single number'}), "
            "expected 4 (N x C x H x W); add axes of length 1 where there is one image or one channel"
        )
    if found.size == 0:
        raise ShapeError(f"{what}: is empty ({text(found.shape)})")


def _refuse_channels_last(array: np.ndarray, channels: int | None, what: str) -> None:
    """ShapeError for N x H x W x C, where the network takes another number of channels than the second axis has."""
    if channels is not None and array.shape[1] != channels and array.shape[3] == channels:
        raise ShapeError(
            f"{what}: is {text(array.shape)}, which seems to be N x H x W x C; the network takes {channels} channels "
            "as N x C x H x W: use transpose(0, 3, 1, 2)"
        )


def _fits(x: Any) -> bool:
    """Whether `as_activation` would give x itself back, found without its work: a call may take milliseconds."""
    return type(x) is np.ndarray and x.dtype == np.float32 and x.ndim == 4 and x.size > 0 and x.flags.c_contiguous


def _inputs_of(layers: Sequence[Layer], wanted: Any) -> list[str]:
    written = {name for layer in layers for name in layer.outputs}
    read = dict.fromkeys(name for layer in layers for name in layer.inputs if name not in written)
    read.update(dict.fromkeys(name for name in wanted if name not in written))
    return list(read)
