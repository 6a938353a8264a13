"""Networks as PyTorch modules: every translation against the numpy engine, whole networks against the originals.

The arrays of tests/data are what MatConvNet and BVLC Caffe computed; single layers are compared with the numpy engine.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import matnet
import matnet.formats.onnx.extensions
from matnet import Layer, NetworkError, Param, UnsupportedLayersError
from matnet.formats.onnx import EXPORTERS
from matnet.network import Network
from matnet.ops import extensions as ext
from matnet.ops.activation import DropOut, ReLU, Sigmoid, SoftMax
from matnet.ops.base import Op
from matnet.ops.combine import Concat, Crop, Scale, SubP, Sum
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.normalization import LRN, BatchNorm, NormOffset, SpatialNorm
from matnet.ops.pooling import Pooling
from matnet.ops.roi import ROIPooling
from matnet.ops.sampling import BilinearSampler
from matnet.ops.training import PDist
from matnet.torch import TRANSLATIONS, LayerWriter, generated, translation
from tests import op_cases
from tests.conftest import DATA, assert_close, conformance_cases
from tests.helpers import full
from tests.layer_cases import CASES, FILTERS, MOMENTS, X, single, values

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'matnet[torch]'")
torch.set_num_threads(1)

TOLERANCE = 1e-5


def run(module: Any, *inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The module's outputs by name."""
    with torch.no_grad():
        found = module(*[torch.from_numpy(np.ascontiguousarray(x)) for x in inputs])
    named = found if isinstance(found, dict) else {module.output_names[0]: found}
    return {name: value.numpy() for name, value in named.items()}


def check(net: Network, inputs: dict[str, np.ndarray], **options: Any) -> Any:
    """The module, once its outputs are those of the numpy engine."""
    shapes = {name: value.shape for name, value in inputs.items()}
    module = net.to_torch(input_shapes=shapes, **options)
    found = run(module, *[inputs[name] for name in module.input_names])
    expected = net.forward(inputs, list(module.output_names))
    for name, reference in expected.items():
        assert_close(found[name], reference, TOLERANCE, name)
    return module


@pytest.mark.parametrize("case", CASES)
def test_translation(case: str) -> None:
    op, params, shapes, outputs = CASES[case]
    inputs = {f"x{number}": 0.6 * values(*shape, seed=number) for number, shape in enumerate(shapes)}
    check(single(op, params, len(shapes), outputs), inputs)


TRANSLATED = [case for case in op_cases.CASES if type(case.op) in TRANSLATIONS and case.inputs]


@pytest.mark.parametrize("case", TRANSLATED, ids=str)
def test_translation_of_every_op(case: op_cases.OpCase) -> None:
    inputs, params = case.arrays()
    outputs = len(case.op.output_shapes([x.shape for x in inputs], [param.shape for param in params]))
    net = single(case.op, params, len(inputs), outputs)
    check(net, {f"x{number}": value for number, value in enumerate(inputs)})


def test_what_onnx_carries_torch_carries() -> None:
    assert EXPORTERS.keys() <= TRANSLATIONS.keys()


@pytest.mark.parametrize("op", [ext.Parameter(), ext.DummyData(size=(7, 11, 6, 2), value=0.5)])
def test_layers_without_inputs(op: Op) -> None:
    net = single(op, [values(7, 11, 6, 2)] if isinstance(op, ext.Parameter) else [], inputs=0)
    net.add(Layer("b", Sum(), ["x0", "y0"], ["z"]))
    check(net, {"x0": values(*X)})


# -- whole networks ---------------------------------------------------------------------------------


def assert_recorded(net: Network, recorded: dict[str, np.ndarray], tolerance: float) -> None:
    """Every recorded variable that inference computes, as the original computed it; N x C x H x W."""
    inference = net.for_inference()
    names = [name for name in recorded if name.startswith("out__")]
    wanted = {name: inference.resolve(name[5:]) for name in names if _computed(inference, name[5:])}
    assert wanted
    given = {name[4:]: value for name, value in recorded.items() if name.startswith("in__")}
    if list(given) == ["x"] and "x" not in inference.inputs:  # SimpleNN's input has no name
        given = {inference.inputs[0]: given["x"]}
    given = {inference.resolve(name): value for name, value in given.items()}
    module = inference.to_torch(
        list(dict.fromkeys(wanted.values())), input_shapes={name: value.shape for name, value in given.items()}
    )
    found = run(module, *[given[name] for name in module.input_names])
    for name, variable in wanted.items():
        assert_close(found[variable], recorded[name].reshape(found[variable].shape), tolerance, name)


def _computed(net: Network, name: str) -> bool:
    return (name in net.variables or name in net.aliases) and net.resolve(name) not in net.inputs


def in_nchw(array: np.ndarray) -> np.ndarray:
    """MATLAB's H x W x C x N, trailing ones dropped, as N x C x H x W."""
    return array.reshape(array.shape + (1,) * (4 - array.ndim)).transpose(3, 2, 0, 1)


@pytest.mark.parametrize("case", conformance_cases("matconvnet"))
def test_as_matconvnet(case: str) -> None:
    net = matnet.load(DATA / "matconvnet" / case / "model.mat")
    with np.load(DATA / "matconvnet" / case / "io.npz") as io:
        assert_recorded(net, {name: in_nchw(io[name]) for name in io.files}, TOLERANCE)


@pytest.mark.parametrize("case", conformance_cases("caffe"))
def test_as_caffe(case: str) -> None:
    folder = DATA / "caffe" / case
    weights = folder / "weights.caffemodel"
    net = matnet.convert_caffe(folder / "deploy.prototxt", weights if weights.exists() else None, color_format="rgb")
    refused = [layer for layer in net.layers.values() if type(layer.op) not in TRANSLATIONS]
    with np.load(folder / "io.npz") as io:
        recorded = {name: full(io[name]) for name in io.files}
    if refused:
        shapes = {name[4:]: value.shape for name, value in recorded.items() if name.startswith("in__")}
        with pytest.raises(UnsupportedLayersError, match=refused[0].name):
            net.to_torch(input_shapes=shapes)
    else:
        assert_recorded(net, recorded, TOLERANCE)


# -- what a module is good for ----------------------------------------------------------------------


def small_net() -> Network:
    """conv -> bnorm -> relu -> dropout -> conv with pads of their own, for maps of any size."""
    net = Network()
    arrays = {"f": values(3, 3, 3, 6), "b": values(6, 1), "g": values(6, 1, seed=8), "o": values(6, 1), "m": MOMENTS}
    net.params = {name: Param(value) for name, value in arrays.items()} | {"f2": Param(values(3, 2, 6, 4))}
    net.add(Layer("conv1", Conv(pad=(1, 1, 1, 1)), ["data"], ["a"], ["f", "b"]))
    net.add(Layer("bn1", BatchNorm(), ["a"], ["c"], ["g", "o", "m"]))
    net.add(Layer("relu1", ReLU(), ["c"], ["d"]))
    net.add(Layer("drop1", DropOut(rate=0.4), ["d"], ["e"]))
    net.add(Layer("conv/2", Conv(pad=(1, 2, 0, 3), hasBias=False), ["e"], ["y"], ["f2"]))
    return net


def test_any_batch_and_size() -> None:
    net = small_net()
    module = net.to_torch()
    for shape in ((1, 3, 8, 9), (3, 3, 13, 6)):
        x = values(*shape)
        assert_close(run(module, x)["y"], net(x), TOLERANCE, str(shape))


def test_submodules_have_the_layers_names() -> None:
    module = small_net().to_torch()
    assert [name for name, _ in module.named_children()] == ["conv1", "bn1", "relu1", "drop1", "conv_2"]
    assert isinstance(module.conv1, torch.nn.Conv2d) and isinstance(module.bn1, torch.nn.BatchNorm2d)
    np.testing.assert_array_equal(module.conv1.weight.detach().numpy(), values(3, 3, 3, 6).transpose(3, 2, 0, 1))
    assert not module.training


def test_moments_become_a_variance() -> None:
    """sigma = sqrt(var + eps): also where sigma^2 is smaller than eps, or so small that single precision loses it."""
    sigma = np.array([0.5, 2.0, 1e-3, 1e-4, 1e-9, 3e-20], np.float32)
    moments = np.stack([values(6), sigma], axis=1)
    net = single(BatchNorm(epsilon=1e-4), [values(6, 1, seed=8) * sigma[:, None], values(6, 1), moments])
    module = check(net, {"x0": values(*X)})
    assert module.a.running_var.min() >= 0


def test_train_mode_updates_moments_and_drops() -> None:
    net = small_net()
    module = net.to_torch().train()
    before = module.bn1.running_mean.clone()
    x = torch.from_numpy(values(4, 3, 8, 9))
    torch.manual_seed(0)
    first, second = module(x), module(x)
    assert not torch.equal(first, second)  # dropout
    assert not torch.equal(before, module.bn1.running_mean)
    np.testing.assert_array_equal(net.params["m"].value, MOMENTS)  # the network keeps its own


def test_fine_tuning_leaves_the_network_alone() -> None:
    net = small_net()
    kept = {name: param.value.copy() for name, param in net.params.items()}
    module = net.to_torch().train()
    step = torch.optim.SGD(module.parameters(), lr=0.1)
    x = torch.from_numpy(values(4, 3, 8, 9))
    losses = []
    for _ in range(5):
        step.zero_grad()
        loss = (module(x) ** 2).mean()
        loss.backward()
        step.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    for name, value in kept.items():
        np.testing.assert_array_equal(net.params[name].value, value)


def test_state_goes_from_one_module_to_another() -> None:
    first, second = small_net().to_torch(), small_net().to_torch()
    with torch.no_grad():
        first.conv1.weight += 1
    second.load_state_dict(first.state_dict())
    x = torch.from_numpy(values(2, 3, 8, 9))
    torch.testing.assert_close(first(x), second(x), rtol=0, atol=0)


def test_several_outputs_are_a_dict() -> None:
    net, x = small_net(), values(2, 3, 8, 9)
    found = run(net.to_torch(["relu1", "y"]), x)
    expected = net.forward(x, ["d", "y"])
    assert found.keys() == expected.keys() == {"d", "y"}
    for name, value in expected.items():
        assert_close(found[name], value, TOLERANCE, name)


@pytest.mark.filterwarnings("ignore")
def test_export() -> None:
    net = small_net()
    batch, rows = torch.export.Dim("batch", max=64), torch.export.Dim("rows", min=4, max=512)
    x = torch.from_numpy(values(2, 3, 8, 9))
    exported = torch.export.export(net.to_torch(), (x,), dynamic_shapes=({0: batch, 2: rows},))
    other = values(5, 3, 14, 9)
    with torch.no_grad():
        found = exported.module()(torch.from_numpy(other)).numpy()
    assert_close(found, net(other), TOLERANCE, "exported")


@pytest.mark.filterwarnings("ignore")
def test_compile() -> None:
    net = matnet.load(DATA / "matconvnet" / "sn_alexnet" / "model.mat").for_inference()
    with np.load(DATA / "matconvnet" / "sn_alexnet" / "io.npz") as io:
        x = in_nchw(io["in__x"])
    module = net.to_torch(input_shapes={net.inputs[0]: x.shape})
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    assert_close(run(compiled, x)[net.outputs[0]], net(x), TOLERANCE, "compiled")


def flow(*layers: tuple[Op, Sequence[np.ndarray]]) -> Network:
    """A chain of layers over x0."""
    net = Network()
    for place, (op, params) in enumerate(layers):
        names = [f"p{place}_{number}" for number in range(len(params))]
        net.params |= {name: Param(value) for name, value in zip(names, params, strict=True)}
        net.add(Layer(f"l{place}", op, [f"x{place}"], [f"x{place + 1}"], names))
    return net


SMALL = (2, 4, 5, 6)
NORM = np.stack([values(4), 0.5 + np.abs(values(4, seed=2))], axis=1)
DIFFERENTIABLE = {
    "convolution": flow((Conv(pad=(1, 0, 0, 2), stride=(2, 1)), [values(3, 2, 2, 6), values(6, 1)])),
    "transpose": flow((ConvTranspose(upsample=(2, 3), crop=(1, 0, 2, 1)), [values(3, 5, 3, 4), values(3, 1)])),
    "max pooling": flow((Pooling(poolSize=(3, 2), stride=(2, 1), pad=(1, 2, 0, 1)), [])),
    "average pooling": flow((Pooling(method="avg", poolSize=(3, 2), stride=(2, 1), pad=(1, 2, 0, 1)), [])),
    "caffe pooling": flow((ext.CaffePooling(method="avg", poolSize=(2, 3), stride=(3, 4), pad=(1, 1, 2, 2)), [])),
    "normalisation": flow((BatchNorm(), [values(4, 1), values(4, 1), NORM]), (LRN(param=(4, 2, 0.3, 0.75)), [])),
    "spatial normalisation": flow((SpatialNorm(param=(3, 2, 0.5, 0.6)), []), (NormOffset(param=(0.3, 0.4)), [])),
    "activation": flow((Sigmoid(), []), (ext.ELU(alpha=0.7), []), (ext.Swish(beta=1.5), []), (SoftMax(), [])),
    "slopes": flow((ext.PReLU(), [values(1, 1, 4)])),
    "scale": flow((Scale(), [values(1, 1, 4), values(1, 1, 4, seed=4)]), (ext.Normalize(), [values(1, 1, 4)])),
    "products": flow((ext.InnerProduct(), [values(5, 120), values(5, 1)])),
    "reshaping": flow((ext.Permute(order=(3, 1, 2, 4)), []), (ext.Flatten(axis=3), [])),
    "reduction": flow((ext.Reduction(operation="sumsq", axis=2, coeff=2), [])),
    "interpolation": flow((ext.Interp(height=7, width=9), []), (ext.Upsample(scale=(2, 1)), [])),
    "sub-pixels": flow((SubP(scale=2), [])),
}


@pytest.mark.parametrize("family", DIFFERENTIABLE)
def test_gradients(family: str) -> None:
    """torch's own check, by differences in double, of the gradients of the input and of every parameter."""
    module = DIFFERENTIABLE[family].to_torch(input_shapes={"x0": SMALL}).double()
    x = torch.from_numpy(0.6 * values(*SMALL, seed=5).astype(np.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda *_: module(x), (x, *module.parameters()), fast_mode=True)


TWO_INPUTS: dict[str, tuple[Op, tuple[int, ...], tuple[int, ...], bool]] = {
    "sum": (Sum(), SMALL, SMALL, True),
    "concat": (Concat(), SMALL, (2, 1, 5, 6), True),
    "distance": (PDist(p=3), SMALL, (2, 4, 1, 1), True),
    "crop": (Crop(crop=(1, 2)), SMALL, (2, 1, 3, 4), False),
    "sampler": (BilinearSampler(), SMALL, (4, 3, 2, 5), True),
}


@pytest.mark.parametrize("family", TWO_INPUTS)
def test_gradients_of_two_inputs(family: str) -> None:
    op, first, second, both = TWO_INPUTS[family]
    module = single(op, [], 2).to_torch(input_shapes={"x0": first, "x1": second}).double()
    a, b = (
        torch.from_numpy(0.6 * values(*shape, seed=n).astype(np.float64)) for n, shape in enumerate((first, second))
    )
    assert torch.autograd.gradcheck(module, (a.requires_grad_(), b.requires_grad_(both)), fast_mode=True)


@pytest.mark.parametrize("method", ["max", "avg"])
def test_gradients_of_boxes(method: str) -> None:
    module = single(ROIPooling(method=method, subdivisions=(2, 3)), [], 2).to_torch(
        input_shapes={"x0": SMALL, "x1": (2, 5, 1, 1)}
    )
    boxes = torch.tensor([[1, 1, 2, 5, 5], [2, 2, 1, 6, 4]], dtype=torch.float64).reshape(2, 5, 1, 1)
    x = torch.from_numpy(values(*SMALL).astype(np.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: module(x, boxes), (x,))


# -- bad input --------------------------------------------------------------------------------------


def test_layers_that_torch_lacks_are_listed_together() -> None:
    net = single(ext.PSROIPooling(outputDim=6), [], 2)
    net.add(Layer("b", ext.ROIAlign(), ["x0", "x1"], ["z"]))
    with pytest.raises(UnsupportedLayersError, match=r"(?s)'a' \(dagnn.PSROIPooling\).*'b' \(dagnn.ROIAlign\)"):
        net.to_torch(input_shapes={"x0": X, "x1": (2, 5, 1, 1)})


def test_every_op_is_translated_or_refused_by_name() -> None:
    for case in op_cases.CASES:
        if type(case.op) in TRANSLATIONS or case.op.training_only:
            continue
        inputs, params = case.arrays()
        net = single(case.op, params, len(inputs))
        with pytest.raises(UnsupportedLayersError, match="'a'"):
            net.to_torch(input_shapes={f"x{number}": value.shape for number, value in enumerate(inputs)})


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ({"outputs": ["data"]}, "'data' is an input"),
        ({"outputs": ["conv"]}, "conv1"),
        ({"input_shapes": {"data": (1, 5, 8, 9)}}, "'conv1'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], fact: str) -> None:
    with pytest.raises(matnet.MatnetError, match=fact):
        small_net().to_torch(**arguments)


def test_an_input_of_unknown_shape_is_named() -> None:
    with pytest.raises(NetworkError, match="'x1'"):
        single(Sum(), [], 2).to_torch(input_shapes={"x0": X})


def test_without_torch_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NetworkError, match=r"pip install 'matnet\[torch\]'"):
        small_net().to_torch()


def test_names_that_python_or_torch_have_taken() -> None:
    """Layers and variables called like keywords, like attributes of modules, and like each other once made valid."""
    net = Network()
    names = ["train", "class", "1x1", "a/b", "a.b", "a_b", "distance", "self", "é"]
    for number, name in enumerate(names):
        net.add(Layer(name, ReLU(leak=0.1 * number), [names[number - 1] if number else "x"], [name]))
    x = values(*X)
    found = run(net.to_torch(names, input_shapes={"x": X}), x)
    for name, value in net.forward(x, names).items():
        assert_close(found[name], value, TOLERANCE, name)


def test_layers_that_share_weights_share_a_submodule() -> None:
    net = Network()
    net.params = {"f": Param(FILTERS), "b": Param(values(8, 1))}
    for side in ("left", "right"):
        net.add(Layer(side, Conv(), [f"{side}_in"], [f"{side}_out"], ["f", "b"]))
    inputs = {"left_in": values(*X), "right_in": values(*X, seed=9)}
    module = check(net, inputs)
    assert [name for name, _ in module.named_parameters()] == ["left.weight", "left.bias"]


def test_a_translation_of_ones_own() -> None:
    class Twice(ReLU):
        def forward(self, xp, inputs, params):  # type: ignore[no-untyped-def]
            return [2 * inputs[0]]

    @translation(Twice)
    def write_twice(writer: LayerWriter, op: Twice) -> None:
        writer.write(f"2 * {writer.x}")

    try:
        check(single(Twice(), []), {"x0": values(*X)})
        with pytest.raises(NetworkError, match=r"Twice.*write_twice"):
            translation(Twice)(write_twice)
    finally:
        del TRANSLATIONS[Twice]


def test_the_text_is_in_the_networks_order() -> None:
    net = small_net()
    text = generated(net).text
    places = [text.index(f"# {name}: ") for name in net.layers]
    assert places == sorted(places)


def test_the_weights_are_copied_once() -> None:
    small_net().to_torch()  # imports, and what torch sets up once
    net = single(Conv(hasBias=False), [values(3, 3, 256, 512)])
    weights = net.params["p0"].value.nbytes
    tracemalloc.start()
    module = net.to_torch(input_shapes={"x0": (1, 256, 8, 8)})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert module.a.weight.nbytes == weights
    assert weights <= peak < 1.3 * weights
