"""Random numbers as a pure function of what they are for: no generator, no state, nothing to resume.

SplitMix64 (Steele, Lea and Flood, 2014) mixes integers; it gives the same bits with every numpy and machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# What a number is for: the first of its integers, so that two uses never share their numbers.
ORDER, AUGMENT, NEGATIVES, STEP, OBJECTIVE, CONTEXT, ERRORS = range(7)

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def hashed(*integers: ArrayLike) -> NDArray[np.uint64]:
    """64 random bits for each combination of non-negative integers; arrays broadcast against each other."""
    state = np.zeros(1, np.uint64)
    for integer in integers:
        state = _mix(state ^ _mix(np.asarray(integer).astype(np.uint64) + _GAMMA))
    return state


def uniforms(*integers: ArrayLike) -> NDArray[np.float64]:
    """Numbers in [0, 1) for each combination of non-negative integers; arrays broadcast."""
    return (hashed(*integers) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):  # wrapping around is meant
        state = np.atleast_1d(state) + _GAMMA
        state = (state ^ (state >> np.uint64(30))) * _FIRST
        state = (state ^ (state >> np.uint64(27))) * _SECOND
    mixed: NDArray[np.uint64] = state ^ (state >> np.uint64(31))
    return mixed
