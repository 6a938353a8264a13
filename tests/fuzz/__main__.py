"""Fuzz every kind of input: `python -m tests.fuzz --minutes 60 [--seed 0] [--kind mat5 ...] [--keep FOLDER]`.

A worker process reads one mutant after another; this process supervises it. A finding is any exception but a
MatnetError, the end of the worker by a signal, more than --seconds of processor time (or ten times that by the clock)
for one input, or more memory than --megabytes. Each finding is printed once for its place in the code, with the numbers
that repeat it, and written to --keep. The rounds are numbered by kind, so that `--kind K --first N --rounds 1` repeats
one. Exit status 1 on findings.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.kinds import KINDS, mutant, verdict

ROOT = Path(__file__).resolve().parents[2]


def work(seed: int, megabytes: int) -> None:
    """The worker: lines `kind number` on stdin; on stdout `kind number verdict`, findings with their traceback."""
    import resource

    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries may print
    for kind in sys.argv[sys.argv.index("--warm") + 1].split(","):
        mutant(kind, seed, 0)
    used = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if os.path.exists("/proc") else 0
    )
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20),) * 2)
    print("ready", file=out)
    with tempfile.TemporaryDirectory() as scratch:
        for line in sys.stdin:
            kind, number = line.split()
            path = Path(scratch, f"mutant{KINDS[kind].suffix}")
            try:
                path.write_bytes(mutant(kind, seed, int(number))[1])
                found = verdict(kind, path)
            except BaseException as error:  # the very thing that is looked for
                found = repr("".join(traceback.format_exception(error))[-3000:])
            print(kind, number, found, file=out)


class Worker:
    """A worker process; started anew after it died or took too long."""

    closed = False

    def __init__(self, options: argparse.Namespace, kinds: list[str]) -> None:
        self.process = subprocess.Popen(
            self.command(options, kinds),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self.answer(600) != "ready":
            sys.exit("the worker did not start")

    def command(self, options: argparse.Namespace, kinds: list[str]) -> list[str]:
        command = [sys.executable, "-m", "tests.fuzz", "--work", "--seed", str(options.seed), "--warm", ",".join(kinds)]
        return [*command, "--megabytes", str(options.megabytes)]

    def answer(self, seconds: float) -> str | None:
        """A line, None where none came in time or the worker died."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else ""
        self.closed = bool(ready) and not line
        return line.rstrip("\n") or None

    def try_one(self, kind: str, number: int, seconds: float) -> str:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{kind} {number}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        answer, before, latest = None, self.used(), time.monotonic() + 10 * seconds
        while answer is None and not self.closed and time.monotonic() < latest and self.used() - before < seconds:
            answer = self.answer(min(seconds, 5))
        if answer is not None:
            return answer.split(" ", 2)[2]
        # Output that is closed is the end of the worker, whose status the system has a moment later.
        status = self.process.wait() if self.closed else None
        self.end()
        return f"took more than {seconds:g} s" if status is None else f"ended the process with status {status}"

    def used(self) -> float:
        """Seconds of processor time that the worker has used; of the clock, where the system does not say."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return time.monotonic()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def place(found: str) -> str:
    """What tells one finding from another: the last line of matnet in its traceback, and the error."""
    lines = found.replace("\\n", "\n").splitlines()
    ours = [line.strip() for line in lines if "/matnet/" in line or "/converters/" in line]
    return " ".join([*ours[-1:], *lines[-1:]])[:300]


def run(options: argparse.Namespace) -> int:
    kinds = options.kind or list(KINDS)
    counts: Counter[tuple[str, str]] = Counter()
    findings: dict[str, int] = {}
    end = time.monotonic() + 60 * options.minutes
    worker, number = Worker(options, kinds), options.first
    while time.monotonic() < end and number < options.first + options.rounds:
        for kind in kinds:
            found = worker.try_one(kind, number, options.seconds)
            fine = found in ("read", "refused")
            counts[kind, found if fine else "finding"] += 1
            if not fine:
                report(options, kind, number, found, findings)
                if worker.process.poll() is not None:
                    worker = Worker(options, kinds)
            if time.monotonic() > end:
                break
        number += 1
    worker.end()
    print(f"{'kind':12} {'inputs':>8} {'read':>8} {'refused':>8} {'findings':>8}")
    for kind in kinds:
        row = [counts[kind, what] for what in ("read", "refused", "finding")]
        print(f"{kind:12} {sum(row):8} {row[0]:8} {row[1]:8} {row[2]:8}")
    print(f"{sum(counts.values()):,} inputs, seed {options.seed}; {len(findings)} different findings")
    return 1 if findings else 0


def report(options: argparse.Namespace, kind: str, number: int, found: str, findings: dict[str, int]) -> None:
    key = f"{kind}: {place(found)}"
    findings[key] = findings.get(key, 0) + 1
    if findings[key] > 1:
        return
    text = found.replace("\\n", "\n")
    print(f"finding: --kind {kind} --seed {options.seed} --first {number} --rounds 1\n{text}\n", flush=True)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        _, data = mutant(kind, options.seed, number)
        (options.keep / f"{kind}-{options.seed}-{number}{KINDS[kind].suffix}").write_bytes(data)


def main() -> int:
    command = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").split("\n")[0])
    command.add_argument("--minutes", type=float, default=10)
    command.add_argument("--rounds", type=int, default=1 << 40, help="at most so many inputs of each kind")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--first", type=int, default=0, help="the round to begin with, to repeat a finding")
    command.add_argument("--kind", action="append", choices=KINDS, help="may be repeated (default: all)")
    command.add_argument("--keep", type=Path, metavar="FOLDER", help="a folder for the inputs that were findings")
    command.add_argument("--seconds", type=float, default=20, help="longest processor time of one input")
    command.add_argument("--megabytes", type=int, default=1500, help="most memory beyond that of the idle worker")
    command.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    command.add_argument("--warm", default="", help=argparse.SUPPRESS)
    options = command.parse_args()
    if options.work:
        work(options.seed, options.megabytes)
        return 0
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
