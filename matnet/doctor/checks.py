"""All checks that need no images, from the file to the meta."""

from __future__ import annotations

from pathlib import Path

from matnet.doctor.file_checks import edition, file_findings, weight_findings
from matnet.doctor.findings import Finding, note, problem
from matnet.doctor.graph_checks import graph_findings
from matnet.doctor.meta_checks import meta_findings
from matnet.errors import DataError, MatnetError
from matnet.images import Preprocessing
from matnet.meta.values import normalization
from matnet.network import Network


def check_files(paths: list[Path]) -> list[Finding]:
    """Findings about the bytes of the files, before they are read as a network."""
    return [finding for path in paths for finding in file_findings(path)]


def check_network(
    net: Network, preprocessing: Preprocessing | None = None, variable: str | None = None
) -> list[Finding]:
    """Findings about a loaded network: its weights, its graph, its meta.

    preprocessing: None: that of the file. variable: the scores; None: those that eval chooses.
    """
    from matnet.evaluation.scores import score_variable

    found: list[Finding] = []
    if net.source.path is not None and net.source.path.is_file():
        found += [finding for finding in [edition(net, net.source.path)] if finding]
    found += [note("file", text) for text in net.source.notes]
    found += weight_findings(net)
    unusable: list[Finding] = []
    if preprocessing is None:
        try:
            preprocessing = Preprocessing.of(net)
        except DataError as error:
            finding = problem if normalization(net.meta) else note
            unusable.append(finding("meta", str(error).removeprefix(f"{net.source}: ")))
    found += [*unusable, *graph_findings(net, preprocessing.image_size if preprocessing is not None else None)]
    try:
        scores = score_variable(net, variable)
    except MatnetError:
        if variable is not None:
            raise
        return found
    return [*found, *meta_findings(net, preprocessing, scores)]
