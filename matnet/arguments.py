"""The argument that several commands share: which network."""

from __future__ import annotations

import argparse

from matnet import load
from matnet.network import Network
from matnet.zoo import find_model, random_network

MODEL_HELP = "a MatConvNet .mat file, or the name of a model (see `python -m matnet.zoo list`)"


def add_random_weights(command: argparse.ArgumentParser) -> None:
    """Let a command take a model of the zoo without its weights."""
    command.add_argument(
        "--random-weights", action="store_true", help="build the named model with random weights: for speed and shapes"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the random weights (default: 0)")


def network_from(name: str, options: argparse.Namespace) -> Network:
    """The network that a command's arguments mean; FileFormatError or UnknownModelError where there is none."""
    return random_network(name, options.seed) if options.random_weights else load(find_model(name))
