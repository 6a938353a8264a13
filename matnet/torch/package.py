"""Saves a network as a PyTorch package that runs without matnet: model, weights, labels, preprocessing, README."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from matnet.errors import DataError, FileFormatError, NetworkError
from matnet.files import PathLike, check_folder, check_outputs, temporary_folder
from matnet.kinds import kind_of
from matnet.meta import display_name
from matnet.meta.given import InputSize
from matnet.meta.transposed import transposition_notes
from matnet.network import Network
from matnet.samples import reader_of_input, sample_inputs
from matnet.shapes import Shape
from matnet.torch.build import built, generated, require_safetensors, require_torch
from matnet.torch.code import Module
from matnet.torch.preprocess import preprocess_text
from matnet.torch.shapes import known_shapes

MARK = "written by matnet"
FILES = ("model.py", "weights.safetensors", "labels.txt", "preprocess.py", "mean.npy", "std.npy", "README.md")
WORST_ERROR = 1e-3  # relative to the largest value; a larger error means a bug in matnet

LOAD = '''

def load(weights: str | Path = Path(__file__).with_name("weights.safetensors")) -> {name}:
    """The network with its weights, in eval mode."""
    from safetensors.torch import load_file

    with torch.device("meta"):
        network = {name}()
    network.load_state_dict(load_file(weights), assign=True)
    return network.eval()
'''


@dataclass
class Package:
    """The written files, the largest relative difference from matnet's outputs on random input, and the module."""

    files: list[Path]
    error: float
    module: Module


def save_torch(
    net: Network,
    folder: str | os.PathLike[str],
    outputs: Sequence[str] | None = None,
    *,
    size: InputSize | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
) -> Package:
    """Write `net` as a PyTorch package and check its outputs against matnet's numpy engine.

    Takes the arguments and raises the errors of `to_torch`. The folder must be new, empty, or an earlier package.
    Raises FileFormatError if it has other files. Writes nothing if the check fails.
    """
    require_torch()
    require_safetensors()
    transposition_notes(net)
    target = Path(folder)
    refuse_other_files(target, net.source.files)
    module = generated(net, outputs, size, input_shapes)
    with temporary_folder(target) as work:
        _write_model(module, work)
        prepared, how = _write_preprocessing(net, work)
        labels = label_lines(net)
        labels = labels if len(labels) in module.channels else []
        if labels:
            (work / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        error = _largest_error(net, module, work, size, input_shapes)
        if not error <= WORST_ERROR:
            raise NetworkError(
                f"{target}: not written, since its outputs differ from matnet's by {error:.1e} of the largest value"
            )
        (work / "README.md").write_text(_readme(net, module, prepared, how, error, bool(labels)), encoding="utf-8")
        return Package(_put(work, target), error, module)


def refuse_other_files(target: Path, read: Iterable[PathLike | None] = ()) -> None:
    """FileFormatError unless the folder is new, empty, or an earlier package that may be written and is not `read`."""
    check_folder(target)
    if not target.exists():
        return
    found = sorted(path.name for path in target.iterdir() if path.name != "__pycache__")
    foreign = [name for name in found if name not in FILES]
    model = target / "model.py"
    if found and not foreign and not (model.is_file() and MARK in model.read_text("utf-8", "replace")[:200]):
        foreign = found
    if foreign:
        raise FileFormatError(
            f"{target}: contains {foreign[0]!r}, which is not part of a PyTorch package; use another folder"
        )
    files = (file for name in FILES if (file := target / name).is_file())
    check_outputs(((file, kind_of(file)) for file in files), read)


def _write_model(module: Module, folder: Path) -> None:
    from safetensors.torch import save_file

    source = module.text.replace("from torch import Tensor, nn\n", "import torch\nfrom torch import Tensor, nn\n", 1)
    if "import torch\nimport torch\n" in source:
        source = source.replace("import torch\nimport torch\n", "import torch\n", 1)
    source = source.replace("annotations\n", "annotations\n\nfrom pathlib import Path\n", 1)
    (folder / "model.py").write_text(source + LOAD.format(name=module.name), encoding="utf-8")
    save_file(built(module).state_dict(), str(folder / "weights.safetensors"), metadata={"format": "pt"})


def _write_preprocessing(net: Network, folder: Path) -> tuple[bool, str]:
    """Writes preprocess.py and mean images if the preprocessing is known. Returns whether it is, and a description."""
    try:
        chain = net.preprocessing
    except DataError as error:
        return False, f"not written: {str(error).removeprefix(f'{net.source}: ')}"
    (folder / "preprocess.py").write_text(preprocess_text(chain, display_name(net)), encoding="utf-8")
    for name, planes in (("mean", chain.mean), ("std", chain.std)):
        if planes is not None and planes.ndim == 3:
            np.save(folder / f"{name}.npy", planes)
    return True, chain.describe()


def _largest_error(
    net: Network, module: Module, folder: Path, size: InputSize | None, given: Mapping[str, Shape] | None
) -> float:
    """The largest relative error of model.py against the numpy engine, on a random image (other activations: ones)."""
    torch = require_torch()
    inference = net.for_inference().with_blobs(module.outputs)
    resolved = {inference.resolve(name): shape for name, shape in (given or {}).items()}
    _, shapes = known_shapes(inference, module.outputs, size, resolved)
    inputs = sample_inputs(inference, {name: shapes[name] for name in module.inputs})
    others = [name for name in module.inputs[1:] if reader_of_input(inference, name)[1] is None]
    inputs |= {name: np.ones_like(inputs[name]) for name in others}
    source = folder / "model.py"
    names: dict[str, Any] = {"__name__": "model", "__file__": str(source)}
    exec(compile(source.read_text(encoding="utf-8"), str(source), "exec"), names)
    with torch.no_grad():
        found = names["load"]()(*(torch.from_numpy(inputs[name]) for name in module.inputs))
    results = found if isinstance(found, dict) else {module.outputs[0]: found}
    errors = []
    for name, expected in inference.forward(inputs, module.outputs, backend="numpy").items():
        largest = max(1e-3, float(np.abs(expected).max(initial=0)))
        errors.append(float(np.abs(results[name].numpy() - expected).max(initial=0)) / largest)
    return float(np.max(errors))  # NaN if any is


def label_lines(net: Network) -> list[str]:
    """A line per class in the order of the outputs: its WordNet ID, if any, and its name."""
    classes = net.classes
    ids = classes.wordnet_ids or [""] * len(classes)
    found = (name if name.startswith(wnid) else f"{wnid} {name}" for wnid, name in zip(ids, classes.names, strict=True))
    return [" ".join(line.split()) for line in found]


def example(prepared: bool, labelled: bool) -> str:
    """Example code that runs the package, with preprocessing and class names if available."""
    lines = ["import torch", "from model import load"]
    if not prepared:
        return "\n".join([*lines, "", "net = load()\n"])
    lines += ["from preprocess import prepare", "", "net = load()"]
    lines += ["scores = net(torch.from_numpy(prepare('image.jpg')))"]
    if labelled:
        lines += [
            "with open('labels.txt', encoding='utf-8') as file:",
            "    classes = file.read().splitlines()",
            "best = int(scores[0].reshape(len(classes), -1).mean(1).argmax())  # mean over height and width",
            "print(classes[best])",
        ]
    return "\n".join(lines) + "\n"


def _readme(net: Network, module: Module, prepared: bool, how: str, error: float, labelled: bool) -> str:
    from matnet import __version__

    source = net.source
    lines = [
        f"# {display_name(net)} for PyTorch",
        "",
        f"Written by matnet {__version__} from {source} (format: {source.format}).",
        "It needs torch, safetensors, numpy and Pillow, but not matnet.",
        "",
        "```python",
        f"{example(prepared, labelled and len(module.outputs) == 1)}```",
        "",
        f"- `model.py`: class `{module.name}`; inputs {', '.join(module.inputs)}; outputs {', '.join(module.outputs)}.",
        "- `weights.safetensors`: its state_dict.",
        "- `labels.txt`: "
        + ("one class per line, in output order" if labelled else "not written: no output has known classes"),
        f"- `preprocess.py`: {how}.",
        "",
        f"On random input its outputs differ from matnet's numpy engine by at most {error:.1e} of the largest value.",
        "",
        "## Provenance",
        "",
        f"- source: {source}",
        *(f"- {note}" for note in [*source.notes, *module.notes]),
    ]
    return "\n".join(lines) + "\n"


def _put(work: Path, target: Path) -> list[Path]:
    """Move the files into the folder and delete obsolete files of an earlier package."""
    if not target.exists():
        os.replace(work, os.path.realpath(target))  # target may be a link that leads nowhere yet
        return [target / name for name in FILES if (target / name).exists()]
    for name in FILES:
        if (work / name).exists():
            os.replace(work / name, target / name)
        else:
            (target / name).unlink(missing_ok=True)
    shutil.rmtree(target / "__pycache__", ignore_errors=True)
    return [target / name for name in FILES if (target / name).exists()]
