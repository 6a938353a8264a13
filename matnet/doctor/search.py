"""Search for errors in preprocessing or labels: try the usual corrections, and decide by statistical tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from matnet.arguments import other_color_format
from matnet.datasets import ImageList
from matnet.doctor.image_changes import KNOBS, ImageChange, Preparation, image_changes
from matnet.doctor.label_changes import LabelChange, label_changes, learned_order
from matnet.doctor.scoring import Scorer, mean_colour
from matnet.doctor.statistics import SIGNIFICANT, calibrated, interval, log_probabilities, normalizers, paired
from matnet.engines import EngineOptions
from matnet.errors import DataError
from matnet.images import Preprocessing
from matnet.metrics import chance_of
from matnet.network import Network

LOOKS = (24, 100, 400, 1600, 6400)
"""The numbers of images after which changes are tested; decided changes are not computed further."""
IMAGES = 400
"""The default number of images."""
LEARNED = 4000
"""The most images used for learning a class order."""
LABELS = "labels"
BETTER, WORSE, SAME, UNDECIDED = "better", "worse", "no difference", "not decidable"


@dataclass(frozen=True)
class TriedChange:
    """A change and its result on the first `images` images of the random order.

    error, low, high: the top-1 error in percent and its 95 % interval. base_error: the error without the change on the
    same images. gain: the mean increase of the log-probability of the true class. p: the one-sided p-value for better
    (verdict BETTER) or worse (WORSE), corrected for all tests; otherwise the smaller one. needed: the number of images
    for a decision; None if no practical number suffices.
    """

    knob: str
    what: str
    verdict: str
    images: int
    error: float
    low: float
    high: float
    base_error: float
    gain: float
    p: float
    needed: int | None
    remedy: str

    @property
    def conclusion(self) -> str:
        """The verdict as text."""
        if self.verdict != UNDECIDED:
            return self.verdict
        about = f"about {self.needed:,} needed" if self.needed else "no difference seen"
        return f"not decidable with these {self.images} images, {about}"


@dataclass
class Diagnosis:
    """base: the result without any change. trials: the results of all changes, best first. best: the change to make.

    change: `best` as an ImageChange, a LabelChange, or one of each. unreadable: skipped images.
    """

    base: TriedChange
    trials: list[TriedChange]
    best: TriedChange | None
    change: tuple[ImageChange | None, LabelChange | None] = (None, None)
    by_chance: bool = False
    unreadable: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        return {
            "base": asdict(self.base),
            "trials": [asdict(trial) for trial in self.trials],
            "best": asdict(self.best) if self.best else None,
            "by_chance": self.by_chance,
            "unreadable": self.unreadable,
        }


@dataclass
class _Answers:
    """The results of one preprocessing, for each labelling (the images' own, then each label change) and image.

    They are the log-probability of the true class, whether it is the top class, and the normalizers of `TEMPERATURES`.
    """

    logs: list[np.ndarray] = field(default_factory=list)
    right: list[np.ndarray] = field(default_factory=list)
    normalizers: list[np.ndarray] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(part.shape[1] for part in self.logs)

    def of(self, labelling: int, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The first `count` images with one labelling: calibrated log-probabilities, and whether they are correct."""
        logs, right = (np.concatenate(parts, axis=1)[labelling] for parts in (self.logs, self.right))
        return self.calibrated(logs[:count]), right[:count]

    def calibrated(self, logs: np.ndarray) -> np.ndarray:
        """Log-probabilities of the true classes of the first images, at the temperature that maximizes their mean."""
        return calibrated(logs, np.concatenate(self.normalizers, axis=1)[:, : len(logs)])


class Search:
    """The search over one labelled data set; `run` returns the Diagnosis.

    images: aligned with the network's classes. variable: scores, one per class. knobs: some of KNOBS and LABELS. most:
    the most images to use. Raises what Scorer raises.
    """

    def __init__(
        self,
        net: Network,
        images: ImageList,
        preprocessing: Preprocessing,
        variable: str,
        names: Sequence[str] = (),
        options: EngineOptions | None = None,
        knobs: Sequence[str] = (*KNOBS, LABELS),
        most: int = IMAGES,
        scorer: Scorer | None = None,
    ) -> None:
        order = np.random.default_rng(0).permutation(len(images))[:most]
        self._paths = [images.paths[place] for place in order]
        self._labels = images.labels[order]
        self._all_labels = images.labels
        self._images, self._names, self._knobs = images, names, knobs
        self._scorer = scorer or Scorer(net, variable, options or EngineOptions(backend="auto"))
        self._base = Preparation(preprocessing)
        colour = mean_colour(self._paths[: LOOKS[0]], preprocessing)
        self._changes = image_changes(preprocessing, knobs, colour, other_color_format(net))
        self._order = order
        self._label_changes: list[LabelChange] = []
        self._answers: dict[int, _Answers] = {}  # -1: the base; else the index of an image change
        self._whole: list[np.ndarray] = []  # log-probabilities N x K of the base
        self._order_learned = np.zeros(0, int)
        self._seen: list[int] = []  # indices of the readable images so far

    def run(self) -> Diagnosis:
        stops = [look for look in LOOKS if look < len(self._paths)] + [len(self._paths)]
        active = [-1, *range(len(self._changes))]
        verdicts: dict[Any, TriedChange] = {}
        start, found = 0, False
        for stop in stops:
            self._compute(start, stop, active)
            start = stop
            if not self._seen:
                continue
            if not found:
                verdicts |= self._judged(active, len(stops))
                found = any(trial.verdict == BETTER for trial in verdicts.values())
                undecided = [n for n in active if n >= 0 and verdicts[n].verdict in (UNDECIDED, SAME)]
                better = [n for n in active if n >= 0 and verdicts[n].verdict == BETTER]
                active = [-1, *(better if found else undecided)]
            else:
                verdicts |= {key: self._judged_one(key, len(stops)) for key in verdicts if self._current(key)}
        if not self._seen:
            unreadable = self._scorer.unreadable
            raise DataError(f"{self._images.root}: none of {len(unreadable)} images could be read: {unreadable[0]}")
        return self._diagnosis(verdicts, len(stops))

    # -- computing ----------------------------------------------------------------------------------

    def _compute(self, start: int, stop: int, active: Sequence[int]) -> None:
        variants = [self._base if number < 0 else self._changes[number].variant for number in active]
        for places, scores in self._scorer.scores(self._paths[start:stop], variants):
            rows = [start + place for place in places]
            self._seen += rows
            for number, values in zip(active, scores, strict=True):
                logs = log_probabilities(values)
                if not self._answers:
                    self._find_label_changes(logs.shape[1])
                if number < 0 and len(self._seen) <= LEARNED:
                    self._whole.append(logs)
                answers = self._answers.setdefault(number, _Answers())
                labels = np.stack([self._labels[rows], *(change.labels[rows] for change in self._label_changes)])
                answers.logs.append(np.take_along_axis(logs, labels.T, axis=1).T)
                answers.right.append(values.argmax(axis=1) == labels)
                answers.normalizers.append(normalizers(logs))

    def _find_label_changes(self, outputs: int) -> None:
        self._outputs = outputs
        low, high = int(self._all_labels.min()), int(self._all_labels.max())
        if low < 0 or high >= outputs:
            last = outputs - 1
            raise DataError(f"{self._images.root}: labels run from {low} to {high}, but outputs from 0 to {last}")
        if LABELS in self._knobs:
            found = label_changes(self._images.paths, self._all_labels, outputs, self._names)
            self._label_changes = [
                LabelChange(change.what, change.labels[self._order], change.remedy, change.classes) for change in found
            ]

    # -- judging ------------------------------------------------------------------------------------

    @property
    def _tests(self) -> int:
        """The number of changes compared with the base, including the learned order."""
        return len(self._changes) + len(self._label_changes) + (LABELS in self._knobs)

    def _judged(self, active: Sequence[int], looks: int) -> dict[Any, TriedChange]:
        keys: list[Any] = [number for number in active if number >= 0]
        keys += [(-1, place) for place in range(1, len(self._label_changes) + 1)]
        found = {key: self._judged_one(key, looks) for key in keys}
        if LABELS in self._knobs and not any(trial.verdict == BETTER for trial in found.values()):
            orders = self._learned_order()
            if orders is not None:
                found["learned"] = self._learned(looks, *orders)
        return found

    def _current(self, key: Any) -> bool:
        """Whether the change is computed for all images so far."""
        if key == "learned":
            return True
        number = key if isinstance(key, int) else key[0]
        return number in self._answers and self._answers[number].count == len(self._seen)

    def _judged_one(self, key: Any, looks: int, tests: int | None = None) -> TriedChange:
        """key: the index of an image change, or a pair of it (-1: none) and a labelling, or `learned`."""
        if key == "learned":
            learned, order = self._learned_order() or (self._labels[self._seen], np.arange(self._outputs))
            return self._learned(looks, learned, order)
        number, labelling = key if isinstance(key, tuple) else (key, 0)
        image = self._changes[number] if number >= 0 else None
        label = self._label_changes[labelling - 1] if labelling else None
        made = [change for change in (image, label) if change is not None]
        logs, right = self._answers[number].of(labelling)
        return self._trial(
            " and ".join(change.knob for change in made), "; ".join(change.what for change in made),
            "; ".join(change.remedy for change in made), logs, right, looks * (tests or self._tests),
        )  # fmt: skip

    def _trial(self, knob: str, what: str, remedy: str, logs: np.ndarray, right: np.ndarray, tests: int) -> TriedChange:
        count = len(logs)
        base_logs, base_right = self._answers[-1].of(0, count)
        test = paired(logs - base_logs, tests)
        wrong, base_wrong = int((~right).sum()), int((~base_right).sum())
        by_chance = chance_of(count - wrong, count, 1 / self._outputs) > SIGNIFICANT
        if test.better < SIGNIFICANT and wrong <= base_wrong and not by_chance:
            verdict, p = BETTER, test.better
        elif test.better < SIGNIFICANT:  # higher probabilities, but not more correct answers
            verdict, p = SAME, test.better
        elif test.worse < SIGNIFICANT:
            verdict, p = WORSE, test.worse
        elif test.needed is None:
            verdict, p = SAME, 1.0
        else:
            verdict, p = UNDECIDED, min(test.better, test.worse)
        low, high = interval(wrong, count)
        needed = test.needed if verdict == UNDECIDED else None
        error, base = 100 * wrong / count, 100 * base_wrong / count
        return TriedChange(knob, what, verdict, count, error, low, high, base, test.gain, p, needed, remedy)

    def _learned_order(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The result of `learned_order` for the images so far, up to LEARNED."""
        logs = np.concatenate(self._whole)
        return learned_order(logs, self._labels[self._seen][: len(logs)])

    def _learned(self, looks: int, learned: np.ndarray, order: np.ndarray) -> TriedChange:
        """The trial of the class order learned from halves of the images."""
        logs = np.concatenate(self._whole)
        self._order_learned = order
        moved = [f"{label} is output {order[label]}" for label in np.unique(self._labels) if order[label] != label]
        shown = ", ".join(moved[:12]) + (", ..." if len(moved) > 12 else "")
        what = f"another class order, learned from the other half of the images ({shown or 'unchanged'})"
        remedy = "--classes FILE with the classes in the order of the outputs, or --write FIXED.mat, which stores them"
        true = self._answers[-1].calibrated(logs[np.arange(len(logs)), learned])
        return self._trial(LABELS, what, remedy, true, logs.argmax(axis=1) == learned, looks * self._tests)

    # -- concluding ---------------------------------------------------------------------------------

    def _diagnosis(self, verdicts: dict[Any, TriedChange], looks: int) -> Diagnosis:
        _, right = self._answers[-1].of(0)
        count, wrong = len(right), int((~right).sum())
        low, high = interval(wrong, count)
        error = 100 * wrong / count
        base = TriedChange("none", "unchanged", "", count, error, low, high, error, 0.0, 1.0, None, "")
        by_chance = chance_of(count - wrong, count, 1 / self._outputs) > SIGNIFICANT
        if by_chance and not any(trial.verdict == BETTER for trial in verdicts.values()):
            verdicts |= self._pairs(looks)
        better = [key for key, trial in verdicts.items() if trial.verdict == BETTER]
        best = max(better, key=lambda key: verdicts[key].gain, default=None)
        rank = {BETTER: 0, UNDECIDED: 1, SAME: 2, WORSE: 3}
        trials = sorted(verdicts.values(), key=lambda trial: (rank[trial.verdict], -trial.gain))
        change = (None, None) if best is None else self._change_of(best)
        return Diagnosis(base, trials, None if best is None else verdicts[best], change, by_chance,
                         list(self._scorer.unreadable))  # fmt: skip

    def _pairs(self, looks: int) -> dict[Any, TriedChange]:
        """Combinations of a better change of labels with a better change of preprocessing."""
        keys = [
            (number, labelling)
            for number in range(len(self._changes))
            if number in self._answers
            for labelling in range(1, len(self._label_changes) + 1)
        ]
        found = {key: self._judged_one(key, looks, self._tests + len(keys)) for key in keys}
        return {key: trial for key, trial in found.items() if trial.verdict == BETTER}

    def _change_of(self, key: Any) -> tuple[ImageChange | None, LabelChange | None]:
        if key == "learned":
            order = self._order_learned
            names = list(self._names) or [str(number) for number in range(len(order))]
            classes = [""] * len(order)
            for label, output in enumerate(order):
                classes[output] = names[label]
            return None, LabelChange("the learned order", self._labels, "", tuple(classes))
        number, labelling = key if isinstance(key, tuple) else (key, 0)
        return (
            self._changes[number] if number >= 0 else None,
            self._label_changes[labelling - 1] if labelling else None,
        )


def try_changes(
    net: Network, images: ImageList, preprocessing: Preprocessing, variable: str | None = None, **options: Any
) -> Diagnosis:
    """Try the usual errors one by one on labelled images; see Search for the options.

    images: aligned with the network's classes by `matnet.evaluation.classes.align`.
    """
    from matnet.evaluation.scores import score_variable

    return Search(net, images, preprocessing, score_variable(net, variable), **options).run()
