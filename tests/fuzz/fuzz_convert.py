"""Fuzz the Caffe converter: prototxts whose types, numbers and wiring were changed convert, or give one clear error.

    python tests/fuzz/fuzz_convert.py --minutes 10 [--seed 0] [--keep FOLDER]

Seeds are the networks of tests/data/caffe. Of what converts a share is saved, loaded and written back for Caffe. A
finding is any exception but a MatnetError; its prototxt goes to --keep. Exit status 1 on findings.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import matnet
from matnet.converters.export.to_caffe import to_caffe
from matnet.converters.lower import LOWERINGS
from matnet.converters.options import CHOICES
from matnet.errors import MatnetError

CASES = Path(__file__).resolve().parents[1] / "data" / "caffe"
NUMBERS = ["0", "1", "2", "3", "7", "13", "-1", "99999", "2000000000"]
FIELDS = ["stride: 3", "pad: 2", "kernel_size: 4", "dilation: 2", "axis: 2", "group: 3", "global_pooling: true"]
ROUND_TRIPS = 0.2


def mutate(text: str, rng: random.Random) -> str:
    """`text` after one to four changes of a number, a type, a line, a bottom, a top or a field."""
    for _ in range(rng.randint(1, 4)):
        kind = rng.randrange(6)
        if kind == 0:
            text = put(text, r"(?<=: )\d+", rng, lambda found: rng.choice(NUMBERS))
        elif kind == 1:
            text = put(text, r'(?<=type: )"\w+"', rng, lambda found: f'"{rng.choice(list(LOWERINGS))}"')
        elif kind == 2:
            lines = text.split("\n")
            del lines[rng.randrange(len(lines))]
            text = "\n".join(lines)
        elif kind == 3:
            blobs = re.findall(r'bottom: "[\w/]+"', text) or ['bottom: "data"']
            text = put(
                text, r'bottom: "[\w/]+"', rng, lambda found, pool=blobs: rng.choice([found * 2, rng.choice(pool)])
            )
        elif kind == 4:
            text = put(text, r'top: "[\w/]+"', rng, lambda found: f'{found} top: "more{rng.randrange(9)}"')
        else:
            text = put(text, r"\w+_param \{", rng, lambda found: f"{found} {rng.choice(FIELDS)} ")
    return text


def put(text: str, pattern: str, rng: random.Random, change: Any) -> str:
    """`text` with one match of `pattern`, chosen at random, changed."""
    matches = list(re.finditer(pattern, text))
    if not matches:
        return text
    chosen = rng.choice(matches)
    return text[: chosen.start()] + change(chosen[0]) + text[chosen.end() :]


def random_options(rng: random.Random) -> dict[str, Any]:
    names = ("color_format", "names", "merge_batchnorm", "extensions")
    options: dict[str, Any] = {name: rng.choice(CHOICES[name]) for name in names}
    options |= {"remove_dropout": rng.random() < 0.5, "transpose": rng.random() < 0.8}
    if rng.random() < 0.3:
        options["input_size"] = (rng.choice([1, 5, 40]), rng.choice([1, 5, 40]))
    return options


def attempt(prototxt: Path, weights: Path | None, options: dict[str, Any], round_trip: bool, folder: Path) -> str:
    """Convert, and perhaps go on to a file and back to Caffe; what became of it."""
    try:
        net = matnet.convert_caffe(prototxt, weights, **options)
        if not round_trip:
            return "converted"
        to_caffe(matnet.load(matnet.save(net, folder / "net.mat")))
    except MatnetError:
        return "refused"
    return "there and back"


def fuzz(minutes: float, seed: int, keep: Path | None) -> int:
    """The number of different findings."""
    rng = random.Random(seed)
    cases = sorted(path for path in CASES.iterdir() if path.is_dir())
    counts: Counter[str] = Counter()
    findings: Counter[str] = Counter()
    until = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as temporary:
        prototxt = Path(temporary) / "fuzz.prototxt"
        while time.monotonic() < until:
            case = rng.choice(cases)
            prototxt.write_text(mutate((case / "deploy.prototxt").read_text(), rng))
            weights = case / "weights.caffemodel" if rng.random() < 0.6 else None
            options = random_options(rng)
            try:
                counts[attempt(prototxt, weights, options, rng.random() < ROUND_TRIPS, Path(temporary))] += 1
            except Exception:  # the very thing that is looked for
                text = traceback.format_exc()
                place = " ".join(text.splitlines()[-3:])
                findings[place] += 1
                if findings[place] == 1:
                    print(f"{text}options: {options}\n", file=sys.stderr)
                    if keep is not None:
                        (keep / f"finding{len(findings)}.prototxt").write_text(prototxt.read_text())
    print(f"{dict(counts)}, {len(findings)} findings")
    return len(findings)


def main() -> int:
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--minutes", type=float, default=10)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--keep", type=Path, metavar="FOLDER", help="an existing folder for prototxts that fail")
    given = command.parse_args()
    return 1 if fuzz(given.minutes, given.seed, given.keep) else 0


if __name__ == "__main__":
    sys.exit(main())
