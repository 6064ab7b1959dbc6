"""Textures: seeded, periodic, of two dimensions (the background) or three (solids), sampled between texels.

A solid is cut out of a three-dimensional texture, as out of a block of wood: colour and pattern are then
the same for every class, and no class can be told by them.
"""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Texture = npt.NDArray[np.float32]

_GRAIN = 0.10  # of the colour range: corners for a tracker on otherwise even patches


def bake(random: np.random.Generator, sizes: tuple[int, ...], feature: float, vivid: bool) -> Texture:
    """A random texture (*sizes, 3) float32 in 0..1, periodic along every axis; sizes are powers of two.

    `feature`: size of a blot or a stripe's period in texels. `vivid`: strong colours for objects, or muted
    ones that objects stand out from.
    """
    pattern = _PATTERNS[int(random.integers(len(_PATTERNS)))]
    field = pattern(random, sizes, feature)
    colours = _palette(random, vivid)
    place = np.clip(field, 0, 1) * (len(colours) - 1)
    low = np.minimum(place.astype(np.intp), len(colours) - 2)
    share = (place - low)[..., None].astype(np.float32)
    texture = colours[low] * (1 - share) + colours[low + 1] * share
    grain = _noise(random, sizes, feature / 4) - 0.5
    return np.asarray(np.clip(texture + (2 * _GRAIN) * grain[..., None], 0, 1), np.float32)


def sample(texture: Texture, points: Floats) -> Texture:
    """Colours (N, 3) float32 at points (D, N) in texels, linear between the 2**D nearest, periodic."""
    base = np.floor(points)
    shares = (points - base).astype(np.float32)
    lows = base.astype(np.intp)
    index: list[npt.NDArray[np.intp]] = []
    weights: list[Texture] = []
    for size, low, share in zip(texture.shape, lows, shares, strict=False):
        row, beside = low & (size - 1), (low + 1) & (size - 1)
        if not index:
            index, weights = [row, beside], [1 - share, share]
            continue
        index = [before + way for before in (place * size for place in index) for way in (row, beside)]
        weights = [before * way for before in weights for way in (1 - share, share)]
    flat = texture.reshape(-1, 3)
    colours = flat.take(index[0], axis=0, mode="clip")
    colours *= weights[0][:, None]
    for place, weight in zip(index[1:], weights[1:], strict=True):
        corner = flat.take(place, axis=0, mode="clip")
        corner *= weight[:, None]
        colours += corner
    return np.asarray(colours, np.float32)


def sample_nearest(texture: Texture, points: Floats) -> Texture:
    """Colours (N, 3) float32 of the texels nearest to points (D, N); for points that are averaged anyway."""
    index = np.zeros(points.shape[1], np.intp)
    for size, place in zip(texture.shape, np.rint(points).astype(np.intp), strict=False):
        index = index * size + (place & (size - 1))
    return np.asarray(texture.reshape(-1, 3).take(index, axis=0, mode="clip"))


def _noise(random: np.random.Generator, sizes: tuple[int, ...], feature: float) -> Texture:
    """Smooth periodic noise in 0..1: random values on a lattice with cubic fades in between."""
    cells = [max(2, round(size / feature)) for size in sizes]
    values = random.random(cells).astype(np.float32)
    for axis, (size, count) in enumerate(zip(sizes, cells, strict=True)):
        place = np.arange(size) * count / size
        low = np.floor(place).astype(np.intp)
        share = place - low
        fade = share * share * (3 - 2 * share)
        shape = [1] * len(sizes)
        shape[axis] = size
        weight = fade.astype(np.float32).reshape(shape)
        values = values.take(low % count, axis) * (1 - weight) + values.take((low + 1) % count, axis) * weight
    return np.asarray(values, np.float32)


def _clouds(random: np.random.Generator, sizes: tuple[int, ...], feature: float) -> Texture:
    total = sum(_noise(random, sizes, feature / 2**octave) * 0.55**octave for octave in range(3))
    return _stretched(np.asarray(total))


def _blotches(random: np.random.Generator, sizes: tuple[int, ...], feature: float) -> Texture:
    """Patches of few colours with edges one or two texels wide."""
    levels = int(random.integers(3, 5))
    field = _stretched(_noise(random, sizes, feature) + 0.35 * _noise(random, sizes, feature / 2)) * levels
    low = np.floor(field)
    edge = np.clip((field - low - 0.5) * feature / 3, -0.5, 0.5) + 0.5
    shuffled = random.permutation(levels + 2).astype(np.float32) / (levels + 1)
    place = np.clip(low.astype(np.intp), 0, levels)
    return np.asarray(shuffled[place] * (1 - edge) + shuffled[place + 1] * edge, np.float32)


def _stripes(random: np.random.Generator, sizes: tuple[int, ...], feature: float) -> Texture:
    direction = random.normal(size=len(sizes))
    direction /= np.linalg.norm(direction)
    waves = np.rint(direction * np.array(sizes) / (1.6 * feature))
    waves[int(np.argmax(np.abs(direction)))] += not np.any(waves)
    bent = 1.2 * _noise(random, sizes, 2.5 * feature)
    wave = np.sin(2 * np.pi * (_phase(sizes, waves) + bent))
    bands = np.clip(0.5 + wave * feature / 8, 0, 1)
    return np.asarray(0.8 * bands + 0.2 * _noise(random, sizes, feature), np.float32)


def _checks(random: np.random.Generator, sizes: tuple[int, ...], feature: float) -> Texture:
    product = np.ones(sizes)
    for axis, size in enumerate(sizes):
        waves = np.zeros(len(sizes))
        waves[axis] = max(1, round(size / (2.2 * feature)))
        offset = random.random()
        product = product * np.clip(np.sin(2 * np.pi * (_phase(sizes, waves) + offset)) * feature / 4, -1, 1)
    return np.asarray(0.75 * (0.5 + product / 2) + 0.25 * _noise(random, sizes, feature), np.float32)


_PATTERNS = (_clouds, _blotches, _blotches, _stripes, _checks)


def _phase(sizes: tuple[int, ...], waves: Floats) -> Floats:
    """Whole numbers of waves along every axis: the sum stays periodic."""
    phase = np.zeros(sizes)
    for axis, (size, count) in enumerate(zip(sizes, waves, strict=True)):
        shape = [1] * len(sizes)
        shape[axis] = size
        phase = phase + (np.arange(size) * count / size).reshape(shape)
    return phase


def _stretched(field: npt.NDArray[np.float32]) -> Texture:
    low, high = np.quantile(field[::2, ::2], [0.02, 0.98])
    return np.asarray(np.clip((field - low) / (high - low), 0, 1), np.float32)


def _palette(random: np.random.Generator, vivid: bool) -> Texture:
    """Three or four colours (N, 3) that differ in brightness, so that grey-level trackers see them too."""
    count = int(random.integers(3, 5))
    values = np.linspace(0.3, 0.98, count) if vivid else np.linspace(0.28, 0.72, count)
    hue = random.random()
    colours = []
    for value in random.permutation(values):
        hue += random.uniform(0.08, 0.45) if vivid else random.uniform(-0.07, 0.07)
        saturation = random.uniform(0.35, 0.9) if vivid else random.uniform(0.08, 0.35)
        colours.append(colorsys.hsv_to_rgb(hue % 1, saturation, float(value)))
    return np.array(colours, np.float32)
