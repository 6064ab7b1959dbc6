"""The network for CPUs: four convolutions of stride 2, a 64 px input ends as a 4 x 4 map."""

from __future__ import annotations

from tasks.networks.network import Network
from tasks.networks.plain import build_plain

_WIDTHS = (24, 48, 96, 192)
_STRIDES = (2, 2, 2, 2)


def build(embedding: int) -> Network:
    """The network with fresh weights, drawn from torch's current generator."""
    return build_plain(_WIDTHS, _STRIDES, embedding)
