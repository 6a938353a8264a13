"""Checks of a network's file and weights: identity, damage, and plausible values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from matnet.doctor.findings import Finding, note, problem
from matnet.errors import MatnetError, in_words, program
from matnet.kinds import MAT, kind_of
from matnet.network import Layer, Network
from matnet.ops.normalization import BatchNorm

SHOWN = 5


def file_findings(path: Path) -> Iterator[Finding]:
    """Findings about a file's bytes, even if it cannot be read: its model, its checksum, damage."""
    from matnet.zoo.cards import all_cards
    from matnet.zoo.verify import MISMATCH, OK, Catalogue

    found = Catalogue(all_cards()).identify(path)
    if found.status == MISMATCH:
        model = f" of {found.model}" if found.model else ""
        yield problem("file", f"{path}: not the published file{model}: {found.detail}", _get_again())
    elif found.status == OK:
        of = f", the file of {found.generation}" if found.generation else ""
        yield note("file", f"{path}: this is {found.model}{of}; its checksum is the published one")
    else:
        detail = f" ({found.detail})" if found.detail else ""
        yield note("file", f"{path}: its checksum is not in any model card{detail}")


def _get_again() -> str:
    known = in_words("matnet.zoo.all_cards()", f"`{program('zoo')} list`")
    return f"download the file again; {known} lists the models that matnet can fetch"


def edition(net: Network, path: Path) -> Finding | None:
    """The release that wrote a MatConvNet file, inferred from its fields, or the generation of a Caffe definition.

    MatConvNet has `meta` since beta17, `dilate` and the new epsilon since about beta21, `meta.inputs` since beta23.
    """
    if net.source.format == "caffe":
        upgraded = [text for text in net.source.notes if text.startswith("upgraded from the V")]
        generation = upgraded[0].split()[3] if upgraded else "V2"
        return note("file", f"{path}: a Caffe network of generation {generation}")
    if kind_of(path) != MAT:
        return None
    return note("file", f"{path}: a {net.source.format} file, {_matconvnet_release(net)}")


def _matconvnet_release(net: Network) -> str:
    from matnet.formats.mat import read_mat

    top = set(read_mat(path)) if (path := net.source.path) is not None else set()
    structs = [layer.extra.get("simplenn", {}) for layer in net.layers.values()]
    if any("filters" in struct for struct in structs):
        return "written by beta10 or earlier (weights in the fields filters and biases)"
    if "inputs" in net.meta:
        return "written by beta23 or later (meta.inputs)"
    if any("dilate" in struct for struct in structs):
        return "written by about beta21 or later (dilate)"
    if "meta" in top or (top and net.source.format == "dagnn"):
        return "written by beta17 or later (meta)"
    return "written before beta17 (normalization and classes at top level)" if "normalization" in top else "no meta"


def weight_findings(net: Network) -> Iterator[Finding]:
    """Params that are missing, unused, NaN, infinite or constant, and BatchNorm layers without statistics."""
    users: dict[str, list[Layer]] = {}
    for layer in net.layers.values():
        for name in layer.params:
            users.setdefault(name, []).append(layer)
    missing = [f"{name} of layer {layers[0].name!r}" for name, layers in users.items() if name not in net.params]
    if missing:
        yield problem("file", f"{_count(missing, 'param')} missing: {_some(missing)}", "give the weights too")
    unused = [name for name in net.params if name not in users]
    if unused:
        yield note("file", f"{_count(unused, 'param')} used by no layer: {_some(unused)}")
    broken, constant, dead = [], [], []
    for layer in net.layers.values():
        for place, name in enumerate(layer.params):
            if name not in net.params:
                continue
            value = np.asarray(net.params[name].value)
            where = f"{name} of layer {layer.name!r}"
            if value.dtype.kind not in "fiub" or not value.size:
                continue
            if not np.isfinite(value).all():
                broken.append(f"{where} ({int((~np.isfinite(value)).sum()):,} of {value.size:,} numbers)")
            elif place == 0 and layer.op.has_filters and value.size > 1:
                if value.min() == value.max():
                    constant.append(f"{where} (all are {value.flat[0]:g})")
                elif value.ndim == 4 and value[..., 0].size > 1:
                    alike = int((value.min(axis=(0, 1, 2)) == value.max(axis=(0, 1, 2))).sum())
                    if alike:
                        dead.append(f"{where} ({alike} of {value.shape[3]})")
    if broken:
        yield problem("file", f"NaN or infinite values in {_some(broken)}", _get_again())
    if constant:
        yield problem("file", f"filters with only one value, as before training: {_some(constant)}", _get_again())
    if dead:
        yield note("file", f"layers with some constant (dead) filters: {_some(dead)}")
    yield from _moments(net)


def _moments(net: Network) -> Iterator[Finding]:
    """BatchNorm layers with the statistics of an untrained network (in Caffe: a factor of 0)."""
    for layer in net.layers.values():
        if not isinstance(layer.op, BatchNorm):
            continue
        try:
            _, _, mean, sigma = layer.op.statistics([net.params[name].value for name in layer.params])
        except (MatnetError, KeyError) as error:
            if not isinstance(error, KeyError):
                yield problem("file", f"layer {layer.name!r}: {error}")
            continue
        if mean.size > 1 and not mean.any() and (sigma == sigma[0]).all():
            yield problem(
                "file",
                f"layer {layer.name!r}: the BatchNorm statistics were never recorded: every mean is 0 and every "
                f"sigma {sigma[0]:g} (in Caffe: the third blob, the factor, is 0)",
                "use the weights of a fully trained network",
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _count(names: list[str], what: str) -> str:
    return f"1 {what} is" if len(names) == 1 else f"{len(names)} {what}s are"
