"""The rows of the tables: the models of the published page in its order, or the requested ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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

class KnownSet(NamedTuple):
    """A data set of published figures.

    task: of its figures. title: of its table; data sets of one title share a table. option: that gives it. names: in
    cards, if not the title.
    """

    task: str
    title: str
    option: str = ""
    names: tuple[str, ...] = ()


LIST = "FILE, a list of lines `path label`"
PAGE_VOC = "PASCAL VOC"
"""The title of the table of segmentations on MatConvNet's page."""

SETS = {
    "imagenet": KnownSet("classification", "ImageNet ILSVRC-2012 val", "--imagenet FOLDER", ("ILSVRC-2012 val",)),
    OWN: KnownSet("classification", "Images beside the cards"),
    "rv-voc11": KnownSet(
        "segmentation", PAGE_VOC, "--voc FOLDER", ("RV-VOC11", "VOC 2011 val without SBD (seg11valid)")
    ),
    "rv-voc12": KnownSet(
        "segmentation", PAGE_VOC, "--voc FOLDER", ("RV-VOC12", "VOC 2012 val, 346 images in neither SBD set")
    ),
    "lfw": KnownSet("faces", "LFW", "--lfw FOLDER"),
    "voc07-test": KnownSet("detection", "PASCAL VOC 2007 test", "--voc FOLDER --proposals FILE"),
    "voc12-val": KnownSet("segmentation", "PASCAL VOC 2012 val", "--voc FOLDER", ("VOC 2012 val",)),
    "cifar10": KnownSet("retrieval", "CIFAR-10", "--data cifar10=FOLDER", ("CIFAR-10 test images",)),
    "context": KnownSet("segmentation", "PASCAL-Context val", "--data context=FOLDER"),
    "bsds500": KnownSet("edges", "BSDS500 test", "--data bsds500=FOLDER"),
    "flickr-style": KnownSet("classification", "Flickr Style test images", f"--data flickr-style={LIST}"),
    "compcars": KnownSet("classification", "CompCars, web images, test", f"--data compcars={LIST}"),
    "flowers": KnownSet("classification", "Oxford 102 flowers, 1,020 images", f"--data flowers={LIST}"),
    "places205": KnownSet("classification", "Places205 val", f"--data places205={LIST}"),
}
"""The data sets on which published figures are measured, in the order of their tables."""

NAMED = tuple(name for name, known in SETS.items() if known.option.startswith("--data "))
"""Data sets given by `--data NAME=PATH`."""

CARD_NAMES = {name: key for key, known in SETS.items() if key != OWN for name in known.names or (known.title,)}
"""Data set as named in model cards -> a key of SETS."""


@dataclass(frozen=True)
class Expected:
    """A row before it is measured. file: the user's own copy of the model, or None for the zoo's."""

    card: Card
    data: str  # a key of SETS
    published: Published | None
    file: Path | None = None

    @property
    def task(self) -> str:
        return SETS[self.data].task

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
        known = f"known: {', '.join(CARD_NAMES)}, and images beside a card"
        raise DataError(
            listing(f"models without published figures on a known data set ({known}):", faults)
        )
    return in_tables(rows)


def in_tables(rows: Iterable[Expected]) -> list[Expected]:
    """The rows by table, newest models first."""
    order = list(dict.fromkeys(known.task for known in SETS.values()))
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
        if published.data in CARD_NAMES and not published.unmeasured:
            return Expected(card, CARD_NAMES[published.data], published, file)
    return Expected(card, "lfw", None, file) if card.task == "faces" else None
