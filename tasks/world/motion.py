"""Motions: waves in time and turns in space, drawn from a seeded generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.world.shapes import Floats

FULL_TURN = 2 * np.pi


@dataclass(frozen=True)
class Wave:
    """amplitude * sin(rate * frame + phase), the rate in radians per frame."""

    amplitude: float
    rate: float
    phase: float

    def at(self, frame: float) -> float:
        return float(self.amplitude * np.sin(self.rate * frame + self.phase))


STILL = Wave(0.0, 0.0, 0.0)


def make_wave(random: np.random.Generator, speed: float, amplitude: float) -> Wave:
    """A wave of a given highest speed per frame."""
    return Wave(float(amplitude), float(speed / amplitude), float(random.uniform(0, FULL_TURN)))


def axis_rotation(axis: Floats, angle: float) -> Floats:
    """Rodrigues: the turn by `angle` radians around a unit axis."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross))


def random_rotation(random: np.random.Generator) -> Floats:
    """Uniform over all rotations: from a unit quaternion."""
    w, x, y, z = (lambda q: q / np.linalg.norm(q))(random.normal(size=4))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
