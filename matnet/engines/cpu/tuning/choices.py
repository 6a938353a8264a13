"""Which variant was fastest for a network on this machine, kept in the cache folder where that can be written."""

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

FORMAT = 4  # of the files, and of what is tried


def identity(compiler: Compiler, inputs: Mapping[str, Shape], runtimes: Sequence[str]) -> str:
    """A hash of all that decides which variant is fastest: structure, sizes, threads, processor and versions."""
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
    """The processor's name, as far as the system states it."""
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
    """A variant that was chosen; the variants that it was chosen from, and whether those are all that there are."""

    variant: Variant
    tried: frozenset[Variant] = frozenset()
    complete: bool = True


def remembered(key: str, runtimes: Sequence[str]) -> TunedChoice | None:
    """What was chosen for this identity, where a valid record is kept and the runtime is among those."""
    place = _place(key)
    choice = read_record(place, _parsed) if place else None
    return choice if choice is not None and choice.variant.runtime in runtimes else None


def _parsed(record: Mapping[str, Any]) -> TunedChoice:
    tried = frozenset(variant_of(text) for text in record.get("tried", ()))
    return TunedChoice(variant_from(record["variant"]), tried, bool(record.get("complete", True)))


def remember(key: str, choice: TunedChoice, seconds: Mapping[str, float]) -> None:
    """Keep the choice; where the folder cannot be written, a warning says so and the next run chooses again."""
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
    except (MatnetError, RuntimeError):  # a RuntimeError: no home folder is known
        return None
