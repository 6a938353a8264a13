"""Small sets in the layouts of VOC and LFW whose figures are counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from matnet.evaluation.label_images import write_label_image
from tests.tiny_models import blocks

LEVELS = {0: 0, 1: 100, 15: 200}

# Grays of two images of different, odd sizes, as blocks of 16 so that JPEG keeps them flat; and their true classes.
PICTURES = {
    # 32 x 48: the network sees 0, 1 and 15. Of the middle the upper half is void, the right third is truly 1.
    "2011_000001": (
        blocks([[0, 100, 200]], ([32], [16, 16, 16])),
        blocks([[0, 255, 1], [0, 1, 1]], ([16, 16], [16, 16, 16])),
    ),
    # 33 x 16: all 1. The middle is truly 15, the last row is void.
    "2011_000002": (blocks([[100]], ([33], [16])), blocks([[1], [15], [255]], ([16, 16, 1], [16]))),
}
# True 0: 512 pixels, all found. True 1: 256 + 512 of the first and 256 of the second image, of which 256 + 256 found
# and 512 taken for 15. True 15: 256, all taken for 1. In all 1792 pixels.
EXPECTED = {
    "pixels": 1792,
    "pixel_accuracy": 100 * (512 + 512) / 1792,
    "mean_class_accuracy": 100 * (1 + 512 / 1024 + 0) / 21,
    # class 1: 512 right of 1024 true and 512 + 256 given
    "mean_iou": 100 * (1 + 512 / (1024 + 768 - 512) + 0) / 21,
    "frequency_weighted_iu": 100 * (512 * 1 + 1024 * 512 / 1280) / 1792,
}


def voc2011(root: Path, pictures: dict[str, tuple[np.ndarray, np.ndarray]] = PICTURES) -> Path:
    """VOCdevkit/VOC2011 with these pictures, listed in seg11valid.txt."""
    home = root / "VOCdevkit" / "VOC2011"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (home / folder).mkdir(parents=True)
    (home / "ImageSets" / "Segmentation" / "seg11valid.txt").write_text("\n".join(pictures))
    for name, (image, truth) in pictures.items():
        Image.fromarray(image).save(home / "JPEGImages" / f"{name}.jpg", quality=95)
        write_label_image(home / "SegmentationClass" / f"{name}.png", truth)
    return root / "VOCdevkit"


# The faces' directions in red and green: their descriptors after division by their length.
FACES = {
    ("Ann", 1): (200, 0),  # 0 degrees
    ("Ann", 2): (90, 0),  # the same, only darker
    ("Bob", 1): (0, 180),  # 90 degrees
    ("Cid", 1): (0, 120),
    ("Cid", 2): (120, 120),  # 45 degrees
    ("Eve", 1): (0, 250),
}
PAIRS = "2\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\nCid\t1\t2\nAnn\t2\tEve\t1\n"
"""Two folds, each of a pair of one person and one of two. Distances: 0, sqrt 2; 2 sin 22.5 degrees = 0.765, sqrt 2."""


def faces(root: Path, pairs: str = PAIRS) -> Path:
    """LFW's folders of flat faces, and their pairs."""
    for (person, number), (red, green) in FACES.items():
        path = root / "lfw" / person / f"{person}_{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), (red, green, 0)).save(path, quality=95, subsampling=0)
    (root / "pairs.txt").write_text(pairs)
    return root
