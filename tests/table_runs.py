"""A small ImageNet, models for it whose errors are known, and runs of the published tables over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matnet.command_line import run_command
from matnet.reproduce import main
from tests.tiny_models import WNIDS, gray, gray_classifier, publish

# Images of the stand-in for ImageNet: class (a place in WNIDS, whose levels are 0, 40, ..., 200) and gray.
IMAGES = [(0, 10), (1, 45), (2, 95), (3, 150), (4, 165), (5, 10), (0, 190), (1, 90)]
# Wrong: 150 is nearest to 160, 10 to 0, 190 to 200, 90 to 80. For (5, 10) and (0, 190) the true level is the farthest.
TOP1, TOP5 = 50.0, 25.0
MATCONVNET = "MatConvNet's page of pretrained models, May 2016"
VAL = {"source": MATCONVNET, "data": "ILSVRC-2012 val", "protocol": "one centre crop"}


def small_imagenet(tmp_path: Path) -> Path:
    """IMAGES in class folders."""
    for number, (place, level) in enumerate(IMAGES, 1):
        path = tmp_path / "imagenet" / "val" / WNIDS[place] / f"ILSVRC2012_val_{number:08d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        gray(level).save(path, quality=95)
    return tmp_path / "imagenet"


def publish_classifier(home: Path, name: str = "gray", **published: Any) -> Path:
    figures = {**VAL, "top1_error": TOP1, "top5_error": TOP5, "images_per_s": 5.0, "tolerance": 0.2, **published}
    return publish(home, name, gray_classifier(), "classification", published=[figures], parameters=1158)


def table(*arguments: object) -> int:
    """`python -m matnet.reproduce` with the numpy engine."""
    return run_command(main, ["--quiet", "--backend", "numpy", *map(str, arguments)])


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in json.loads(path.read_text())["rows"]}
