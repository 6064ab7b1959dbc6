"""When a refresh trains again, and what it leaves out otherwise."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flows.forms import unflatten
from flows.retraining import Retraining, decide_training
from storage.layout import purged_path
from storage.manifests import manifest_path
from storage.root import Root, open_root
from storage.versions import Version, latest_version, update_version, version_path
from tests.flows.imagined_nights import Web
from tests.tasks.train.shapes import write_shapes

FIRST = 40  # videos that the first night brings, each with as many pairs


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A root after its first night, trained and evaluated on 40 videos."""
    opened = open_root(str(tmp_path / "root"))
    _night(opened, FIRST)
    return opened


def _night(root: Root, videos: int, trains: bool = True, **fields: object) -> None:
    left_out = {} if trains else {"train": "not now", "evaluate": "not now"}
    list(Web(named=set(range(videos))).run_stages(root.url, "night", "", fields, left_out=lambda: left_out))


def _decide(root: Root, share: float = 0.1, **fields: object) -> Retraining:
    return decide_training(root, latest_version(root, "night"), unflatten(fields), share)


def test_the_first_training_always_happens(tmp_path: Path) -> None:
    root = open_root(str(tmp_path / "root"))
    assert _decide(root).words.startswith("needs tracks of two different videos")
    _night(root, FIRST, trains=False)
    assert _decide(root, 9.0) == Retraining("the first training")


def test_a_network_of_these_very_pairs_is_left_to_its_stage(root: Root) -> None:
    assert _decide(root) == Retraining("nothing is new since the last training")


@pytest.mark.parametrize(
    ("more", "share", "trains"),
    [(3, 0.1, False), (4, 0.1, True), (3, 0.0, True), (40, 1.0, True), (39, 1.0, False), (80, 2.0, True)],
)
def test_it_trains_from_the_share_of_new_pairs_on(root: Root, more: int, share: float, trains: bool) -> None:
    version = latest_version(root, "night").units["train"]
    _night(root, FIRST + more, trains=False)
    decided = _decide(root, share)
    assert latest_version(root, "night").units["train"] == version
    assert (not decided.left_out) is trains
    assert decided.words.startswith(f"{more / FIRST:.1%} new pairs since version ")
    if not trains:
        assert decided.words.endswith(f", below retrain_share {share:.0%}")
        assert decided.left_out == {"train": decided.words, "evaluate": "the network is the one that was evaluated"}


def test_new_pairs_add_up_over_nights_until_it_trains(root: Root) -> None:
    for videos in (42, 43):
        _night(root, videos, trains=False)
        assert _decide(root).left_out
    _night(root, 44, trains=False)
    assert not _decide(root).left_out
    _night(root, 44)
    _night(root, 46, trains=False)
    assert _decide(root).words.startswith("4.5% new pairs since version ")


def test_pairs_that_took_the_place_of_others_are_new(root: Root) -> None:
    web = Web(named=set(range(20, 60)))
    list(web.run_stages(root.url, "night", "", {}, left_out=lambda: {"train": "not now", "evaluate": "not now"}))
    assert _decide(root).words.startswith("50.0% new pairs")


def test_pairs_that_are_gone_are_no_reason(root: Root) -> None:
    web = Web(named=set(range(30)))
    list(web.run_stages(root.url, "night", "", {}, left_out=lambda: {"train": "not now", "evaluate": "not now"}))
    decided = _decide(root, 0.0)
    assert decided.left_out["train"].startswith("0.0% new pairs since version ")
    assert "below" not in decided.words


def test_a_network_of_other_parameters_is_trained_at_once(root: Root) -> None:
    decided = _decide(root, 9.0, train_steps=7)
    assert decided.left_out == {}
    assert "steps 1200 → 7" in decided.words


def test_evaluation_runs_where_the_network_has_no_report_yet(root: Root) -> None:
    _night(root, FIRST + 1, trains=False)
    assert set(_decide(root).left_out) == {"train", "evaluate"}

    def forget(version: Version) -> Version:
        return replace(version, units={name: unit for name, unit in version.units.items() if "report" not in name})

    update_version(root, "night", forget)
    assert set(_decide(root).left_out) == {"train"}


def test_it_trains_again_where_its_commit_is_gone_or_a_video_was_purged(root: Root) -> None:
    _night(root, FIRST + 1, trains=False)
    version = latest_version(root, "night")
    root.write_bytes(purged_path(sorted(version.videos)[0]), b"{}")
    assert _decide(root) == Retraining("it was trained on a video that was purged since")
    root.remove(manifest_path("train", version.units["train"].key))
    assert _decide(root) == Retraining("the first training")


def test_where_its_version_is_gone_the_pairs_of_its_manifest_are_the_measure(root: Root) -> None:
    _night(root, FIRST + 1, trains=False)
    told = _decide(root, 0.0).words
    number = int(told.rsplit("version ", 1)[1])
    root.remove(version_path("night", number))
    assert "the training of 20" in _decide(root, 9.0).words


def test_a_network_of_labelled_images_waits_for_other_images(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_shapes(tmp_path / "images", images=1)
    fields = {"train_objective": "supervised", "train_images": str(images)}
    assert "objective ranking → supervised" in _decide(root, 9.0, **fields).words
    _night(root, FIRST, **fields)
    _night(root, 3 * FIRST, trains=False, **fields)
    assert _decide(root, 0.0, **fields).words == "nothing is new since the last training", "new pairs say nothing"
    with monkeypatch.context() as patch:
        patch.setattr("tasks.train.key.fingerprint", lambda *_: {"tasks.train.loop": "another"})
        decided = _decide(root, 0.0, **fields)
    assert decided.words == "train.images is as it was"
    assert set(decided.left_out) == {"train", "evaluate"}
    shutil.copy(images / "bar" / "000.jpg", images / "bar" / "001.jpg")
    assert _decide(root, 9.0, **fields) == Retraining("train.images holds other images")
