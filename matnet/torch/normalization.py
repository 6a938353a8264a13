"""Normalizations in torch: BatchNorm2d with MatConvNet's moments, LocalResponseNorm, and functions."""

from __future__ import annotations

import numpy as np

from matnet.ops.extensions.normalize import MVN, BatchStatNorm, Normalize, WithinChannelLRN
from matnet.ops.normalization import LRN, BatchNorm, NormalizeLp, NormOffset, SpatialNorm
from matnet.torch.convolution import sides
from matnet.torch.registry import translation
from matnet.torch.writer import LayerWriter, call, number

LEAST_EPSILON = 1e-12


@translation(BatchNorm)
def write_batch_norm(writer: LayerWriter, op: BatchNorm) -> None:
    """running_var = sigma^2 - eps; eps is the layer's epsilon, or the smallest sigma^2 if that is less.

    For channels with sigma^2 below 1e-12, the weight includes sigma, which single precision would otherwise lose.
    """
    coef, offset, mean, sigma = (np.asarray(values, np.float64) for values in op.statistics(writer.params))
    squares = sigma**2
    eps = float(np.clip(squares.min(initial=np.inf), LEAST_EPSILON, max(op.epsilon, LEAST_EPSILON)))
    variance = np.maximum(squares - eps, 0)
    state = {
        "weight": np.where(squares >= eps, coef * np.sign(sigma), coef * np.sqrt(variance + eps) / sigma),
        "bias": offset,
        "running_mean": mean,
        "running_var": variance,
        "num_batches_tracked": np.array(0, np.int64),
    }
    keywords = {"eps": repr(eps) if eps != 1e-5 else None}
    writer.through(call("nn.BatchNorm2d", coef.size, **keywords, momentum=None), **state)


@translation(LRN)
def write_lrn(writer: LayerWriter, op: LRN) -> None:
    """Even windows extend further down in torch and further up in MatConvNet, so the channels are reversed."""
    length, kappa, alpha, beta = op.param
    module = writer.module(
        call("nn.LocalResponseNorm", int(length), alpha=repr(alpha * length), beta=repr(beta), k=repr(kappa))
    )
    even = int(length) % 2 == 0
    writer.write(f"{module}({writer.x}.flip(1)).flip(1)" if even else f"{module}({writer.x})")


@translation(SpatialNorm)
def write_spatial_norm(writer: LayerWriter, op: SpatialNorm) -> None:
    alpha, beta = op.param[2:]
    writer.write(call("spatial_norm", writer.x, op.window, sides(op.pad), alpha, beta))


@translation(WithinChannelLRN)
def write_within_channel_lrn(writer: LayerWriter, op: WithinChannelLRN) -> None:
    mean = call("F.avg_pool2d", f"{writer.x} ** 2", op.size, stride=1, padding=op.size // 2)
    writer.write(f"{writer.x} * (1 + {number(op.alpha)} * {mean}) ** {number(-op.beta)}")


@translation(NormOffset)
def write_norm_offset(writer: LayerWriter, op: NormOffset) -> None:
    length = f"({writer.x} ** 2).sum(1, keepdim=True).clamp(min=1e-8)"
    writer.write(f"{writer.x} - {number(op.param[0])} * {length} ** {number(op.param[1])}")


@translation(NormalizeLp)
def write_normalize_lp(writer: LayerWriter, op: NormalizeLp) -> None:
    total = f"({writer.x} ** {number(op.p)}).sum({(2, 3) if op.spatial else 1}, keepdim=True)"
    writer.write(f"{writer.x} / ({total} + {op.epsilon!r}) ** {1 / op.p!r}")


@translation(Normalize)
def write_normalize(writer: LayerWriter, op: Normalize) -> None:
    scale = writer.prepared()
    module = writer.module(call("Learned", tuple(scale.shape)), value=scale)
    total = f"({writer.x} ** 2).sum({(1, 2, 3) if op.acrossSpatial else 1}, keepdim=True)"
    norm = f"({total} + {op.eps!r}).sqrt()"
    divisor = f"({norm} + {op.margin!r})" if op.margin else norm
    writer.write(f"{writer.x} / {divisor} * {module}()")


@translation(MVN)
def write_mvn(writer: LayerWriter, op: MVN) -> None:
    dims = (1, 2, 3) if op.acrossChannels else (2, 3)
    if op.normalizeVariance:
        writer.write(call("mean_variance_norm", writer.x, dims, op.eps))
    else:
        writer.write(f"{writer.x} - {writer.x}.mean({dims}, keepdim=True)")


@translation(BatchStatNorm)
def write_batch_stat_norm(writer: LayerWriter, op: BatchStatNorm) -> None:
    """Uses batch statistics, in eval mode too."""
    channels = writer.shapes[0][1]
    writer.through(call("nn.BatchNorm2d", channels, eps=repr(op.epsilon), affine=False, track_running_stats=False))
