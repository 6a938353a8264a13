"""Records, in the cache folder, of the fastest variant of a network on this machine."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matnet.engines.cpu.program import Compiler
from matnet.engines.cpu.runtimes import runtime_version
from matnet.engines.cpu.tuning.variants import Variant, variant_from, variant_of
from matnet.errors import MatnetError
from matnet.files import cache_folder
from matnet.records import key_digest, read_record, write_record
from matnet.shapes import Shape

FORMAT = 4  # version of the files and of the search


def identity(compiler: Compiler, inputs: Mapping[str, Shape], runtimes: Sequence[str]) -> str:
    """A hash of all factors that determine the fastest variant: structure, sizes, threads, CPU and versions."""
    net = compiler.net
    layers = [
        [repr(layer.op), layer.inputs, layer.outputs, [list(shape) for shape in net.param_shapes(layer)]]
        for layer in net.upto(compiler.wanted)
    ]
    decisive = {
        "format": FORMAT,
        "layers": layers,
        "wanted": compiler.wanted,
        "inputs": sorted(inputs.items()),
        "threads": compiler.settings.all_threads,
        "callers": compiler.settings.callers,
        "optimize": compiler.settings.optimize,
        "processor": processor(),
        "runtimes": {name: _version(name) for name in runtimes},
    }
    return key_digest(decisive)


def processor() -> str:
    """The name of the CPU, if available."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _version(runtime: str) -> str:
    try:
        return runtime_version(runtime)
    except (ImportError, AttributeError):
        return "broken"


@dataclass(frozen=True)
class TunedChoice:
    """The chosen variant; the variants compared with it, and whether these are all."""

    variant: Variant
    tried: frozenset[Variant] = frozenset()
    complete: bool = True


def remembered(key: str, runtimes: Sequence[str]) -> TunedChoice | None:
    """The recorded choice for this identity, if valid and for one of the runtimes."""
    place = _place(key)
    choice = read_record(place, _parsed) if place else None
    return choice if choice is not None and choice.variant.runtime in runtimes else None


def _parsed(record: Mapping[str, Any]) -> TunedChoice:
    tried = frozenset(variant_of(text) for text in record.get("tried", ()))
    return TunedChoice(variant_from(record["variant"]), tried, bool(record.get("complete", True)))


def remember(key: str, choice: TunedChoice, seconds: Mapping[str, float]) -> None:
    """Record the choice; logs a warning if the folder cannot be written."""
    place = _place(key)
    if place is not None:
        variant = choice.variant
        record = {
            "variant": {"runtime": variant.runtime, "winograd": variant.winograd, "division": variant.division},
            "tried": sorted(variant.text for variant in choice.tried),
            "complete": choice.complete,
            "seconds": {name: round(value, 6) for name, value in seconds.items()},
        }
        write_record(place, record)


def _place(key: str) -> Path | None:
    try:
        return cache_folder() / "runtimes" / f"{key}.json"
    except (MatnetError, RuntimeError):  # RuntimeError: unknown home folder
        return None
