"""The benchmarked networks are the published ones: their numbers of learned values, and what they give."""

from __future__ import annotations

import pytest

from matnet.benchmarks.nets import NETS

# The published parameter counts (MatConvNet's model files; SqueezeNet 1.1 of DeepScale, GoogLeNet's main path).
PARAMETERS = {
    "alexnet": 60_965_224,
    "caffenet": 60_965_224,
    "googlenet": 6_998_552,
    "squeezenet": 1_235_496,
    "resnet50": 25_610_216,
}


@pytest.mark.process
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_output(name: str) -> None:
    net = NETS[name]()
    assert sum(param.value.size for param in net.params.values()) == PARAMETERS[name]
    assert net.outputs == ["prob"]
    assert net.infer_shapes(net.default_input_shapes(3))["prob"] == (3, 1000, 1, 1)
