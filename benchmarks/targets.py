"""The speed targets of matnet relative to its peers, and their verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import geometric_mean

from matnet.benchmarks.contenders import ALONE, AUTO, UNASKED
from matnet.benchmarks.nets import NETS
from matnet.benchmarks.rows import EngineRow, Report, best_peer, grouped, ratio, ratio_at_fastest

BATCHES = (1, 16)
THREADS = 2
PLAIN = "onnxruntime"
WITH_LRN = ("alexnet", "caffenet", "googlenet")
PEERS = ("onnxruntime", "openvino", "opencv", "torch-eager", "torch-channels-last", "torch-optimized")
EVERY_NET = 1.0  # with all runtimes installed, against the best of all peers
MEAN = 1.1  # of the same ratios, their geometric mean
LRN = 1.3  # with ONNX Runtime alone, against plain ONNX Runtime, on networks with LRN
OTHERS = 1.0
ON_GPU = 1.0  # in TF32 and FP16, against the best form of torch


@dataclass(frozen=True)
class TargetVerdict:
    """One target: what is compared, the ratio (None if not measured), and its minimum."""

    what: str
    ratio: float | None
    least: float

    @property
    def met(self) -> bool:
        return self.ratio is not None and self.ratio >= self.least

    def line(self) -> str:
        found = "not measured" if self.ratio is None else f"{self.ratio:.3f}"
        return f"{'PASS' if self.met else 'miss'}  {found:>12}, at least {self.least:.1f}: {self.what}"


def verdicts(report: Report) -> list[TargetVerdict]:
    """All targets for the networks and batches in a report, and their means."""
    found: list[TargetVerdict] = []
    ratios: list[float] = []
    unasked: list[float] = []
    for (model, batch, precision, _), rows in grouped(report.rows).items():
        if model in NETS and precision == "fp32":
            named = {row.engine: row for row in rows}
            best = _against_best(named, rows, UNASKED)
            what = f"unasked, 200 batches with the search, to the best peer{_whose(rows)}"
            found.append(TargetVerdict(f"{model}, batch {batch}: {what}", best, EVERY_NET))
            unasked += [best] if best else []
            best = _against_best(named, rows, AUTO)
            what = f"all runtimes, to the best peer{_whose(rows)}{_share(report, named.get(AUTO))}{_undisturbed(rows)}"
            found.append(TargetVerdict(f"{model}, batch {batch}: {what}", best, EVERY_NET))
            ratios += [best] if best else []
            what = f"ONNX Runtime alone, to plain ONNX Runtime{_share(report, named.get(ALONE))}"
            least = LRN if model in WITH_LRN else OTHERS
            found.append(TargetVerdict(f"{model}, batch {batch}: {what}", _against_plain(named), least))
    for how, values in (("unasked", unasked), ("with all runtimes", ratios)):
        if values:
            what = f"geometric mean of the {len(values)} ratios {how} to the best peer"
            found.append(TargetVerdict(what, geometric_mean(values), MEAN))
    return found


def gpu_verdicts(report: Report) -> list[TargetVerdict]:
    """matnet relative to the best form of torch on the same GPU, in TF32 and FP16, and means by precision and scope."""
    found: list[TargetVerdict] = []
    ratios: dict[str, list[float]] = {}
    for (model, batch, precision, scope), rows in grouped(report.rows).items():
        own = next((row for row in rows if row.ours), None)
        peer = best_peer(rows, own) if own else None
        if own is None or peer is None or precision == "fp32":
            continue
        kind, times = f"{precision} {scope}".strip(), ratio(own, peer)
        shares = f"{_share(report, own)}{_roofline(report, own)}"
        found.append(TargetVerdict(f"{model}, batch {batch}, {kind}: to {peer.engine}{shares}", times, ON_GPU))
        ratios.setdefault(kind, []).extend([times] if times else [])
    for kind, times_of_kind in ratios.items():
        if times_of_kind:
            what = f"geometric mean of {len(times_of_kind)} ratios, {kind}"
            found.append(TargetVerdict(what, geometric_mean(times_of_kind), ON_GPU))
    return found


def _against_best(named: dict[str, EngineRow], rows: list[EngineRow], own: str) -> float | None:
    row = named.get(own)
    return ratio(row, best_peer(rows, row)) if row else None


def _undisturbed(rows: list[EngineRow]) -> str:
    found = next((ratio_at_fastest(rows, row) for row in rows if row.engine == AUTO), None)
    return f"; {found:.2f} at the fastest turns" if found else ""


def _whose(rows: list[EngineRow]) -> str:
    peer = best_peer(rows, rows[0])
    return f" ({peer.engine})" if peer else ""


def _against_plain(named: dict[str, EngineRow]) -> float | None:
    ours, plain = named.get(ALONE), named.get(PLAIN)
    return ratio(ours, plain) if ours and plain and plain.timed else None


def _roofline(report: Report, row: EngineRow) -> str:
    """The fraction of the roofline: the minimum time for each step's bytes and operations at the measured ceilings."""
    peak, bandwidth = report.peak(row.precision), report.machine.get("copy_bytes_per_s")
    if not (peak and bandwidth and row.timed and row.work):
        return ""
    least = sum(max(moved / bandwidth, operations / peak) for moved, operations in row.work)
    return f", at {100 * least / row.spread.median:.0f} % of the roofline"


def _share(report: Report, row: EngineRow | None) -> str:
    peak = report.peak(row.precision) if row else None
    return f", at {100 * row.flop_per_s / peak:.0f} % of the peak" if peak and row and row.timed else ""
