"""Connectionist temporal classification: decoding of scores per step to a label sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from matnet.errors import ShapeError
from matnet.ops.arrays import on_host
from matnet.ops.base import Array, Op, register
from matnet.shapes import Shape, text


@register("dagnn.CTCGreedyDecoder")
@dataclass(frozen=True, kw_only=True)
class CTCGreedyDecoder(Op):
    """The best label of each step, without blanks and repetitions (CTC forks of Caffe, ctc_decoder_layer.cpp).

    Inputs: scores T x N x C x 1, and optional indicators T x N x 1 x 1: a stream ends before the first step after step
    0 with indicator 0. Ties go to the first label. Outputs: labels N x T x 1 x 1, padded with -1; with withScores also
    N x 1 x 1 x 1, the negative sum of the best scores. blankIndex -1 means the last label. ctcMergeRepeated: drop
    consecutive repetitions.
    """

    input_count: ClassVar[tuple[int, int | None]] = (1, 2)
    uses_host: ClassVar[bool] = True
    family = "result"
    pixelwise = False
    blankIndex: int = -1
    ctcMergeRepeated: bool = True
    withScores: bool = False

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        steps, streams = inputs[0][:2]
        if inputs[0][3] != 1:
            raise ShapeError(f"the scores are {text(inputs[0])}; expected T x N x C x 1")
        for shape in inputs[1:]:
            if shape != (steps, streams, 1, 1):
                raise ShapeError(f"the indicators are {text(shape)}; expected {steps}x{streams}x1x1")
        shapes: list[Shape] = [(streams, steps, 1, 1), (streams, 1, 1, 1)]
        return shapes[: 1 + self.withScores]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        scores = on_host(inputs[0])[..., 0]
        steps, streams, labels = scores.shape
        best = scores.argmax(axis=2)
        counts = np.ones((steps, streams), bool)
        if len(inputs) > 1:
            counts[1:] = np.cumprod(on_host(inputs[1])[1:, :, 0, 0] != 0, axis=0) != 0
        before = np.concatenate([np.full((1, streams), -1), best[:-1]])
        kept = counts & (best != self.blankIndex % labels) & ~(self.ctcMergeRepeated & (best == before))
        found = np.full((streams, steps, 1, 1), -1, np.float32)
        for stream in range(streams):
            sequence = best[kept[:, stream], stream]
            found[stream, : len(sequence), 0, 0] = sequence
        total = -(scores.max(axis=2) * counts).sum(axis=0, dtype=np.float32)
        return [xp.asarray(part) for part in (found, total.reshape(-1, 1, 1, 1))[: 1 + self.withScores]]
