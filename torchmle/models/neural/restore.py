"""Make the module of results from a file again: of the user's own, with the weights of the file."""

from __future__ import annotations

from typing import Any

import torch

from ...errors import StoreError
from ...loglik.network import Network, StoredNetwork, own_network


def rebuilt(stored: StoredNetwork, module: Any, device: torch.device, dtype: torch.dtype, name: str) -> Network:
    """Return the network of a file: a module of the user's with its layers, and the buffers of the file.

    Raises
    ------
    StoreError
        If there is no module, or its layers or buffers are not those of the file.
    """
    if module is None:
        raise StoreError(
            f"The module of this fit, {stored.kind}, is code, which no file holds. Give one of the same layers: "
            "torchmle.load(path, module=net), or define create_model in the class."
        )
    network = own_network(module, device, dtype)
    ours, theirs = {la.name: la for la in network.layers}, {la.name: la for la in stored.layers}
    for layer in theirs.values():
        found = ours.get(layer.name)
        if found != layer:
            seen = "none" if found is None else f"{found.shape}{'' if found.trained else ' frozen'}"
            raise StoreError(
                f"The file holds weights for {layer.name!r} of shape {layer.shape}"
                f"{'' if layer.trained else ' frozen'}, and the module given has {seen}. Give the module of the fit."
            )
    if list(ours) != list(theirs):
        more = next((n for n in ours if n not in theirs), "the same in another order")
        raise StoreError(f"The module given has {more!r}, of which the file knows nothing. Give the module of the fit.")
    own = {n: tuple(b.shape) for n, b in network.module.named_buffers()}
    if own != {n: tuple(b.shape) for n, b in stored.buffers.items()}:
        raise StoreError(f"The module given has other buffers than {name} had ({list(stored.buffers)}).")
    return network.with_buffers(dict(stored.buffers))
