"""The results of a GPU run as a Markdown page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from matnet.benchmarks.device.conformance import BOUNDS
from matnet.benchmarks.device.memory import DeviceMemory
from matnet.benchmarks.rows import Report
from matnet.benchmarks.table import READING, machine_lines, speed_details, summary
from matnet.benchmarks.targets import gpu_verdicts

SHOWN = 5  # network names per reason


def page(report: Report, details: bool = True) -> str:
    """Machine, checks and speed; with `details`, the figures of every engine."""
    parts = ["# On a GPU", "", *(f"- {line}" for line in [*machine_lines(report), *ceiling_lines(report)])]
    parts += list(_conformance(report.sections.get("conformance", [])))
    parts += _section("Agreement over real images", report.sections.get("agreement", []))
    parts += _section("Device memory", [DeviceMemory(**entry).line() for entry in report.sections.get("memory", [])])
    parts += list(_kernels(report.sections.get("kernels", [])))
    left = [f"{entry['name']}: {entry['status']}" for entry in report.sections.get("parts", []) if _left(entry)]
    parts += _section("Targets", [verdict.line() for verdict in gpu_verdicts(report)])
    if report.rows:
        parts += ["", "## Speed", "", summary(report, "pipe"), "", READING]
        parts += speed_details(report) if details else []
    parts += _section("Not done", left)
    return "\n".join(parts) + "\n"


def _left(entry: dict[str, Any]) -> bool:
    return bool(entry["status"] != "ok")


def ceiling_lines(report: Report) -> list[str]:
    """The measured bandwidths."""
    named = {"copy_bytes_per_s": "copies in device memory, read and written", "transfer_bytes_per_s": "copies to it"}
    found = report.machine
    return [f"{found[key] / 1e9:.0f} GB/s: {what}" for key, what in named.items() if key in found]


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", f"## {title}", "", *(f"- {line}" for line in lines)] if lines else []


def _kernels(entries: list[dict[str, Any]]) -> Iterator[str]:
    """Per network and precision: each kind of step, its time, and the ratio to the minimum time."""
    for entry in entries:
        yield from ("", f"## Kernels of {entry['model']}, batch {entry['batch']}, {entry['precision']}", "")
        for kind in entry["kinds"]:
            times = f", {kind['seconds'] / kind['floor']:.2f} times the least" if kind["floor"] else ""
            yield f"- {kind['how']}: {kind['steps']} steps, {1e6 * kind['seconds']:.0f} us{times}"


def _conformance(entries: list[dict[str, Any]]) -> Iterator[str]:
    """One line per precision, then the networks that differ from the record."""
    if not entries:
        return
    yield from ("", "## Recorded networks", "")
    for precision in dict.fromkeys(entry["precision"] for entry in entries):
        own = [entry for entry in entries if entry["precision"] == precision]
        good = [entry for entry in own if entry["status"] == "ok"]
        worst = max((entry["worst"] for entry in good), default=0.0)
        yield (
            f"- {precision}: {len(good)} of {len(own)} networks within {BOUNDS[precision]:g} of MatConvNet's or "
            f"Caffe's numbers; the worst of them {worst:.1e}"
        )
        paths = Counter(path for entry in good for path in entry.get("paths", ()) if path)
        if paths:
            yield f"  - how they ran: {', '.join(f'{path} ({count})' for path, count in paths.most_common())}"
        reasons: dict[str, list[str]] = {}
        for entry in own:
            if entry["status"] != "ok":
                reasons.setdefault(entry["status"], []).append(entry["case"])
        for reason, cases in reasons.items():
            others = f" and {len(cases) - SHOWN} more" if len(cases) > SHOWN else ""
            yield f"  - {', '.join(cases[:SHOWN])}{others}: {reason}"
