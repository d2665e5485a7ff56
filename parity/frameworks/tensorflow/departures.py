"""A layer of the reference as another: what it would give if it were built or called otherwise.

Whatever a port may have done, the reference's own framework computes it here, so that no layer is
written a second time. A departure is plain, for it crosses a pipe:

- ``config``: what the layer is built with instead;
- ``class``: another of Keras's classes, built with the same;
- ``pad``: [before, after] for each axis between batch and channels, of zeros, first;
- ``given``: the number of the array, of those that come with it, that it is given instead;
- ``permuted``: [number of a weight, axes], taken in that order;
- ``flipped``: [number of a weight, axes], turned round along them;
- ``without``: the number of a weight that is left out (0 in its place);
- ``times``: how often it is applied;
- ``as``: the name of an activation that takes its place;
- ``then``: [name of an activation, its axis], last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def departed(
    layer: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    departure: Mapping[str, Any],
    others: Mapping[str, np.ndarray],
) -> np.ndarray | None:
    """What the layer gives then; None if it cannot be built or called so."""
    try:
        if "as" in departure:
            found: np.ndarray = getattr(keras.activations, departure["as"])(args[0]).numpy()
            return found
        kind = getattr(keras.layers, departure.get("class", ""), type(layer))
        twin = kind.from_config({**layer.get_config(), **departure.get("config", {})})
        given = list(args)
        if "given" in departure:
            given[0] = tf.constant(others[str(departure["given"])], given[0].dtype)
        if "pad" in departure:
            given[0] = tf.pad(given[0], [(0, 0), *departure["pad"], (0, 0)])
        twin(*given, **kwargs)  # builds it
        weights = layer.get_weights()
        if "permuted" in departure:
            number, axes = departure["permuted"]
            weights[number] = weights[number].transpose(axes)
        if "flipped" in departure:
            number, axes = departure["flipped"]
            weights[number] = np.flip(weights[number], axes)
        if "without" in departure:
            weights[departure["without"]] = np.zeros_like(weights[departure["without"]])
        twin.set_weights(weights)
        for _ in range(departure.get("times", 1)):
            given[0] = twin(*given, **kwargs)
        if "then" in departure:
            name, axis = departure["then"]
            given[0] = getattr(keras.activations, name)(given[0], axis=axis)
        result: np.ndarray = tf.convert_to_tensor(given[0]).numpy()
        return result
    except Exception:  # whatever a layer says of what it is not
        return None
