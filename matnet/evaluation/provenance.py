"""The fields of a result that say where its figures come from, the same for all tasks."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.errors import EngineError, MatnetError
from matnet.evaluation.record import file_sha256
from matnet.network import Network
from matnet.outcomes import Outcome

if TYPE_CHECKING:
    from matnet.datasets.base import DataSet
    from matnet.evaluation.runner import EngineInfo


@dataclass
class RunStats:
    """The number of counted images, the unreadable ones, total seconds and seconds in the engine."""

    images: int = 0
    unreadable: list[str] = field(default_factory=list)
    seconds: float = 0.0
    network_seconds: float = 0.0


def provenance(
    net: Network, engine: EngineInfo, data: DataSet, stats: RunStats, outcome: Outcome, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """The fields of a Run for network, data set, engine and run."""
    return {
        "model": net.source.path.stem if net.source.path else "network",
        "introduced": "",
        "images_per_s": stats.images / stats.seconds if stats.seconds else 0.0,
        "network_images_per_s": stats.images / stats.network_seconds if stats.network_seconds else 0.0,
        "images": stats.images,
        "status": str(outcome.status),
        "status_reason": outcome.reason,
        "unreadable": stats.unreadable,
        "dataset": data.name,
        "list_sha256": data.list_sha256,
        "model_file": str(net.source.path or ""),
        "model_sha256": network_sha256(net),
        "files_sha256": _files_sha256(net),
        "backend": engine.backend,
        "device": engine.device,
        "precision": engine.precision,
        "batch_size": engine.batch_size,
        "batch_halved_from": engine.batch_halved_from,
        "machine": machine(),
        "seconds": stats.seconds,
        "commit": commit(),
        "versions": engine.versions,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "notes": [*notes, *engine.notes],
    }


def _files_sha256(net: Network) -> dict[str, str]:
    """The SHA-256 of each file that the network was read from, as it is now; without those that are gone."""
    found = {}
    for path in net.source.files:
        with suppress(OSError):
            found[str(path)] = sha256_once(path)
    return found


def network_sha256(net: Network) -> str:
    """The SHA-256 of the network's .mat file; of its layers and params if they are not those of such a file."""
    path, own = whole_file(net), content_sha256(net)
    try:
        return sha256_once(path) if path is not None and own == _content_of(path, *_state(path)) else own
    except (OSError, MatnetError):  # removed or damaged since it was loaded
        return own


def content_sha256(net: Network) -> str:
    """The SHA-256 of a network's layers and params."""
    digest = hashlib.sha256()
    with np.printoptions(threshold=sys.maxsize):  # arrays in fields of ops count with all their values
        for layer in net.layers.values():
            values = [getattr(layer.op, item.name) for item in fields(layer.op)]
            what = f"{layer.name} {layer.op!r} {values} {layer.inputs} {layer.outputs} {layer.params}\n"
            digest.update(what.encode("utf-8", "surrogatepass"))
    for name, param in net.params.items():
        value = np.ascontiguousarray(param.value)
        digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        digest.update(value.data)
    return digest.hexdigest()


def whole_file(net: Network) -> Path | None:
    """The .mat file from which `matnet.load` returns this network without further options; None if there is none."""
    path = net.source.path
    return path if path is not None and path.suffix == ".mat" and not net.source.chosen else None


def sha256_once(path: Path) -> str:
    """The SHA-256 of a file, cached until the file changes, because several parts of a run need it."""
    return _sha256_of(path, *_state(path))


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=64)
def _content_of(path: Path, size: int, changed: int) -> str:
    from matnet import load

    return content_sha256(load(path))


@lru_cache(maxsize=64)
def _sha256_of(path: Path, size: int, changed: int) -> str:
    return file_sha256(path)


@cache
def commit() -> str:
    """The commit of matnet's checkout, with `-dirty` if files differ; "" for an installed package."""
    import matnet

    root = Path(matnet.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


@cache
def machine() -> str:
    """The system's name of the processor, and how many processors this process may use."""
    from matnet.engines.device import processors

    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return f"{names[0] if names else platform.processor() or platform.machine()}, {processors()} processors"


def backends_and_devices() -> dict[str, str]:
    """The available backends and devices, and why no GPU is available."""
    from matnet.engines.cpu.runtimes import available
    from matnet.engines.cupy.probe import find_gpu, reason

    gpus: list[str] = []
    try:
        while True:
            gpus.append(str(find_gpu(len(gpus))))
    except EngineError as error:
        why = reason(error)
    backends = ["numpy", *(["onnx"] if available() else []), *(["cupy"] if gpus else [])]
    return {
        "backends": ", ".join(backends),
        "devices": "; ".join([f"cpu ({machine()})", *(gpus or [why])]),
    }
