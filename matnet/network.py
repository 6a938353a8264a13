"""Network: layers, params, variables and meta of one graph; its checks and size inference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matnet import inference
from matnet.edits import Edited
from matnet.errors import MatnetError, NetworkError, ShapeError, in_words, listing
from matnet.names import RESTORED, names_of_input, resolved, with_blobs
from matnet.ops.base import Op, Unknown
from matnet.params import Param, Params
from matnet.shapes import ReceptiveField, Shape

if TYPE_CHECKING:
    import os

    from matnet.answers.classes import Classes
    from matnet.answers.classify import Predictions
    from matnet.answers.detect import ImageDetections
    from matnet.answers.drawing import Drawing
    from matnet.answers.layers import LayerView
    from matnet.engines import Engine, EngineOptions
    from matnet.images import Preprocessing


@dataclass
class Layer(Edited):
    """One node: an op, the variables it reads and writes, and the params it uses, all by name."""

    counted: ClassVar[frozenset[str]] = frozenset({"inputs", "outputs", "params"})
    name: str
    op: Op
    inputs: list[str]
    outputs: list[str]
    params: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)  # fields of the file that no op needs, for saving
    faults: list[str] = field(default_factory=list)  # why it cannot run, as far as reading the file showed

    @property
    def type_name(self) -> str:
        """What the layer is called in a DagNN file, or the unknown type's own name."""
        return self.op.kind if isinstance(self.op, Unknown) else self.op.dagnn or type(self.op).__name__


@dataclass
class Source:
    """Where a network came from: kept for messages, for saving in the same format, and for results."""

    path: Path | None = None
    format: str = "dagnn"  # simplenn, dagnn or caffe
    notes: list[str] = field(default_factory=list)  # what was decided while reading
    chosen: str = ""  # how the network was chosen from its file, where loading the path alone gives another one

    def __str__(self) -> str:
        return str(self.path) if self.path else "network"


class Network(Edited):
    """A directed acyclic graph of layers over named variables.

    `layers` and `params` are ordered dicts by name; `precious` lists variables that MatConvNet must
    keep; `meta` is the file's free-form structure; `aliases` maps further names (Caffe's blobs, names
    before they were made MATLAB identifiers) to variables, `blob_ranks` the rank that a Caffe blob has
    (activations here are always 4-D, missing dimensions being 1).
    """

    counted: ClassVar[frozenset[str]] = frozenset({"layers", "params", "aliases"})

    def __init__(self, meta: dict[str, Any] | None = None, source: Source | None = None) -> None:
        self.layers: dict[str, Layer] = {}
        self.params: dict[str, Param] = {}
        self.precious: set[str] = set()
        self.meta: dict[str, Any] = {} if meta is None else meta
        self.aliases: dict[str, str] = {}
        self.blob_ranks: dict[str, int] = {}
        self.unread_inputs: set[str] = set()  # declared by the file, read by no layer: may be given, changes nothing
        self.input_shapes: dict[str, Shape] = {}
        self.source = source or Source()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, Params(value) if name == "params" and not isinstance(value, Params) else value)

    # -- building ---------------------------------------------------------------------------------

    def add(self, layer: Layer) -> Layer:
        """Append a layer; NetworkError where its name is taken or its op takes another number of inputs or params."""
        if layer.name in self.layers:
            raise NetworkError(f"{self.source}: two layers are called {layer.name!r}; names must differ")
        for what, names, (fewest, most) in (
            ("inputs", layer.inputs, layer.op.input_count),
            ("params", layer.params, layer.op.param_count),
        ):
            if len(names) < fewest or (most is not None and len(names) > most):
                wanted = str(fewest) if most == fewest else f"{fewest} to {'any' if most is None else most}"
                raise NetworkError(
                    f"{self.source}, layer {layer.name!r} ({layer.type_name}): has {len(names)} {what}, needs {wanted}"
                )
        self.layers[layer.name] = layer
        return layer

    def copy(self) -> Network:
        """A network whose graph can be edited without touching this one; arrays and meta values are shared."""
        twin = Network(dict(self.meta), replace(self.source, notes=list(self.source.notes)))
        for layer in self.layers.values():
            twin.layers[layer.name] = replace(
                layer, inputs=list(layer.inputs), outputs=list(layer.outputs), params=list(layer.params)
            )
        twin.params = {name: replace(param) for name, param in self.params.items()}
        twin.precious, twin.aliases = set(self.precious), dict(self.aliases)
        twin.unread_inputs = set(self.unread_inputs)
        twin.blob_ranks, twin.input_shapes = dict(self.blob_ranks), dict(self.input_shapes)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold: all but the compiled engines."""
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

    # -- the graph --------------------------------------------------------------------------------

    @property
    def variables(self) -> list[str]:
        """All variables, in order of first mention."""
        named: dict[str, None] = {}
        for layer in self.layers.values():
            named.update(dict.fromkeys([*layer.inputs, *layer.outputs]))
        return list(named)

    @property
    def inputs(self) -> list[str]:
        """Variables that no layer writes."""
        written = {name for layer in self.layers.values() for name in layer.outputs}
        return [name for name in self.variables if name not in written]

    @property
    def outputs(self) -> list[str]:
        """Variables that no layer reads."""
        read = {name for layer in self.layers.values() for name in layer.inputs}
        return [name for name in self.variables if name not in read]

    def data_inputs(self) -> list[str]:
        """The inputs that something other than a training-only layer reads: images rather than labels."""
        inputs, training = self.inputs, {layer.name for layer in self.training_layers()}
        read = {v for name, layer in self.layers.items() if name not in training for v in layer.inputs}
        return [name for name in inputs if name in read] or inputs

    def execution_order(self) -> list[Layer]:
        """The layers so that each comes after all that it reads; NetworkError naming the layers of a cycle.

        That is the file's order wherever it can be, and MatConvNet's where several layers write one variable.
        """
        left = Counter(name for layer in self.layers.values() for name in set(layer.outputs))
        writes = Counter(name for layer in self.layers.values() for name in layer.outputs)
        last = {name: place for place, layer in enumerate(self.layers.values()) for name in layer.outputs}
        readers: dict[str, list[str]] = {}  # of variables, so that many writers of one with many readers stay few steps
        for layer in self.layers.values():
            for name in set(layer.inputs):
                readers.setdefault(name, []).append(layer.name)
        waiting = {layer.name: sum(name in writes for name in set(layer.inputs)) for layer in self.layers.values()}
        position = {name: index for index, name in enumerate(self.layers)}
        ready = [name for name, count in waiting.items() if not count]
        order: list[Layer] = []
        for name in ready:
            order.append(self.layers[name])
            freed = []
            for output in set(self.layers[name].outputs):
                left[output] -= 1
                for reader in () if left[output] else readers.get(output, ()):
                    waiting[reader] -= 1
                    if not waiting[reader]:
                        freed.append(reader)
            ready += sorted(freed, key=position.__getitem__)
        if len(order) < len(self.layers):
            stuck = [f"{name!r} reads {', '.join(self.layers[name].inputs)}" for name in waiting if waiting[name]]
            raise NetworkError(listing(f"{self.source}: the graph has a cycle, through or before these layers:", stuck))
        if any(count > 1 for count in writes.values()):
            return self._deepest_first(order)
        in_file_order = all(last[name] < position[names[0]] for name, names in readers.items() if name in last)
        return list(self.layers.values()) if in_file_order else order

    def _deepest_first(self, order: Sequence[Layer]) -> list[Layer]:
        """The layers by the longest way behind them, of equal ones in file order, as MatConvNet runs them.

        The order decides where several layers write one variable: the last one counts.
        """
        depth: dict[str, int] = {}
        behind: dict[str, int] = {}  # of each variable, the depth of its deepest reader
        for layer in reversed(order):
            depth[layer.name] = 1 + max((behind.get(name, 0) for name in layer.outputs), default=0)
            behind.update({name: max(behind.get(name, 0), depth[layer.name]) for name in layer.inputs})
        return sorted(self.layers.values(), key=lambda layer: -depth[layer.name])

    def resolve(self, name: str) -> str:
        """The variable that `name` means: a variable, a layer (its first output), or a known alias.

        NetworkError with the nearest names where it means none of them.
        """
        return resolved(self, [name])[0]

    def resolved(self, names: Iterable[str]) -> list[str]:
        """The variables that several names mean, as `resolve` finds them."""
        return resolved(self, names)

    def with_blobs(self, names: Iterable[str] | None) -> Network:
        """This network, or a copy in which those of `names` that are flattened Caffe blobs are variables."""
        return with_blobs(self, names)

    def names_of_input(self, variable: str) -> list[str]:
        """The names under which an input may be given: its own, its aliases, and the Caffe blob that it starts as."""
        return names_of_input(self, variable)

    # -- edits ------------------------------------------------------------------------------------

    def training_layers(self) -> list[Layer]:
        """Layers that only training needs: losses and error measures."""
        return inference.training_layers(self)

    def for_inference(self) -> Network:
        """A copy without training-only layers and what only they needed; its notes state what was changed.

        A final `softmaxloss` (a DagNN Loss of type softmaxlog) becomes the SoftMax whose logarithm it measures: layer
        and output keep their names, and `prob` is another name of the output where that is free. Where the scores pass
        a SoftMax anyway, it is dropped as all others are. An unknown layer counts as training-only when its name or
        type says loss, error, accuracy or metric and nothing reads its outputs. Labels may still be given, and change
        nothing. NetworkError where no layer remains.
        """
        return inference.for_inference(self)

    def for_inputs(self, given: Collection[str]) -> Network:
        """The network that can run when these inputs (variables) are given: training-only layers stay where their
        labels are among them, and the others become what they are in `for_inference`.
        """
        return inference.for_inputs(self, given)

    def upto(self, outputs: Iterable[str]) -> list[Layer]:
        """The layers that `outputs` (variables) depend on, in execution order; of several writers of one, the last."""
        wanted = set(outputs)
        kept = []
        for layer in reversed(self.execution_order()):
            if wanted.intersection(layer.outputs):
                kept.append(layer)
                wanted.difference_update(layer.outputs)
                wanted.update(layer.inputs)
        return kept[::-1]

    def rename(self, variables: Mapping[str, str]) -> None:
        """Rename variables everywhere: in layers, aliases, ranks, precious and input shapes."""
        new = dict(variables)
        for layer in self.layers.values():
            layer.inputs = [new.get(name, name) for name in layer.inputs]
            layer.outputs = [new.get(name, name) for name in layer.outputs]
        self.precious = {new.get(name, name) for name in self.precious}
        self.aliases = {alias: new.get(name, name) for alias, name in self.aliases.items()}
        self.blob_ranks = {new.get(name, name): rank for name, rank in self.blob_ranks.items()}
        self.input_shapes = {new.get(name, name): shape for name, shape in self.input_shapes.items()}

    # -- checks and sizes -------------------------------------------------------------------------

    def check(self, wanted: Iterable[str] | None = None) -> None:
        """Raise one NetworkError that lists every fault of the graph: cycles, missing params, bad fields.

        `wanted` limits the search to what these variables depend on.
        """
        faults, broken = [], list[str]()
        layers = self.execution_order() if wanted is None else self.upto(wanted)
        without = [layer.name for layer in layers if any(name not in self.params for name in layer.params)]
        filters = [layer.params[0] for layer in layers if layer.params and layer.op.has_filters]
        if self.source.format == "caffe" and without and not any(name in self.params for name in filters):
            way = in_words("matnet.load('net.prototxt', 'net.caffemodel')", "NET.prototxt NET.caffemodel")
            need = "1 layer needs" if len(without) == 1 else f"{len(without)} layers need"
            raise NetworkError(
                f"{self.source}: holds no weights, which {need} "
                f"({', '.join(without[:3])}{', ...' if len(without) > 3 else ''}); give the caffemodel beside it: {way}"
            )
        for layer in layers:
            missing = [f"param {name!r} is missing or empty" for name in layer.params if name not in self.params]
            faults += [f"layer {layer.name!r} ({layer.type_name}): {fault}" for fault in (*layer.faults, *missing)]
            broken += [layer.name] if layer.faults or missing else []
        if faults:
            raise NetworkError(listing(f"{self.source}: cannot run:", faults) + self.computable_without(broken))

    def computable_without(self, broken: Collection[str]) -> str:
        """A line that names the last variable which needs none of the layers `broken`; "" where there is none."""
        lost: set[str] = set()
        last = ""
        for layer in self.execution_order():
            if layer.name in broken or lost.intersection(layer.inputs):
                lost.update(layer.outputs)
            elif layer.outputs and not layer.name.endswith(RESTORED):
                last = layer.outputs[0]
        if not last:
            return ""
        way = in_words(f"outputs=[{last!r}]", f"--outputs {last}")
        return f"\nThe last variable that can be computed is {last!r} ({way})."

    def param_shapes(self, layer: Layer) -> list[Shape]:
        """The 4-D or flat shapes of a layer's params as the file has them; () for one that is missing."""
        return [self.params[name].value.shape if name in self.params else () for name in layer.params]

    def infer_shapes(
        self, inputs: Mapping[str, Shape], wanted: Iterable[str] | None = None, partial: bool = False
    ) -> dict[str, Shape]:
        """Every variable's shape for these input shapes (N x C x H x W), before any array is allocated.

        `wanted` limits the work to what these variables depend on. Raises ShapeError naming the layer;
        with `partial` the layers that cannot be sized are left out instead.
        """
        shapes: dict[str, Shape] = dict(inputs)
        layers = self.execution_order() if wanted is None else self.upto(wanted)
        for layer in layers:
            missing = [name for name in layer.inputs if name not in shapes]
            if missing:
                if partial:
                    continue
                raise NetworkError(f"{self.source}, layer {layer.name!r}: its input {missing[0]!r} is not given")
            try:
                if layer.faults:
                    raise ShapeError(layer.faults[0])
                found = layer.op.output_shapes([shapes[name] for name in layer.inputs], self.param_shapes(layer))
                if len(found) < len(layer.outputs):
                    raise ShapeError(f"has {len(layer.outputs)} outputs; its type gives {len(found)}")
            except MatnetError as error:
                if partial:
                    continue
                sizes = ", ".join(f"{name!r} {'x'.join(map(str, shapes[name]))}" for name in layer.inputs)
                where = f"{self.source}, layer {layer.name!r} ({layer.type_name}) on {sizes}"
                raise ShapeError(f"{where}: {error}") from None
            shapes.update(zip(layer.outputs, found, strict=False))
        return shapes

    def receptive_fields(self, variable: str, shapes: Mapping[str, Shape]) -> dict[str, ReceptiveField | None]:
        """The receptive field of every variable's pixels in `variable`; None: undefined; absent: no connection.

        Composition as in DagNN.getVarReceptiveFields; `shapes` as from `infer_shapes`.
        """
        seen: dict[str, ReceptiveField | None] = {variable: ReceptiveField()}
        for layer in self.execution_order():
            if not all(name in shapes for name in layer.inputs):
                continue
            merged: list[ReceptiveField | None] = []
            fields = layer.op.receptive_fields([shapes[name] for name in layer.inputs])
            for position, (name, own) in enumerate(zip(layer.inputs, fields, strict=True)):
                if name in seen and position not in layer.op.size_only_inputs:
                    below = seen[name]
                    merged.append(below.then(own) if below is not None and own is not None else None)
            if merged:
                total = merged[0]
                for other in merged[1:]:
                    total = total.union(other) if total is not None and other is not None else None
                seen.update(dict.fromkeys(layer.outputs, total))
        return seen

    def default_input_shapes(self, batch: int = 1, size: tuple[int, int] | None = None) -> dict[str, Shape]:
        """Input shapes from meta (inputs, inputSize, normalization.imageSize) or the first filters; N = `batch`.

        `size` replaces height and width of every data input that has more than one pixel or no known size.
        An input about which nothing is known is left out.
        """
        from matnet.meta.inputs import InputFacts, declared_input_shapes

        declared, facts = declared_input_shapes(self), InputFacts(self)
        shapes = {}
        for name in facts.names:
            if name in declared:
                _, channels, *pixels = declared[name]
                shapes[name] = (batch, channels, *(size if size and pixels != [1, 1] else pixels))
            elif size and (channels_read := facts.channels(name)):
                shapes[name] = (batch, channels_read, *size)
        return shapes

    # -- answers (matnet.answers) -----------------------------------------------------------------

    def __getitem__(self, name: str) -> LayerView:
        """A layer with its arrays: `net["conv1"].filters`. KeyError with the nearest names where there is none."""
        from matnet.answers.layers import layer_view

        return layer_view(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self.layers

    __iter__ = None  # a network is no sequence, though it has __getitem__

    @property
    def classes(self) -> Classes:
        """The names of the classes, with WordNet ids where known; empty where neither file nor card names them.

        Assign a list of names, a file with one class per line, `ilsvrc12` or `devkit` to name them; they are saved.
        """
        from matnet.answers.classes import classes_of

        return classes_of(self)

    @classes.setter
    def classes(self, stated: Any) -> None:
        from matnet.answers.classes import stated_classes, write_classes

        write_classes(self, stated_classes(stated))

    @property
    def preprocessing(self) -> Preprocessing:
        """How the network's file asks for images to be prepared; DataError where it does not say."""
        from matnet.images import Preprocessing

        return Preprocessing.of(self)

    def prepare(self, images: Any, **overrides: Any) -> np.ndarray:
        """Images as the network's input, N x C x H x W float32 (with ten crops, 10 N).

        images: a path, bytes, an open file, an image of Pillow's, an H x W x C array, a folder, or a list of these.
        overrides: `preprocessing=`, or fields of `Preprocessing` that replace the file's (image_size, mean, exif, ...).
        """
        from matnet.answers.features import prepare

        return prepare(self, images, **overrides)

    def classify(self, images: Any, top: int = 5, **options: Any) -> Predictions:
        """The `top` classes of each image, as a table: text, HTML in a notebook, plain data by `to_dicts()`.

        images: as for `prepare`. An image of a list or folder that cannot be read is named in `unreadable`, and the
        others go on. options: classes (names, a file, `ilsvrc12`, `devkit`), scores (the variable to rank; default the
        last softmax), preprocessing, fields of Preprocessing that replace its own or the file's (image_size, mean,
        exif, ...), and fields of EngineOptions (backend, default the fastest; batch_size; ...). Raises DataError where
        no image can be read or nothing says how to prepare one.
        """
        from matnet.answers.classify import classify

        return classify(self, images, top, **options)

    def detect(
        self, images: Any, least: float = 0.5, top: int | None = None, **options: Any
    ) -> list[ImageDetections]:
        """The objects in each image whose score is at least `least` (0..1), at most `top` of them, best first.

        For detectors that propose boxes (Faster R-CNN) or list them (SSD, YOLO). images and options are as for
        `classify`, but for batch_size and crops, as each image is computed alone and whole. classes: a name for each
        class, the background among them. Raises NetworkError for a network that is no such detector, DataError where
        no image can be read or the names do not fit the scores.
        """
        from matnet.answers.detect import detections

        return detections(self, images, least, top, **options)

    def features(self, images: Any, layers: str | Sequence[str], **options: Any) -> Any:
        """The values of a layer or variable for each image: N x C, or N x C x H x W for maps; a dict for several.

        layers: a name, or several, or patterns such as `conv5*`. images, and options preprocessing, its fields and
        those of the engine, are as for `classify`. pool: `avg` or `max` over each map. The row of an image that cannot
        be read is NaN, and the log names it. out: a .npz, .npy, .h5 or .mat file that is written instead, in memory
        that does not grow with the number of images; then `workers` processes share the work, and a run that was
        interrupted goes on unless resume=False. Returns the path.
        """
        from matnet.answers.features import features

        return features(self, images, layers, **options)

    def summary(self) -> str:
        """What the network is, a row per layer, and the totals, as text."""
        from matnet.answers.drawing import summary

        return summary(self)

    def draw(self) -> Drawing:
        """The graph as a drawing, which a notebook shows and `save(path)` writes as SVG."""
        from matnet.answers.drawing import draw

        return draw(self)

    def save(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write a .mat file; options and errors are those of `matnet.save`."""
        from matnet.formats import save_network

        return save_network(self, path, **options)

    def to_onnx(self, path: str | os.PathLike[str], **options: Any) -> list[Path]:
        """Write an ONNX file and return the files written; options and errors are those of `formats.onnx.save_onnx`."""
        from matnet.formats.onnx import save_onnx

        return save_onnx(self, path, **options)

    def to_torch(self, outputs: Sequence[str] | None = None, **options: Any) -> Any:
        """The network as a torch.nn.Module; needs torch (`pip install matnet[torch]`). See `matnet.torch`."""
        from importlib import import_module

        try:
            room = import_module("matnet.torch")
        except ImportError as error:
            raise NetworkError(f"to_torch needs torch, which is not available ({error}); pip install torch") from None
        return room.to_torch(self, outputs, **options)

    # -- running ----------------------------------------------------------------------------------

    def compile(
        self,
        outputs: Sequence[str] | None = None,
        backend: str | None = None,
        *,
        options: EngineOptions | None = None,
        **keywords: Any,
    ) -> Engine:
        """An engine for these outputs (default: all of `self.outputs`); see `matnet.engines.compile_network`.

        How it runs: `options`, or the fields of EngineOptions as keywords (backend, default numpy; device, ...). With
        backend "auto" and no runtime, other ways to run the network are timed beside its first calls, and later ones
        go on in the fastest (`engine.way`).
        """
        from matnet import engines  # an engine knows the network, not the other way round

        engine = engines.compile_network(self, outputs, options, backend=backend, **keywords)
        if engine.options.backend == "auto":
            engine.search()
        return engine

    def forward(
        self,
        x: Any,
        outputs: Sequence[str] | None = None,
        backend: str | None = None,
        *,
        options: EngineOptions | None = None,
        **keywords: Any,
    ) -> dict[str, np.ndarray]:
        """Run the network in test mode: {wanted name: array N x C x H x W}; KeyError of another name of a result, such
        as a Caffe blob of a SimpleNN file, says what it is called.

        `x` is one array for a net with one data input, or a dict by input name; float32 N x C x H x W
        (anything numeric is converted). `outputs` are variable, layer or Caffe blob names, default the
        network's own outputs. Raises NetworkError or ShapeError where names or sizes do not fit.

        The compiled engine is kept for the next call with the same outputs and options, until the graph changes or
        a `Param.value` is assigned.
        """
        from matnet.engines import engine_options
        from matnet.engines.kept import kept_engines
        from matnet.engines.results import Results

        given = frozenset(x) if isinstance(x, Mapping) and len(x) > 1 else frozenset()
        engine = kept_engines(self).engine(self, outputs, engine_options(options, backend=backend, **keywords), given)
        return Results(self, engine(x))

    def __call__(self, x: Any, outputs: Sequence[str] | None = None, **keywords: Any) -> Any:
        """As `forward`, but a single output comes as the array itself; `compile()(x)` always gives a dict."""
        results = self.forward(x, outputs, **keywords)
        return next(iter(results.values())) if len(results) == 1 else results

    def __repr__(self) -> str:
        from matnet.meta.transposed import flipped_inputs

        elements = sum(param.value.size for param in self.params.values())
        colours = ", takes R, G, B (Caffe: B, G, R)" if flipped_inputs(self) else ""
        return f"<Network {self.source}: {len(self.layers)} layers, {elements:,} parameters{colours}>"

    def _repr_html_(self) -> str:
        from matnet.display.html import network_to_html  # drawn only in notebooks

        return network_to_html(self)
