"""What a run of a network returns: arrays by the names that were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from matnet.errors import NetworkError, nearest
from matnet.network import Network


class Results(dict[str, np.ndarray]):
    """Arrays N x C x H x W by name; another name of one of them, such as a blob's, is answered with what it is called.

    Pickled and copied as the plain dict.
    """

    def __init__(self, net: Network, found: Mapping[str, np.ndarray]) -> None:
        super().__init__(found)
        self._net = net

    def __missing__(self, name: str) -> np.ndarray:
        with suppress(NetworkError):
            called = self._net.for_inference().resolve(name)
            if called in self:
                raise KeyError(f"{name!r} is {called!r} here; outputs=[{name!r}] asks for it by that name")
            raise KeyError(f"{name!r} was not asked for; outputs=[{name!r}] does")
        raise KeyError(f"no result is called {name!r}{nearest(str(name), self)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)
