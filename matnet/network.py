"""Network: layers, params, variables and meta of one graph, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matnet import graph, inference
from matnet.edits import Edited
from matnet.errors import NetworkError
from matnet.graph import Layer, Source
from matnet.names import names_of_input, resolved, with_blobs
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

__all__ = ["Layer", "Network", "Source"]


class Network(Edited):
    """A directed acyclic graph of layers over named variables.

    `layers` and `params` are ordered dicts by name. `precious`: variables that MatConvNet must keep. `meta`: the file's
    free-form structure. `aliases` maps further names (Caffe blobs, names that are not MATLAB identifiers) to variables.
    `blob_ranks`: the rank of each Caffe blob (activations are always 4-D, padded with dimensions of size 1).
    """

    counted: ClassVar[frozenset[str]] = frozenset({"layers", "params", "aliases"})

    def __init__(self, meta: dict[str, Any] | None = None, source: Source | None = None) -> None:
        self.layers: dict[str, Layer] = {}
        self.params: dict[str, Param] = {}
        self.precious: set[str] = set()
        self.meta: dict[str, Any] = {} if meta is None else meta
        self.aliases: dict[str, str] = {}
        self.blob_ranks: dict[str, int] = {}
        self.unread_inputs: set[str] = set()  # declared but unused; accepted and ignored
        self.input_shapes: dict[str, Shape] = {}
        self.source = source or Source()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, Params(value) if name == "params" and not isinstance(value, Params) else value)

    # -- building ---------------------------------------------------------------------------------

    def add(self, layer: Layer) -> Layer:
        """Append a layer. Raises NetworkError for a duplicate name, or a wrong number of inputs or params."""
        graph.check_addition(self, layer)
        self.layers[layer.name] = layer
        return layer

    def copy(self) -> Network:
        """A copy of the graph that can be edited independently; arrays and meta values are shared."""
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
        """The state for copies and pickles, without the compiled engines."""
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

    # -- the graph --------------------------------------------------------------------------------

    @property
    def variables(self) -> list[str]:
        """All variables, in order of first use."""
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
        """The inputs read by layers other than training-only ones: images rather than labels."""
        inputs, training = self.inputs, {layer.name for layer in self.training_layers()}
        read = {v for name, layer in self.layers.items() if name not in training for v in layer.inputs}
        return [name for name in inputs if name in read] or inputs

    def execution_order(self) -> list[Layer]:
        """The layers in topological order. Raises NetworkError, with the layers, for a cycle.

        Keeps the file's order where possible; follows MatConvNet's order if several layers write one variable.
        """
        return graph.execution_order(self)

    def resolve(self, name: str) -> str:
        """Resolve `name` to a variable: `name` is a variable, a layer (its first output), or an alias.

        Raises NetworkError, with the nearest names, for an unknown name.
        """
        return resolved(self, [name])[0]

    def resolved(self, names: Iterable[str]) -> list[str]:
        """Resolve several names to variables; see `resolve`."""
        return resolved(self, names)

    def with_blobs(self, names: Iterable[str] | None) -> Network:
        """This network, or a copy in which the flattened Caffe blobs among `names` are variables."""
        return with_blobs(self, names)

    def names_of_input(self, variable: str) -> list[str]:
        """All accepted names of an input: its own, its aliases, and the name of its Caffe blob."""
        return names_of_input(self, variable)

    # -- edits ------------------------------------------------------------------------------------

    def training_layers(self) -> list[Layer]:
        """Layers that only training needs: losses and error measures."""
        return inference.training_layers(self)

    def for_inference(self) -> Network:
        """A copy without training-only layers and their inputs; its notes list the changes.

        A final `softmaxloss` (a DagNN Loss of type softmaxlog) becomes a SoftMax. Layer and output keep their names;
        `prob` becomes an alias of the output if that name is free. If the scores already pass a SoftMax, the loss is
        dropped like other losses. An unknown layer counts as training-only if its output is unused and its name or type
        contains loss, error, accuracy or metric. Labels are still accepted, and ignored. Raises NetworkError if no
        layer remains.
        """
        return inference.for_inference(self)

    def for_inputs(self, given: Collection[str]) -> Network:
        """The network to run with these inputs (variables): training-only layers stay if their labels are given; the
        others are replaced or dropped as in `for_inference`.
        """
        return inference.for_inputs(self, given)

    def upto(self, outputs: Iterable[str]) -> list[Layer]:
        """The layers that `outputs` (variables) depend on, in execution order; of several writers only the last."""
        return graph.upto(self, outputs)

    def rename(self, variables: Mapping[str, str]) -> None:
        """Rename variables in layers, aliases, blob ranks, precious, input shapes, and the inputs named in meta."""
        from matnet.meta.values import renamed_inputs

        new = dict(variables)
        self.meta = renamed_inputs(self.meta, new)
        for layer in self.layers.values():
            layer.inputs = [new.get(name, name) for name in layer.inputs]
            layer.outputs = [new.get(name, name) for name in layer.outputs]
        self.precious = {new.get(name, name) for name in self.precious}
        self.aliases = {alias: new.get(name, name) for alias, name in self.aliases.items()}
        self.blob_ranks = {new.get(name, name): rank for name, rank in self.blob_ranks.items()}
        self.input_shapes = {new.get(name, name): shape for name, shape in self.input_shapes.items()}

    # -- checks and sizes -------------------------------------------------------------------------

    def check(self, wanted: Iterable[str] | None = None) -> None:
        """Raise one NetworkError that lists every error in the graph: cycles, missing params, bad fields.

        wanted: check only the layers that these variables depend on.
        """
        graph.check(self, wanted)

    def param_shapes(self, layer: Layer) -> list[Shape]:
        """The shapes of a layer's params as stored in the file; () for a missing one."""
        return [self.params[name].value.shape if name in self.params else () for name in layer.params]

    def infer_shapes(
        self, inputs: Mapping[str, Shape], wanted: Iterable[str] | None = None, partial: bool = False
    ) -> dict[str, Shape]:
        """The shape of every variable for these input shapes (N x C x H x W), without allocating arrays.

        wanted: infer only what these variables depend on. Raises ShapeError naming the layer; with `partial`, layers
        with unknown output shapes are skipped instead.
        """
        return graph.infer_shapes(self, inputs, wanted, partial)

    def receptive_fields(self, variable: str, shapes: Mapping[str, Shape]) -> dict[str, ReceptiveField | None]:
        """The receptive field in `variable` of a pixel of each variable; None if undefined, absent if not connected.

        Composed as in DagNN.getVarReceptiveFields. shapes: from `infer_shapes`.
        """
        return graph.receptive_fields(self, variable, shapes)

    def default_input_shapes(self, batch: int = 1, size: tuple[int, int] | None = None) -> dict[str, Shape]:
        """Input shapes from meta (inputs, inputSize, normalization.imageSize) or the first filters; N = `batch`.

        size: replaces height and width of every data input, except inputs of 1x1 pixels. Inputs of unknown shape are
        left out.
        """
        from matnet.meta.inputs import default_input_shapes

        return default_input_shapes(self, batch, size)

    # -- answers (matnet.answers) -----------------------------------------------------------------

    def __getitem__(self, name: str) -> LayerView:
        """A layer with its arrays: `net["conv1"].filters`. Raises KeyError with the nearest names."""
        from matnet.answers.layers import layer_view

        return layer_view(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self.layers

    __iter__ = None  # not a sequence, although it has __getitem__

    @property
    def classes(self) -> Classes:
        """The class names, with WordNet ids if known; empty if neither file nor card has names.

        To set them, assign a list of names, a file with one class per line, `ilsvrc12` or `devkit`. They are saved with
        the network.
        """
        from matnet.answers.classes import classes_of

        return classes_of(self)

    @classes.setter
    def classes(self, stated: Any) -> None:
        from matnet.answers.classes import stated_classes, write_classes

        write_classes(self, stated_classes(stated))

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing stated in the network's file. Raises DataError if there is none."""
        from matnet.images import Preprocessing

        return Preprocessing.of(self)

    def prepare(self, images: Any, **overrides: Any) -> np.ndarray:
        """Preprocess images: N x C x H x W float32 (10 N with ten crops).

        images: a path, bytes, an open file, an image of Pillow's, an H x W x C array, a folder, or a list of these.
        overrides: `preprocessing=`, or fields of `Preprocessing` that replace the file's (image_size, mean, exif, ...).
        """
        from matnet.answers.features import prepare

        return prepare(self, images, **overrides)

    def classify(self, images: Any, top: int = 5, **options: Any) -> Predictions:
        """The `top` classes of each image, as a table: text, HTML in a notebook, plain data by `to_dicts()`.

        images: as for `prepare`. Unreadable images of a list or folder are listed in `unreadable` and skipped. options:
        classes (names, a file, `ilsvrc12`, `devkit`), scores (the variable to rank; default the last softmax),
        preprocessing, fields of Preprocessing to override (image_size, mean, exif, ...), and fields of EngineOptions
        (backend, default the fastest; batch_size; ...). Raises DataError if no image can be read or the preprocessing
        is unknown.
        """
        from matnet.answers.classify import classify

        return classify(self, images, top, **options)

    def detect(self, images: Any, least: float = 0.5, top: int | None = None, **options: Any) -> list[ImageDetections]:
        """The objects in each image with a score of at least `least` (0..1), at most `top` of them, best first.

        For detectors such as Faster R-CNN, SSD and YOLO. images and options: as for `classify`, except batch_size and
        crops, because each image is processed alone and uncropped. classes: a name for each class, including the
        background. Raises NetworkError if the network is not such a detector, DataError if no image can be read or the
        number of names does not match the scores.
        """
        from matnet.answers.detect import detections

        return detections(self, images, least, top, **options)

    def features(self, images: Any, layers: str | Sequence[str], **options: Any) -> Any:
        """The values of a layer or variable for each image: N x C, or N x C x H x W for maps; a dict for several.

        layers: one or several names, or patterns such as `conv5*`. images and options (preprocessing, its fields, and
        fields of EngineOptions): as for `classify`. pool: `avg` or `max` over each map. Rows of unreadable images are
        NaN, and the log names them. out: a .npz, .npy, .h5 or .mat file to write instead, in constant memory; returns
        its path. With `out`, `workers` processes or the workers of the Dask scheduler at address `scheduler` share the
        work, and an interrupted run continues unless resume=False.
        """
        from matnet.answers.features import features

        return features(self, images, layers, **options)

    def summary(self) -> str:
        """A text summary: properties of the network, one row per layer, totals."""
        from matnet.answers.drawing import summary

        return summary(self)

    def draw(self) -> Drawing:
        """A drawing of the graph. Notebooks display it; `save(path)` writes SVG."""
        from matnet.answers.drawing import draw

        return draw(self)

    def save(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write a .mat file; options and errors as in `matnet.save`."""
        from matnet.formats import save_network

        return save_network(self, path, **options)

    def to_onnx(self, path: str | os.PathLike[str], **options: Any) -> list[Path]:
        """Write ONNX and return the paths written; options and errors as in `formats.onnx.save_onnx`."""
        from matnet.formats.onnx import save_onnx

        return save_onnx(self, path, **options)

    def to_torch(self, outputs: Sequence[str] | None = None, **options: Any) -> Any:
        """The network as a torch.nn.Module; needs torch (`pip install matnet[torch]`). See `matnet.torch`."""
        from importlib import import_module

        try:
            room = import_module("matnet.torch")
        except ImportError as error:
            raise NetworkError(f"to_torch needs torch ({error}); install it with `pip install torch`") from None
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
        """An engine for these outputs (default: `self.outputs`); see `matnet.engines.compile_network`.

        options: an EngineOptions, or its fields as keywords (backend, default numpy; device, ...). With backend "auto"
        and no runtime, the first calls also time alternative ways to run the network; later calls use the fastest
        (`engine.way`).
        """
        from matnet import engines  # engines import networks, not vice versa

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
        """Run the network in test mode; returns {name: array N x C x H x W}.

        x: one array for a network with one data input, or a dict by input name; N x C x H x W, converted to float32.
        outputs: names of variables, layers or Caffe blobs; default: the outputs of the network. The KeyError of the
        returned dict names the key to use for a known alias. Raises NetworkError for unknown names, ShapeError if
        shapes do not match.

        The compiled engine is kept for calls with the same outputs and options, until the graph changes or a
        `Param.value` is assigned.
        """
        from matnet.engines import engine_options
        from matnet.engines.kept import kept_engines
        from matnet.engines.results import Results

        given = frozenset(x) if isinstance(x, Mapping) and len(x) > 1 else frozenset()
        engine = kept_engines(self).engine(self, outputs, engine_options(options, backend=backend, **keywords), given)
        return Results(self, engine(x))

    def __call__(self, x: Any, outputs: Sequence[str] | None = None, **keywords: Any) -> Any:
        """Like `forward`, but returns a single output as an array. (`compile()(x)` always returns a dict.)"""
        results = self.forward(x, outputs, **keywords)
        return next(iter(results.values())) if len(results) == 1 else results

    def __repr__(self) -> str:
        from matnet.meta.transposed import flipped_inputs

        elements = sum(param.value.size for param in self.params.values())
        colours = ", takes R, G, B (Caffe: B, G, R)" if flipped_inputs(self) else ""
        return f"<Network {self.source}: {len(self.layers)} layers, {elements:,} parameters{colours}>"

    def _repr_html_(self) -> str:
        from matnet.display.html import network_to_html  # used only in notebooks

        return network_to_html(self)
