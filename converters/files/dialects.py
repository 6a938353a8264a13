"""What a field or value that no schema has can change: nothing, a result, or the meaning of the whole layer.

Forks add fields. One that only training, reading data, filling blobs or the choice of an implementation looks at is
noted and ignored; any other one of a layer that computes is an error unless the file is read leniently.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from matnet.converters.files.layer_types import V1_TO_V2
from matnet.converters.files.message import Message
from matnet.errors import in_words


class Severity(IntEnum):
    """How much something unknown matters: NEUTRAL is noted, UNKNOWN refused unless read leniently, WRONG refused."""

    NEUTRAL = 0
    UNKNOWN = 1
    WRONG = 2


NEUTRAL_MESSAGES = frozenset((
    "NetState", "NetStateRule", "ParamSpec", "FillerParameter", "TransformationParameter",
    "LossParameter", "AccuracyParameter", "HingeLossParameter", "InfogainLossParameter", "ContrastiveLossParameter",
    "DataParameter", "ImageDataParameter", "WindowDataParameter", "MemoryDataParameter", "HDF5DataParameter",
    "HDF5OutputParameter", "InputParameter", "DummyDataParameter", "SaveOutputParameter", "ResizeParameter",
))  # fmt: skip
"""Messages of which inference uses nothing, or nothing beside the fields that the schema has."""

NEUTRAL_FIELDS = frozenset((
    "engine", "conv_algorithm", "quantization_param", "per_fla_fuse", "filler", "weight_filler", "bias_filler",
    "scale_filler", "shift_filler", "slope_filler", "blob_filler", "loss_weight", "lr_mult", "decay_mult",
    "propagate_down", "debug_info", "cudnn_convolution_algo_seeker", "global_grad_scale",
    "global_grad_scale_adaptive", "bn_stats_batch_size", "eltwise_mem_sharing", "multinode", "compile_net_state",
))  # fmt: skip
"""Fields that choose an implementation, a precision, a blob's first values or how to train, in whatever message."""

NEUTRAL_ENUMS = frozenset((
    "Engine", "VarianceNorm", "DB", "NormalizationMode", "HingeNorm", "DimCheckMode", "RawDataType",
    "ResizeMode", "ResizePadMode", "ResizeInterpMode",
))  # fmt: skip
"""Enums of such fields."""

ONLY_TRAINING = frozenset((
    "Data", "ImageData", "WindowData", "MemoryData", "HDF5Data", "HDF5Output", "DummyData", "Input", "Silence",
    "Accuracy", "SoftmaxWithLoss", "SoftmaxLoss", "InfogainLoss", "SigmoidCrossEntropyLoss", "EuclideanLoss",
    "HingeLoss", "MultinomialLogisticLoss", "ContrastiveLoss",
))  # fmt: skip
"""Types of layers that become inputs, or are dropped or reduced to one function of their first input."""


def weight_of_field(message: str, field: str) -> Severity:
    """What an unknown field of a message can change."""
    return Severity.NEUTRAL if message in NEUTRAL_MESSAGES or field in NEUTRAL_FIELDS else Severity.UNKNOWN


def weight_of_value(enum: str) -> Severity:
    """What an unknown value of an enum can change."""
    return Severity.NEUTRAL if enum in NEUTRAL_ENUMS else Severity.WRONG


def lenient_hint(refused: Iterable[Severity], lenient: bool) -> str:
    """What reading leniently would do about the refused fields; "" if it would do nothing."""
    if lenient or Severity.UNKNOWN not in refused:
        return ""
    return f"; {in_words('lenient=True', '--lenient')} ignores unknown fields, with a note for each"


def only_trains(message: Message) -> bool:
    """Whether a message is a layer whose parameters inference does not look at."""
    if message.type.name == "LayerParameter":
        return message.get("type") in ONLY_TRAINING
    return message.type.name == "V1LayerParameter" and V1_TO_V2.get(message.get("type")) in ONLY_TRAINING
