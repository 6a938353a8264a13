"""The severity of unknown fields and values: harmless, or a possible change of results.

Forks add fields. Fields for training, reading data, filling blobs or choosing an implementation are noted and ignored;
any other unknown field of an inference layer is an error, unless the file is read leniently.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from matnet.converters.files.layer_types import V1_TO_V2
from matnet.converters.files.message import Message
from matnet.errors import in_words


class Severity(IntEnum):
    """The severity of something unknown: NEUTRAL is a note, UNKNOWN an error unless read leniently, WRONG an error."""

    NEUTRAL = 0
    UNKNOWN = 1
    WRONG = 2


NEUTRAL_MESSAGES = frozenset((
    "NetState", "NetStateRule", "ParamSpec", "FillerParameter", "TransformationParameter",
    "LossParameter", "AccuracyParameter", "HingeLossParameter", "InfogainLossParameter", "ContrastiveLossParameter",
    "DataParameter", "ImageDataParameter", "WindowDataParameter", "MemoryDataParameter", "HDF5DataParameter",
    "HDF5OutputParameter", "InputParameter", "DummyDataParameter", "SaveOutputParameter", "ResizeParameter",
))  # fmt: skip
"""Messages that inference does not use, except for the fields in the schema."""

NEUTRAL_FIELDS = frozenset((
    "engine", "conv_algorithm", "quantization_param", "per_fla_fuse", "filler", "weight_filler", "bias_filler",
    "scale_filler", "shift_filler", "slope_filler", "blob_filler", "loss_weight", "lr_mult", "decay_mult",
    "propagate_down", "debug_info", "cudnn_convolution_algo_seeker", "global_grad_scale",
    "global_grad_scale_adaptive", "default_conv_algos_override", "default_cudnn_math_override", "conv_algos_override",
    "cudnn_math_override", "reduce_buckets", "bn_stats_batch_size", "eltwise_mem_sharing", "multinode",
    "compile_net_state",
))  # fmt: skip
"""Fields for an implementation, a precision, initial values of blobs or training, in any message."""

NEUTRAL_ENUMS = frozenset((
    "Engine", "VarianceNorm", "DB", "NormalizationMode", "HingeNorm", "DimCheckMode", "RawDataType",
    "ResizeMode", "ResizePadMode", "ResizeInterpMode",
))  # fmt: skip
"""The enums of such fields."""

ONLY_TRAINING = frozenset((
    "Data", "ImageData", "WindowData", "MemoryData", "HDF5Data", "HDF5Output", "DummyData", "Input", "Silence",
    "Accuracy", "SoftmaxWithLoss", "SoftmaxLoss", "InfogainLoss", "SigmoidCrossEntropyLoss", "EuclideanLoss",
    "HingeLoss", "MultinomialLogisticLoss", "ContrastiveLoss",
))  # fmt: skip
"""Layer types that become inputs, are dropped, or are reduced to one function of their first input."""


def weight_of_field(message: str, field: str) -> Severity:
    """The severity of an unknown field."""
    return Severity.NEUTRAL if message in NEUTRAL_MESSAGES or field in NEUTRAL_FIELDS else Severity.UNKNOWN


def weight_of_value(enum: str) -> Severity:
    """The severity of an unknown enum value."""
    return Severity.NEUTRAL if enum in NEUTRAL_ENUMS else Severity.WRONG


def lenient_hint(refused: Iterable[Severity], lenient: bool) -> str:
    """The hint that lenient reading ignores the fields; "" if it would not help."""
    if lenient or Severity.UNKNOWN not in refused:
        return ""
    return f"; {in_words('lenient=True', '--lenient')} ignores unknown fields, with a note for each"


def only_trains(message: Message) -> bool:
    """Whether a message is a layer with parameters that inference does not use."""
    if message.type.name == "LayerParameter":
        return message.get("type") in ONLY_TRAINING
    return message.type.name == "V1LayerParameter" and V1_TO_V2.get(message.get("type")) in ONLY_TRAINING
