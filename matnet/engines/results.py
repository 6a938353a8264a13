"""Results of a network: arrays by requested name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from matnet.errors import NetworkError, nearest
from matnet.network import Network


class Results(dict[str, np.ndarray]):
    """Arrays N x C x H x W by requested name. For an alias of a result, the KeyError states the name to use.

    Pickled and copied as a plain dict.
    """

    def __init__(self, net: Network, found: Mapping[str, np.ndarray]) -> None:
        super().__init__(found)
        self._net = net

    def __missing__(self, name: str) -> np.ndarray:
        with suppress(NetworkError):
            called = self._net.for_inference().resolve(name)
            if called in self:
                raise KeyError(f"{name!r} is named {called!r} here; outputs=[{name!r}] returns it under that name")
            raise KeyError(f"{name!r} was not requested; use outputs=[{name!r}]")
        raise KeyError(f"no result {name!r}{nearest(str(name), self)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)
