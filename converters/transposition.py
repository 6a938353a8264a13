"""Width-first networks, with W x H images, like those of MatConvNet's importer with --no-transpose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from matnet.errors import UnsupportedLayersError, listing
from matnet.layout import pad_to_4d
from matnet.network import Network


def swap_rows_and_columns(net: Network) -> None:
    """Exchange height and width in every layer, param and input shape of `net`.

    Raises UnsupportedLayersError that lists the layers whose results would change.
    """
    swapped = {name: layer.op.with_axes_swapped() for name, layer in net.layers.items()}
    refused = [f"layer {name!r} ({net.layers[name].type_name})" for name, op in swapped.items() if op is None]
    if refused:
        raise UnsupportedLayersError(
            listing(f"{net.source}: without transposition, the results of these layers would change:", refused)
        )
    done: set[str] = set()
    for layer in net.layers.values():
        layer.op = swapped[layer.name] or layer.op
        for name in (param for place, param in enumerate(layer.params) if place in layer.op.spatial_params):
            if name in net.params and name not in done:
                value = pad_to_4d(np.atleast_2d(net.params[name].value))
                net.params[name] = replace(net.params[name], value=value.transpose(1, 0, 2, 3))
                done.add(name)
    net.input_shapes = {name: (n, c, w, h) for name, (n, c, h, w) in net.input_shapes.items()}
