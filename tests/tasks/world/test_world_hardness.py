"""What makes the world hard to track: occluders, changes of light and of size; and that they are off by default."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.world.config import WorldConfig, hard_world
from tasks.world.davis import indexed_png, write_davis
from tasks.world.lighting import LightChange, make_light_change
from tasks.world.render import Frame, render_frame, render_video
from tasks.world.scene import make_shot
from tasks.world.view import make_view
from tasks.world.write import MARKER_FILE, write_videos

SMALL = WorldConfig(width=160, height=120, num_frames=40, cut_probability=0.0)


@pytest.mark.parametrize(
    ("config", "seed", "index", "digest"),
    [
        (WorldConfig(width=96, height=64, num_frames=4, cut_probability=1.0), 9, 4, "ce67ad42d900b3da"),
        (
            WorldConfig(width=160, height=120, num_frames=2, num_materials=3, num_walls=2, cut_probability=0.0),
            1,
            0,
            "e60a91a07cd19804",
        ),
    ],
)
def test_worlds_without_them_are_what_they_were(config: WorldConfig, seed: int, index: int, digest: str) -> None:
    """Digests of colours and masks, taken before the world knew occluders."""
    found = hashlib.sha256()
    for frame in render_video(config, seed, index, truth=False):
        found.update(frame.image.tobytes())
        found.update(frame.mask.tobytes())
    assert found.hexdigest()[:16] == digest


def test_occluders_stand_before_every_solid_and_change_nothing_else() -> None:
    bare, config = SMALL, replace(SMALL, num_occluders=3)
    for frame in (0, 20, 39):
        clear, hidden = (render_frame(make_shot(world, 2, 1, frame), frame) for world in (bare, config))
        assert _numbers(hidden) == (11, 12, 13)
        before = hidden.mask > 10
        np.testing.assert_array_equal(hidden.mask[~before], clear.mask[~before])
        assert (hidden.depth[before] < clear.depth.min()).all()
        for one, other in zip(clear.objects, hidden.objects, strict=True):
            assert one.full_box == other.full_box
            seen, left = ((image.mask == one.object).sum() for image in (clear, hidden))
            assert left == (seen - (before & (clear.mask == one.object)).sum())
            assert other.occlusion >= one.occlusion
            if seen:
                assert other.visibility == pytest.approx(one.visibility * left / seen)


def _numbers(frame: Frame) -> tuple[int, ...]:
    return tuple(thing.object for thing in frame.occluders)


@pytest.mark.parametrize("seed", range(4))
def test_occluders_sweep_through_the_view_at_their_speed_and_width(seed: int) -> None:
    config = replace(hard_world(), num_occluders=6, cut_probability=0.5)
    shot = make_shot(config, seed, 0, 0)
    frames = range(shot.start, shot.stop - 1)
    views = [make_view(shot, frame).solids[config.num_objects :] for frame in frames]
    origin = np.zeros((3, 1))
    for place in range(6):
        path = np.array([solids[place].project(origin)[:, 0] for solids in views])
        speeds = np.linalg.norm(np.diff(path, axis=0), axis=1)
        in_view = (np.abs(path[:-1] - [159.5, 119.5]) < [160, 120]).all(axis=1)
        assert in_view.any()
        assert speeds[in_view].min() > 1  # 1.5 to 8 px, and a moving camera
        assert speeds[in_view].max() < 9.5
        half_width = views[0][place].thing.scale[0] * views[0][place].thing.shape.extent[0]
        width = 2 * half_width * 1.5 * 320 / views[0][place].thing.distance
        assert 7.5 < width < 40.5
    assert len({thing.number for thing in (*shot.objects, *shot.occluders)}) == 11


def test_occluders_have_the_truth_of_a_solid() -> None:
    for frame in render_video(replace(SMALL, num_occluders=3, num_frames=12), 2, 1, truth=False):
        for thing in frame.occluders:
            rows, columns = np.nonzero(frame.mask == thing.object)
            box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1) if rows.size else (0, 0, 0, 0)
            assert thing.box == box
            assert thing.label == "occluder"
            assert thing.full_box[3] >= thing.box[3]


def test_numbers_of_occluders_are_their_own_after_a_cut_too() -> None:
    config = replace(SMALL, num_frames=12, num_objects=2, num_occluders=2, cut_probability=1.0)
    frames = list(render_video(config, 0, 0, truth=False))
    assert {_numbers(frame) for frame in frames} == {(5, 6), (7, 8)}
    assert {thing.object for frame in frames for thing in frame.objects} == {1, 2, 3, 4}


def test_occluders_move_by_their_flow() -> None:
    shot = make_shot(replace(SMALL, num_occluders=4), 5, 2, 20)
    now, then = (render_frame(shot, frame) for frame in (20, 21))
    rows, columns = np.nonzero(now.mask > 10)
    assert rows.size
    places = np.rint(np.stack([columns, rows], axis=1) + now.flow[rows, columns]).astype(int)
    inside = ((places > 0) & (places < [159, 119])).all(axis=1)
    led_to = then.mask[places[inside, 1], places[inside, 0]]
    assert (led_to == now.mask[rows[inside], columns[inside]]).mean() > 0.9


def test_occluders_are_no_objects_of_a_davis_folder(tmp_path: Path) -> None:
    config = replace(SMALL, num_frames=2, num_objects=2, num_occluders=6)
    write_davis(tmp_path, config, 3, 1)
    frames = list(render_video(config, 3, 0, truth=False))
    assert any((frame.mask > 4).any() for frame in frames)
    for path, frame in zip(sorted(tmp_path.rglob("*.png")), frames, strict=True):
        assert path.read_bytes() == indexed_png(np.where(frame.mask > 4, 0, frame.mask).astype(np.uint8))


def test_light_changes_as_often_as_asked_and_as_far() -> None:
    config = replace(SMALL, light_change_probability=0.4, num_frames=100)
    changes = [make_light_change(config, 3, index) for index in range(400)]
    found = [change for change in changes if change.at(change.start) != 1]
    assert 120 < len(found) < 200
    gains = np.array([change.gain for change in found])
    assert ((gains >= 0.55) & (gains <= 1.6) & (np.abs(gains - 1) >= 0.2)).all()
    lengths = np.array([change.stop - change.start for change in found])
    assert 0.25 < (lengths <= 6).mean() < 0.6  # flashes; the rest are steps
    assert 0.2 < np.mean([change.dimmed < 1 for change in found]) < 0.5
    assert all(1 <= change.start < 100 for change in found)


def test_a_flash_ends_and_dimming_goes_on() -> None:
    change = LightChange(10, 13, 1.5, dimmed=0.6, dimming_frames=20)
    assert change.at(9) == 1
    assert change.at(10) == 1.5
    assert change.at(12) == pytest.approx(1.5 * 0.96)
    assert change.at(13) == pytest.approx(0.94)
    assert change.at(30) == change.at(90) == pytest.approx(0.6)


def test_a_change_of_light_is_seen_and_moves_nothing() -> None:
    config = replace(SMALL, light_change_probability=1.0)
    index = next(index for index in range(40) if make_light_change(config, 0, index).gain < 0.7)
    frame = make_light_change(config, 0, index).start
    lit, dark = (render_frame(make_shot(world, 0, index, frame), frame) for world in (SMALL, config))
    np.testing.assert_array_equal(lit.mask, dark.mask)
    np.testing.assert_array_equal(lit.flow, dark.flow)
    assert dark.image.mean() == pytest.approx(lit.image.mean() * make_light_change(config, 0, index).gain, rel=0.02)


@pytest.mark.parametrize("change", [0.35, 1.0])
def test_sizes_change_as_far_as_asked_in_place_and_in_order(change: float) -> None:
    config = replace(hard_world(), scale_change=change, cut_probability=0.0)
    largest = []
    for index in range(6):
        shot = make_shot(config, 1, index, 0)
        still = make_shot(replace(config, scale_change=0.0), 1, index, 0)
        for thing, resting in zip(shot.objects, still.objects, strict=True):
            depths = np.array([thing.position(frame)[2] for frame in range(100)])
            largest.append(max((depths[30:] / depths[:-30]).max(), (depths[:-30] / depths[30:]).max()))
            for frame in (0, 33):
                one, other = thing.position(frame), resting.position(frame)
                np.testing.assert_allclose(one[:2] / one[2], other[:2] / other[2], atol=0.01)
        for frame in range(0, 100, 7):
            reach = [thing.scale.max() * thing.shape.reach for thing in shot.objects]
            middle = [thing.position(frame)[2] for thing in shot.objects]
            for place in range(4):
                assert middle[place] - middle[place + 1] > reach[place] + reach[place + 1]
            assert min(middle) > 0
    sway = 1.06  # of the small approach that every solid has
    assert max(largest) < (1 + change) * sway
    assert max(largest) > 1 + 0.7 * change
    assert min(largest) > 1 + 0.2 * change


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_occluders": 7}, "num_occluders is 7; it must lie between 0 and 6"),
        ({"light_change_probability": -0.1}, "light_change_probability is -0.1"),
        ({"scale_change": 1.5}, "scale_change is 1.5"),
    ],
)
def test_bad_hardness_is_refused(fields: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(SMALL, **fields)  # type: ignore[arg-type]


def test_a_folder_of_an_easy_world_stays_what_it_was(tmp_path: Path) -> None:
    """Its marker names nothing that is off, as before the world knew it; a hard world's names all."""
    small = replace(SMALL, width=32, height=32, num_frames=2, num_objects=1)
    write_videos(tmp_path / "easy", small, 0, 1)
    write_videos(tmp_path / "hard", replace(small, num_occluders=1), 0, 1)
    assert "occluders" not in (tmp_path / "easy" / MARKER_FILE).read_text()
    assert '"num_occluders": 1' in (tmp_path / "hard" / MARKER_FILE).read_text()
