"""Light: one lamp and ambient light, and the sudden changes of a video's light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.world.config import WorldConfig
from tasks.world.shapes import Floats


@dataclass(frozen=True)
class Light:
    """`direction` (3,) points from surfaces to the lamp; `lamp` and `ambient` (3,) multiply the texture."""

    direction: Floats
    lamp: Floats
    ambient: Floats


@dataclass(frozen=True)
class LightChange:
    """From frame `start` up to and without `stop` all light is multiplied by `gain`. From `start` on it dims
    besides, along a line over `dimming_frames` down to the share `dimmed`."""

    start: int
    stop: int
    gain: float
    dimmed: float = 1.0
    dimming_frames: int = 1

    def at(self, frame: float) -> float:
        """The factor on lamp and ambient light."""
        if frame < self.start:
            return 1.0
        share = min((frame - self.start) / self.dimming_frames, 1.0)
        return (self.gain if frame < self.stop else 1.0) * (1 - (1 - self.dimmed) * share)


NO_CHANGE = LightChange(0, 0, 1.0)


def make_light_change(config: WorldConfig, seed: int, index: int) -> LightChange:
    """The change of a video's light: a step or a flash of 2 to 6 frames, in one of three cases dimming besides.

    The gain lies in 0.55 to 0.8 or in 1.25 to 1.6: below that no tracker notices.
    """
    random = np.random.default_rng([seed, index, 0, 1])
    if random.random() >= config.light_change_probability or config.num_frames < 2:
        return NO_CHANGE
    start = int(random.integers(1, config.num_frames))
    gain = float(random.uniform(0.55, 0.8) if random.random() < 0.5 else random.uniform(1.25, 1.6))
    flash, dims = random.random() < 0.4, random.random() < 1 / 3
    stop = start + int(random.integers(2, 7)) if flash else config.num_frames
    if not dims:
        return LightChange(start, stop, gain)
    return LightChange(start, stop, gain, float(random.uniform(0.6, 0.85)), int(random.integers(20, 60)))
