"""The rows of the tables: the models of the published page in its order, or the requested ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matnet.errors import DataError, listing, program
from matnet.zoo.cards import Card, Published, all_cards
from matnet.zoo.find import card_of
from matnet.zoo.names import find_card
from matnet.zoo.verify import Catalogue

IMAGENET_ROWS = (
    "imagenet-resnet-50-dag",
    "imagenet-resnet-101-dag",
    "imagenet-resnet-152-dag",
    "imagenet-matconvnet-vgg-verydeep-16",
    "imagenet-vgg-verydeep-19",
    "imagenet-vgg-verydeep-16",
    "imagenet-googlenet-dag",
    "imagenet-matconvnet-vgg-s",
    "imagenet-matconvnet-vgg-m",
    "imagenet-matconvnet-vgg-f",
    "imagenet-vgg-s",
    "imagenet-vgg-m",
    "imagenet-vgg-f",
    "imagenet-vgg-m-128",
    "imagenet-vgg-m-1024",
    "imagenet-vgg-m-2048",
    "imagenet-matconvnet-alex",
    "imagenet-caffe-ref",
    "imagenet-caffe-alex",
)
SEGMENTATION_ROWS = ("pascal-fcn32s-dag", "pascal-fcn16s-dag", "pascal-fcn8s-dag", "pascal-fcn8s-tvg-dag")
PAGE = (*IMAGENET_ROWS, *SEGMENTATION_ROWS, "vgg-face")
"""The models of MatConvNet's page of May 2016, in the order of its tables."""

OWN = "own"
"""The data set of images beside a model card."""

SETS = {
    "ILSVRC-2012 val": "imagenet",
    "RV-VOC11": "rv-voc11",
    "VOC 2011 val without SBD (seg11valid)": "rv-voc11",
    "RV-VOC12": "rv-voc12",
    "VOC 2012 val, 346 images in neither SBD set": "rv-voc12",
    "LFW": "lfw",
    "PASCAL VOC 2007 test": "voc07-test",
    "VOC 2012 val": "voc12-val",
    "PASCAL-Context val": "context",
    "CIFAR-10 test images": "cifar10",
    "BSDS500 test": "bsds500",
    "Flickr Style test images": "flickr-style",
    "CompCars, web images, test": "compcars",
    "Oxford 102 flowers, 1,020 images": "flowers",
    "Places205 val": "places205",
}
"""Data set as named in model cards -> data set on which it is measured here."""

TABLES = {
    "imagenet": "classification",
    OWN: "classification",
    "rv-voc11": "segmentation",
    "rv-voc12": "segmentation",
    "lfw": "faces",
    "voc07-test": "detection",
    "voc12-val": "segmentation",
    "context": "segmentation",
    "cifar10": "retrieval",
    "bsds500": "edges",
    "flickr-style": "classification",
    "compcars": "classification",
    "flowers": "classification",
    "places205": "classification",
}
"""Data set -> the table of its figures, which is also the task."""


@dataclass(frozen=True)
class Expected:
    """A row before it is measured. file: the user's own copy of the model, or None for the zoo's."""

    card: Card
    data: str  # a key of TABLES
    published: Published | None
    file: Path | None = None

    @property
    def task(self) -> str:
        return TABLES[self.data]

    @property
    def short_name(self) -> str:
        """The model's name in the page's tables: without `imagenet-`."""
        return self.card.name.removeprefix("imagenet-")


def all_published() -> list[str]:
    """Every model of the zoo with published figures on a known data set, or images beside its card."""
    return [card.name for card in all_cards() if _expected(card.name) is not None]


def expected_rows(names: Sequence[str] | None = None) -> list[Expected]:
    """The rows of the page, or those of `names`: model names, or paths of `.mat` files with a model's name.

    In a table, newest models come first; models of one year keep their order. Raises UnknownModelError, or DataError
    that lists the models without a known table.
    """
    rows: list[Expected] = []
    faults = []
    for name in names or PAGE:
        row = _expected(name)
        if row is None:
            faults.append(name)
        elif row.card not in [other.card for other in rows]:
            rows.append(row)
    if faults:
        known = f"known: {', '.join(dict.fromkeys(SETS))}, and images beside a card"
        raise DataError(
            listing(f"models without published figures on a known data set ({known}):", faults)
        )
    return in_tables(rows)


def in_tables(rows: Iterable[Expected]) -> list[Expected]:
    """The rows by table, newest models first."""
    order = list(dict.fromkeys(TABLES.values()))
    return sorted(rows, key=lambda row: (order.index(row.task), -(row.card.introduced or 0)))


def _card_of(file: Path) -> Card:
    """The card for a file's name or checksum. Raises DataError if neither is known."""
    card = card_of(file)
    if card is not None:
        return card
    model = Catalogue(all_cards()).identify(file).model
    if not model:
        raise DataError(
            f"{file}: no known model has this name or checksum, so there are no published figures for it; rename it, "
            f"or measure it with `{program('eval')} {file} --data FOLDER`"
        )
    return find_card(model)


def _expected(name: str) -> Expected | None:
    """The row of a model's name or file; None if its figures are for other data."""
    file = Path(name) if Path(name).is_file() else None
    card = _card_of(file) if file else find_card(name)
    if card.test_images is not None:
        return Expected(card, OWN, card.published[0] if card.published else None, file)
    for published in card.published:
        if published.data in SETS and not published.unmeasured:
            return Expected(card, SETS[published.data], published, file)
    return Expected(card, "lfw", None, file) if card.task == "faces" else None
