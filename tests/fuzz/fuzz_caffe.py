"""Fuzz the Caffe readers: mutated prototxt, caffemodel, .h5 and mean files give a result or one clear error.

    python tests/fuzz/fuzz_caffe.py --minutes 10 [--seed 0] [--seeds FOLDER ...] [--keep FOLDER]

Seeds are tests/data/caffe and any other folders given. Every round mutates one seed and reads it with all that
applies. A finding is any exception but a MatnetError, a reading of more than --seconds, or more than
--megabytes of Python memory; it is written to --keep with the numbers that repeat it. Exit status 1 on findings.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from matnet.converters.caffemodel import (
    attach_weights,
    net_from_caffemodel,
    read_mean,
    read_prototxt,
    read_weights,
)
from matnet.converters.files.text import parse_text
from matnet.converters.files.text_write import to_text
from matnet.errors import MatnetError

WORDS = [b"layer", b"layers", b"{", b"}", b"<", b">", b":", b"[", b"]", b",", b"-", b"#", b'"', b"'", b"\\", b"\\x",
         b"\n", b"type", b"CROP", b"'Input'", b"top", b"bottom", b"include", b"stage", b"1e999", b"-1", b"0x",
         b"99999999999999999999", b"nan", b"param", b"pad", b"input_dim", b"\xff", b"\x00", b"odd { "]
VARINTS = [b"\x00", b"\x7f", b"\x80", b"\xff" * 4 + b"\x0f", b"\xff" * 9 + b"\x01", b"\xff" * 11, b"\x0a", b"\x12",
           b"\x3a", b"\x2d", b"\x29", b"\x45", b"\x0b", b"\x0c", b"\xa2\x06", b"\xff\xff\xff\xff\x07"]


def mutate(data: bytes, rng: random.Random, pieces: list[bytes], other: bytes) -> bytes:
    """`data` after one to six small changes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if not out:
            break
        at = rng.randrange(len(out))
        length = min(len(out) - at, rng.choice((1, 1, 2, 4, 16, 200)))
        kind = rng.randrange(8)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.randrange(256)
        elif kind == 2:
            out[at:at] = rng.choice(pieces) * rng.choice((1, 1, 1, 2, 200))
        elif kind == 3:
            out[at:at + length] = rng.choice(pieces)
        elif kind == 4:
            del out[at:at + length]
        elif kind == 5:
            out[at:at] = out[at:at + length] * rng.choice((1, 2, 50))
        elif kind == 6:
            del out[at:]
        else:
            start = rng.randrange(max(1, len(other)))
            out[at:at] = other[start:start + 8 * length]
    return bytes(out)


def read_text_file(path: Path, rng: random.Random) -> None:
    """As a prototxt; what can be read can be written and read again to the same message."""
    net = read_prototxt(path, phase=rng.choice(("TRAIN", "TEST")), lenient=rng.random() < 0.5)
    text = to_text(net.message)
    again = parse_text(text, "again", lenient=True)
    if to_text(again) != text:
        raise AssertionError("the written prototxt reads differently")


def read_binary_file(path: Path, rng: random.Random) -> None:
    """As weights, as a graph, and both together."""
    net = None
    with contextlib.suppress(MatnetError):
        net = net_from_caffemodel(path)
    weights = read_weights(path)
    if net is not None:
        attach_weights(net, weights)


def read_mean_file(path: Path, rng: random.Random) -> None:
    read_mean(path)


READERS: dict[str, tuple[list[bytes], Callable[[Path, random.Random], None]]] = {
    ".prototxt": (WORDS, read_text_file), ".caffemodel": (VARINTS, read_binary_file),
    ".h5": (VARINTS, read_binary_file), ".binaryproto": (VARINTS, read_mean_file), ".npy": (WORDS, read_mean_file),
}


def seeds(folders: list[Path], scratch: Path) -> list[Path]:
    """The seed files, and one .h5, one .npy and one .binaryproto that are made here."""
    import h5py
    import numpy as np

    from matnet.converters.files.caffe_write import write_binaryproto

    mean = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    np.save(scratch / "mean.npy", mean)
    write_binaryproto(scratch / "mean.binaryproto", mean)
    with h5py.File(scratch / "net.caffemodel.h5", "w") as file:
        file["data/conv1/0"], file["data/conv1/1"] = mean, mean[0, 0]
        file.create_dataset("data/a/b/0", data=mean, compression="gzip")
    found = [path for folder in [*folders, scratch] for path in sorted(folder.rglob("*"))
             if path.suffix in READERS and path.stat().st_size < 2_000_000]
    if not found:
        sys.exit("no seed files; give a folder with --seeds")
    return found


class Fuzzer:
    """The rounds, what they found, and how often a mutant was still readable."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self.options = options
        self.scratch = scratch
        self.files = seeds([Path(folder) for folder in options.seeds], scratch)
        self.rounds = self.readable = self.findings = 0

    def run(self) -> None:
        end = time.monotonic() + 60 * self.options.minutes
        while time.monotonic() < end:
            self.round(self.options.first + self.rounds)
            self.rounds += 1

    def round(self, number: int) -> None:
        rng = random.Random(f"{self.options.seed}/{number}")
        seed = rng.choice(self.files)
        pieces, reader = READERS[seed.suffix]
        data = mutate(seed.read_bytes(), rng, pieces, rng.choice(self.files).read_bytes())
        path = self.scratch / f"mutant{seed.suffix}"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        tracemalloc.reset_peak()
        began = time.monotonic()
        try:
            reader(path, rng)
            self.readable += 1
        except MatnetError as error:
            if not str(error) or len(str(error)) > 20_000:
                self.report(number, seed, data, f"a message of {len(str(error))} characters")
        except Exception:
            self.report(number, seed, data, traceback.format_exc())
        if time.monotonic() - began > self.options.seconds:
            self.report(number, seed, data, f"took {time.monotonic() - began:.1f} s")
        if tracemalloc.get_traced_memory()[1] > self.options.megabytes << 20:
            self.report(number, seed, data, f"took {tracemalloc.get_traced_memory()[1] >> 20} MB")

    def report(self, number: int, seed: Path, data: bytes, what: str) -> None:
        self.findings += 1
        print(f"finding in round {number} (--seed {self.options.seed} --first {number}), from {seed}:\n{what}")
        if self.options.keep:
            Path(self.options.keep).mkdir(parents=True, exist_ok=True)
            (Path(self.options.keep) / f"{self.options.seed}-{number}{seed.suffix}").write_bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the round to begin with, to repeat a finding")
    parser.add_argument("--seeds", nargs="*", default=[str(Path(__file__).parents[1] / "data" / "caffe")])
    parser.add_argument("--keep", help="a folder for the files that were findings")
    parser.add_argument("--seconds", type=float, default=10, help="longest time that one file may take")
    parser.add_argument("--megabytes", type=int, default=400, help="most memory that one file may take")
    options = parser.parse_args()
    warnings.simplefilter("error")
    tracemalloc.start()
    with tempfile.TemporaryDirectory() as scratch:
        fuzzer = Fuzzer(options, Path(scratch))
        fuzzer.run()
    print(f"{fuzzer.rounds} mutants of {len(fuzzer.files)} files, {fuzzer.readable} still readable, "
          f"{fuzzer.findings} findings")
    return 1 if fuzzer.findings else 0


if __name__ == "__main__":
    sys.exit(main())
