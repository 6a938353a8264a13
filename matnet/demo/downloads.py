"""The conversions that a visitor can download: .mat, ONNX, and a PyTorch folder as a zip archive."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from matnet.demo.folder import Folder, safe_name
from matnet.demo.models import Kept
from matnet.errors import DataError, nearest

KINDS = ("mat", "onnx", "torch")
NO_TORCH = "a PyTorch folder needs torch, which is not installed on the server: pip install 'matnet[torch]'"


def torch_is_here() -> bool:
    return find_spec("torch") is not None and find_spec("safetensors") is not None


def conversion(kept: Kept, kind: str, folder: Folder) -> str:
    """Convert the network to a file in `folder`. Returns its token; raises MatnetError if conversion fails."""
    if kind not in KINDS:
        raise DataError(f"unknown format {kind[:20]!r}{nearest(kind, KINDS)}; known: {', '.join(KINDS)}")
    if kind == "torch" and not torch_is_here():
        raise DataError(NO_TORCH)
    weights = sum(param.value.nbytes for param in kept.net.params.values())
    stem = safe_name(kept.name)
    token, path = folder.new(f"{stem}.{kind}" if kind != "torch" else f"{stem}-torch.zip", 2 * weights)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as work:
            files = _written(kept, kind, Path(work, stem))
            if len(files) == 1:
                files[0].replace(path)
            else:
                path = path.with_suffix(".zip")
                _pack(path, files, stem)
                folder.rename(token, path)
    except BaseException:
        folder.remove([token])
        raise
    folder.finish(token)
    return token


def _written(kept: Kept, kind: str, target: Path) -> list[Path]:
    """The files of the converted network; target: their path without extension."""
    if kind == "mat":
        return [kept.net.save(target.with_name(f"{target.name}.mat"))]
    if kind == "onnx":
        return kept.net.to_onnx(target.with_name(f"{target.name}.onnx"))
    from matnet.torch import save_torch

    return save_torch(kept.net, target).files


def _pack(path: Path, files: Iterable[Path], stem: str) -> None:
    """Write a zip archive without compression, which gains little for weights."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(files):
            archive.write(file, f"{stem}/{file.name}")
