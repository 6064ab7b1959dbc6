"""Colour images with surface normals, or with depth to compute them from, in the layouts that NYUv2 comes in."""

from __future__ import annotations

import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.evaluate.depth import Intrinsics, Mask, Normals, normals_of_depth
from tasks.evaluate.image_files import read_colour, read_numbers
from tasks.networks import IMAGE_ENDINGS
from tasks.networks.pictures import Unreadable

OFFICIAL = (795, 654)  # training and test images of NYUv2
# The colour camera of NYUv2, for its images of 640 x 480 px: camera_params.m of its toolbox (Silberman et al., ECCV
# 2012).
NYU_CAMERA = Intrinsics(518.857901, 519.469611, 325.582449, 253.736166)
_NYU_SIZE = (480, 640)
_TRAIN_SHARE = 2 / 3  # of each folder, where nothing says which images are for training
_REMEDY = "name a folder in the format of NYUv2, or leave it empty to run without"

_PREFIXED = re.compile(r"(depth|norm|mask)_gt_(.+)\.png")
_DOTTED = re.compile(r"(.+)\.(color|depth|normals|mask)\.(?:png|jpg|jpeg)", re.IGNORECASE)
_ROLES = {"norm": "normals", "color": "rgb"}
_FOLDERS = ("rgb", "depth", "normals", "mask")
_UNKNOWN_DEPTHS = (0, 65535)
_LENGTHS = (0.5, 1.5)  # of an encoded normal; (0, 0, 0) and (127, 127, 127), which mean unknown, lie outside


@dataclass(frozen=True)
class View:
    """One image, by its path below the folder without ending. `normals`, `depth` and `mask` may be missing, but not
    both of the first; `camera` is None where no file tells it."""

    name: str
    colour: Path
    normals: Path | None
    depth: Path | None
    mask: Path | None
    camera: Intrinsics | None


@dataclass(frozen=True)
class Observed:
    """An image (H, W, 3) uint8 RGB; the normals of its pixels (h, w, 3), and where they are known (h, w)."""

    image: npt.NDArray[np.uint8]
    normals: Normals
    known: Mask


@dataclass(frozen=True)
class Views:
    """Training and test images; `told`: how they were parted. `missing`: listed ones that are not there."""

    train: list[View]
    test: list[View]
    told: str
    missing: int = 0

    @property
    def whole(self) -> bool:
        """Whether they can be all of NYUv2."""
        return (len(self.train), len(self.test)) == OFFICIAL and self.told != _PARTED


_PARTED = "the first two thirds of each folder for training"


def find_views(folder: Path) -> Views:
    """The images below a folder that have normals or depth.

    An image and what belongs to it go by `rgb/<name>`, `normals/<name>`, `depth/<name>` and `mask/<name>` in one
    folder, or lie together as `<name>.png`, `norm_gt_<name>.png`, `depth_gt_<name>.png`, `mask_gt_<name>.png`, or as
    `<name>.color.jpg`, `<name>.normals.png`, `<name>.depth.png`, `<name>.mask.png`. `train.txt` and `test.txt` list
    names; else folders called train and test part them; else the first two thirds of each folder are for training.
    Cameras stand in `intrinsics.json` (fx, fy, cx, cy, in all or by name) or `camera-intrinsics.txt` (3 x 3), beside
    the images or above them. Raises ValueError, in one line, where there is no such image for both.
    """
    if not folder.is_dir():
        raise ValueError(f"evaluate.nyu: {str(folder)!r} is no folder; {_REMEDY}")
    views = _collect(folder)
    parted = _parted(folder, views)
    for split, found in (("training", parted.train), ("test", parted.test)):
        if not found:
            raise ValueError(
                f"evaluate.nyu: {str(folder)!r} holds no {split} image with normals or depth, of {len(views)} in all; "
                f"{_REMEDY}"
            )
    return parted


def axes_order(axes: str) -> list[tuple[int, float]]:
    """For x, y and z the channel of an encoded normal and its sign; `axes` such as "x z -y": what R, G and B hold.

    Raises ValueError, in one line, where it does not name each once.
    """
    words = axes.split()
    letters = [word.lstrip("+-") for word in words]
    if sorted(letters) != ["x", "y", "z"] or any(len(word) > 2 for word in words):
        raise ValueError(
            f"evaluate.normals_axes: {axes!r}; name what red, green and blue hold, such as 'x y z' or 'x z -y'"
        )
    places = [letters.index(letter) for letter in "xyz"]
    return [(place, -1.0 if words[place].startswith("-") else 1.0) for place in places]


def read_view(view: View, order: list[tuple[int, float]], window_px: int) -> Observed:
    """An image with its normals, towards the camera whichever way they were written. Raises Unreadable."""
    image = read_colour(str(view.colour))
    if view.normals is not None:
        normals, known = _decoded(read_numbers(str(view.normals)), order)
        normals = _towards_camera(normals, known, view.camera)
    else:
        assert view.depth is not None, "a view has one of both"
        depth = read_numbers(str(view.depth))
        if depth.ndim != 2:
            raise Unreadable(f"{view.depth.name} is no depth image, it has colours")
        camera = view.camera or (NYU_CAMERA if depth.shape == _NYU_SIZE else None)
        if camera is None:
            raise Unreadable("no intrinsics.json or camera-intrinsics.txt says what its camera is")
        depth = np.where(np.isin(depth, _UNKNOWN_DEPTHS), 0, depth)
        normals, known = normals_of_depth(depth, camera, window_px)
    if view.mask is not None:
        mask = read_numbers(str(view.mask))
        if mask.shape[:2] != known.shape:
            raise Unreadable(f"{view.mask.name} is of another size")
        known = known & (mask.reshape(*known.shape, -1) > 0).any(axis=2)
    if not known.any():
        raise Unreadable("no normal is known")
    return Observed(image, normals, known)


def _decoded(numbers: npt.NDArray[np.uint8 | np.uint16], order: list[tuple[int, float]]) -> tuple[Normals, Mask]:
    if numbers.ndim != 3:
        raise Unreadable("its normals have no three channels")
    encoded = numbers.astype(np.float32) / (np.iinfo(numbers.dtype).max / 2) - 1
    length = np.linalg.norm(encoded, axis=2)
    known = (length > _LENGTHS[0]) & (length < _LENGTHS[1])
    normals = np.stack([sign * encoded[..., place] for place, sign in order], axis=2)
    return np.where(known[..., None], normals / np.maximum(length, 1e-6)[..., None], 0).astype(np.float32), known


def _towards_camera(normals: Normals, known: Mask, camera: Intrinsics | None) -> Normals:
    """All turned where most point away: whatever is seen faces the camera."""
    height, width = known.shape
    scale = width / _NYU_SIZE[1]
    usual = Intrinsics(NYU_CAMERA.fx * scale, NYU_CAMERA.fy * scale, (width - 1) / 2, (height - 1) / 2)
    away = np.einsum("hwc,hwc->hw", normals, (camera or usual).rays(height, width))[known] > 0
    return -normals if away.sum() * 2 > away.size else normals


def _collect(folder: Path) -> list[View]:
    roles: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
    for inside, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            if name.lower().endswith(IMAGE_ENDINGS):
                below = Path(inside).relative_to(folder)
                owner, stem, role = _role(below, name)
                roles[owner.as_posix(), stem].setdefault(role, Path(inside) / name)

    @cache
    def cameras(place: str) -> Mapping[str, Intrinsics]:
        return _cameras(folder, Path(place))

    views = []
    for (place, stem), found in sorted(roles.items()):
        if "rgb" in found and ("normals" in found or "depth" in found):
            known = cameras(place)
            name = stem if place == "." else f"{place}/{stem}"
            normals, depth, mask = (found.get(role) for role in ("normals", "depth", "mask"))
            views.append(View(name, found["rgb"], normals, depth, mask, known.get(stem) or known.get("")))
    return views


def _role(below: Path, name: str) -> tuple[Path, str, str]:
    """To which folder and name a file belongs, and what of it it is."""
    if match := _PREFIXED.fullmatch(name):
        return below, match[2], _ROLES.get(match[1], match[1])
    if match := _DOTTED.fullmatch(name):
        return below, match[1], _ROLES.get(match[2].lower(), match[2].lower())
    stem = name.rpartition(".")[0]
    return (below.parent, stem, below.name) if below.name in _FOLDERS else (below, stem, "rgb")


def _parted(folder: Path, views: list[View]) -> Views:
    lists = [folder / f"{split}.txt" for split in ("train", "test")]
    if all(path.is_file() for path in lists):
        by_name = {view.name.rpartition("/")[2]: view for view in views} | {view.name: view for view in views}
        listed = [_lines(path) for path in lists]
        train, test = ([by_name[name] for name in names if name in by_name] for names in listed)
        missing = sum(name not in by_name for names in listed for name in names)
        return Views(train, test, "train.txt and test.txt", missing)
    train, test = ([view for view in views if split in view.name.split("/")[:-1]] for split in ("train", "test"))
    if train and test:
        return Views(train, test, "folders train and test")
    places = defaultdict(list)
    for view in views:
        places[view.name.rpartition("/")[0]].append(view)
    cuts = {place: round(_TRAIN_SHARE * len(found)) for place, found in places.items()}
    return Views(
        [view for place, found in places.items() for view in found[: cuts[place]]],
        [view for place, found in places.items() for view in found[cuts[place] :]],
        _PARTED,
    )


def _lines(path: Path) -> list[str]:
    try:
        return list(dict.fromkeys(path.read_text(encoding="utf-8").split()))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"evaluate.nyu: {str(path)!r} cannot be read; {_REMEDY}") from error


def _cameras(folder: Path, place: Path) -> dict[str, Intrinsics]:
    """The cameras of the images of a folder, by name; that of all under "". The nearest file counts."""
    for above in (place, *place.parents):
        described, matrix = folder / above / "intrinsics.json", folder / above / "camera-intrinsics.txt"
        try:
            if described.is_file():
                document = json.loads(described.read_bytes())
                entries = {"": document} if "fx" in document else document
                return {
                    name: _camera(*(entry[key] for key in ("fx", "fy", "cx", "cy"))) for name, entry in entries.items()
                }
            if matrix.is_file():
                rows = [
                    [float(word) for word in line.split()] for line in matrix.read_text("ascii").splitlines() if line
                ]
                return {"": _camera(rows[0][0], rows[1][1], rows[0][2], rows[1][2])}
        except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            path = described if described.is_file() else matrix
            raise ValueError(
                f"evaluate.nyu: {str(path)!r} tells no fx, fy, cx and cy; mend it, or {_REMEDY}"
            ) from error
    return {}


def _camera(fx: float, fy: float, cx: float, cy: float) -> Intrinsics:
    numbers = [float(number) for number in (fx, fy, cx, cy)]
    if not all(map(math.isfinite, numbers)) or min(numbers[:2]) <= 0:
        raise ValueError("focal lengths are positive")
    return Intrinsics(*numbers)
