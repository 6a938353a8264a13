"""Caffe's recurrent layers, LSTM and RNN, over T steps of N streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from matnet.errors import ShapeError
from matnet.ops.arrays import as_vector, sigmoid
from matnet.ops.base import Array, InputKind, Op, register
from matnet.ops.extensions.common import as_matrix, require_count
from matnet.shapes import Shape, text


@dataclass(frozen=True, kw_only=True)
class _Recurrent(Op):
    """Inputs x (T x N x ...), [cont (T x N x 1 x 1)], [static (N x ...)], [initial states, each 1 x N x D x 1].

    cont multiplies the state of the previous step, so 0 starts a new sequence. staticInput: one more input, constant
    over all steps. exposeHidden: initial states are inputs, and final states are outputs; otherwise states start at
    zero. (Caffe keeps states between calls, which has no effect if cont is 0 in the first step.) Without hasCont, there
    is no input cont, and every call is one sequence.
    """

    family = "convolution"
    pixelwise = False
    gates: ClassVar[int]  # rows of the first weights per output
    states: ClassVar[int]  # states carried from step to step
    weights: ClassVar[int]  # number of params without static input
    biases: ClassVar[tuple[int, ...]] = (1,)  # indices of the params that are vectors
    staticInput: bool = False
    exposeHidden: bool = False
    hasCont: bool = True
    input_count: ClassVar[tuple[int, int | None]] = (1, 5)
    input_kinds: ClassVar = {1: InputKind.CONTINUED}  # with hasCont

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        self._require_counts(inputs, params)
        steps, streams = inputs[0][:2]
        if not params[0]:
            raise ShapeError("weights are missing, so the number of outputs is unknown")
        width = params[0][0] // self.gates
        self._require_params(inputs, params, width)
        wanted = [inputs[0], *[(steps, streams, 1, 1)] * self.hasCont]
        if self.staticInput:
            wanted.append((streams, *inputs[len(wanted)][1:]))
        ends = [(1, streams, width, 1)] * (self.states * self.exposeHidden)
        wanted += ends
        for index, (found, expected) in enumerate(zip(inputs, wanted, strict=True), 1):
            if found != expected:
                raise ShapeError(f"input {index} is {text(found)}; expected {text(expected)}")
        return [(steps, streams, width, 1), *ends]

    def _require_counts(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> None:
        expected = 1 + self.hasCont + self.staticInput + self.states * self.exposeHidden
        if len(inputs) != expected:
            raise ShapeError(f"has {len(inputs)} inputs; expected {expected}")
        if len(params) != self.weights + self.staticInput:
            raise ShapeError(f"has {len(params)} params; expected {self.weights + self.staticInput}")

    def _require_params(self, inputs: Sequence[Shape], params: Sequence[Shape], width: int) -> None:
        rows = self.gates * width
        require_count(params[0], (rows * prod(inputs[0][2:]),), "param 1 (input weights)")
        require_count(params[1], (rows,), "param 2 (bias)")
        if self.staticInput:
            require_count(params[2], (rows * prod(inputs[1 + self.hasCont][1:]),), "param 3 (static weights)")
        require_count(params[2 + self.staticInput], (rows * width,), "the recurrent weights")

    def multiply_adds(self, inputs: Sequence[Shape], params: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        return prod(inputs[0][:2]) * sum(prod(shape) for shape in params if len(shape) > 1)

    def prepare(self, xp: Any, params: Sequence[Array]) -> Any:
        vectors = {index % len(params) for index in self.biases}
        return [as_vector(xp, p) if index in vectors else as_matrix(xp, p) for index, p in enumerate(params)]

    def _driven(self, inputs: Sequence[Array], params: Any) -> Array:
        """The contribution of the inputs to the gates of every step: T x N x (gates D)."""
        x = inputs[0]
        steps, streams = x.shape[:2]
        driven = (x.reshape(steps * streams, -1) @ params[0].T + params[1]).reshape(steps, streams, -1)
        if self.staticInput:
            driven = driven + inputs[1 + self.hasCont].reshape(streams, -1) @ params[2].T
        return driven

    def _cont(self, inputs: Sequence[Array]) -> Any:
        """The factor of the state before each step."""
        return inputs[1][:, :, :, 0] if self.hasCont else [1.0] * inputs[0].shape[0]

    def _initial(self, xp: Any, inputs: Sequence[Array], width: int) -> list[Array]:
        streams = inputs[0].shape[1]
        if self.exposeHidden:
            return [state.reshape(streams, width) for state in inputs[-self.states :]]
        return [xp.zeros((streams, width), dtype=xp.float32) for _ in range(self.states)]


@register("dagnn.LSTM")
@dataclass(frozen=True, kw_only=True)
class LSTM(_Recurrent):
    """Long short-term memory (BVLC Caffe, lstm layer).

    Each step: i, f, o, g = W_x x + b [+ W_s static] + W_h (cont h);
    c = cont sigmoid(f) c + sigmoid(i) tanh(g); h = sigmoid(o) tanh(c). Params W_x (4D x I), b (4D),
    [W_s (4D x S)], W_h (4D x D), rows in the order i, f, o, g. Output h, T x N x D x 1; with exposeHidden, the initial
    h and c are the last inputs, and the final h and c the last outputs.
    """

    param_count: ClassVar[tuple[int, int]] = (3, 4)
    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2
    weights: ClassVar[int] = 3

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        recurrent = params[-1]
        width = recurrent.shape[0] // self.gates
        cont = self._cont(inputs)
        h, c = self._initial(xp, inputs, width)
        hidden = []
        for driven, carried in zip(self._driven(inputs, params), cont, strict=True):
            gates = driven + (carried * h) @ recurrent.T
            i, f, o = (sigmoid(xp, gates[:, k * width : (k + 1) * width]) for k in range(3))
            c = carried * f * c + i * xp.tanh(gates[:, 3 * width :])
            h = o * xp.tanh(c)
            hidden.append(h)
        ends = [h, c] if self.exposeHidden else []
        return [xp.stack(hidden)[..., None], *(state[None, :, :, None] for state in ends)]


@register("dagnn.RNN")
@dataclass(frozen=True, kw_only=True)
class RNN(_Recurrent):
    """Recurrent network with tanh for state and output (BVLC Caffe, rnn layer).

    Each step: h = tanh(W_h (cont h) + W_x x + b [+ W_s static]); output tanh(W_o h + b_o).
    Params W_x (D x I), b (D), [W_s (D x S)], W_h (D x D), W_o (D x D), b_o (D). Output T x N x D x 1; with
    exposeHidden, the initial h is the last input, and the final h the last output.
    """

    param_count: ClassVar[tuple[int, int]] = (5, 6)
    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1
    weights: ClassVar[int] = 5
    biases: ClassVar[tuple[int, ...]] = (1, -1)

    def _require_params(self, inputs: Sequence[Shape], params: Sequence[Shape], width: int) -> None:
        super()._require_params(inputs, params, width)
        require_count(params[-2], (width * width,), "the output weights")
        require_count(params[-1], (width,), "the output bias")

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        recurrent, outward, bias = params[-3:]
        cont = self._cont(inputs)
        (h,) = self._initial(xp, inputs, recurrent.shape[0])
        results = []
        for driven, carried in zip(self._driven(inputs, params), cont, strict=True):
            h = xp.tanh((carried * h) @ recurrent.T + driven)
            results.append(xp.tanh(h @ outward.T + bias))
        ends = [h[None, :, :, None]] if self.exposeHidden else []
        return [xp.stack(results)[..., None], *ends]
