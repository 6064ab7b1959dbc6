"""Shards as a data set grows: what is merged and told, what stays, and which videos meet in training."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.explain import explain_stage
from flows.plan import StageFailed, plan_shard, shard_stage
from flows.record import record_shard
from storage.fsck import check
from storage.gc import collect
from storage.keys import KeyDocument, Recipe
from storage.manifests import commit, read_manifest, require_manifest
from storage.purge import purge
from storage.root import Root, open_root
from storage.shards import ShardReader
from storage.tables import read_table, table_bytes
from storage.versions import (
    SourceEntry,
    Version,
    VideoEntry,
    latest_version,
    read_version,
    unit_keys,
    update_version,
    version_numbers,
)
from tasks.batch import Outcome, Unit, run_unit
from tasks.records import TRACK_SCHEMA, Dropped
from tasks.shard.triplets import with_negatives
from tests.flows.imagined import chosen

CONFIG = chosen()
NIGHT_BYTES = 1_500_000


def grown(version: Version, *numbers: int) -> Version:
    """The version with new videos, each tracked; every fifth is a near-duplicate of the one before."""
    videos = {video(number): VideoEntry(f"track{number}", tracks=3, signature=signature(number)) for number in numbers}
    sources = {f"s{number}": SourceEntry(f"http://{number}", f"d{number}", video=video(number)) for number in numbers}
    return replace(version, videos={**version.videos, **videos}, sources={**version.sources, **sources})


def video(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def signature(number: int) -> str:
    chance = random.Random(number - (number % 5 == 4))
    noise = 7 if number % 5 == 4 else 0
    return "".join(f"{chance.getrandbits(64) ^ noise:016x}" for _ in range(8))


def packed(version: Version, size: int = NIGHT_BYTES) -> tuple[Version, tuple[Unit, ...]]:
    """The shard stage with stubbed work: a video's pairs take `size` bytes."""
    plan = plan_shard(version, CONFIG)
    units = shard_stage(plan).units
    outcomes = {}
    for unit in units:
        videos = len(unit.arguments[0]) if unit.item != "triplet index" else 0
        outcomes[unit.key] = Outcome(unit.item, unit.key, counts={"pairs": 3 * videos, "bytes": size * videos})
    return record_shard(version, plan, outcomes), units


def merges(units: Sequence[Unit]) -> list[Unit]:
    return [unit for unit in units if "parts" in unit.options]


def test_many_nights_end_in_few_shards_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    root, version, rewritten = open_root(str(tmp_path)), Version("night"), 0
    for number in range(100):
        before = grown(version, number)
        version, units = packed(before)
        assert len(units) == len(merges(units)) + 2, "the night's shard and the index"
        rewritten += sum(len(unit.document.inputs["tracks"]) for unit in merges(units))  # type: ignore[arg-type]
        assert shard_stage(plan_shard(version, CONFIG)).is_idle
        tracks = [track for shard in version.shards for track in shard.tracks]
        assert sorted(tracks) == sorted(f"track{n}" for n in range(number + 1)), "every track in one shard"
        if merged := merges(units):
            told = {reason.text for reason in explain_stage(root, before, plan_shard(before, CONFIG).stage).reasons}
            assert told == {
                "packs tracks that are in no shard yet",
                "merges small shards, since enough of a size came together",
            }
            assert f"merged from {len(merged[0].options['parts'])}" in merged[0].item
            assert "small shards become one" in plan_shard(before, CONFIG).stage.note
    assert len(version.shards) < 25
    assert max(shard.size for shard in version.shards) > 64e6 / 2
    assert rewritten < 200, "a byte is written again less than twice"


def test_nothing_is_merged_without_growth_or_a_target() -> None:
    version = Version("night")
    for number in range(12):  # shards stand that no run has merged, as after `accept` or a change of the target
        single = Version("night", shards=())
        plan = plan_shard(grown(single, number), CONFIG)
        fresh = tuple(replace(shard, size=NIGHT_BYTES) for shard in plan.shards)
        entries = {**version.videos, **{name: replace(one, split="train") for name, one in plan.videos.items()}}
        version = replace(grown(version, number), videos=entries, shards=(*version.shards, *fresh))
    assert len(version.shards) == 12
    assert merges(plan_shard(version, CONFIG).stage.units) == []
    never = CONFIG.model_copy(update={"shard": CONFIG.shard.model_copy(update={"compact_bytes": 0})})
    assert merges(plan_shard(grown(version, 20), never).stage.units) == []
    (unit,) = merges(plan_shard(grown(version, 20), CONFIG).stage.units)
    assert len(unit.options["parts"]) == 8


def test_the_order_in_which_videos_are_known_says_nothing() -> None:
    version = grown(Version("night"), *range(30))
    other = replace(version, videos=dict(reversed(version.videos.items())))
    assert [unit.key for unit in packed(version)[1]] == [unit.key for unit in packed(other)[1]]


def test_a_merged_shard_whose_video_is_removed_is_packed_again_without_it() -> None:
    version = Version("night")
    for number in range(20):
        version, _ = packed(grown(version, number))
    merged = max(version.shards, key=lambda shard: len(shard.tracks))
    assert len(merged.tracks) >= 8
    lost = merged.tracks[3]
    gone = next(name for name, one in version.sources.items() if version.videos[one.video or ""].key == lost)
    left = replace(version, sources={**version.sources, gone: replace(version.sources[gone], removed="now")})
    after, units = packed(left)
    tracks = [track for shard in after.shards for track in shard.tracks]
    assert sorted(tracks) == sorted({f"track{n}" for n in range(20)} - {lost})
    assert set(version.shards) - set(after.shards) >= {merged}
    assert units


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=25), st.integers(0, 2**16))
def test_no_copy_of_a_held_out_video_is_ever_trained_on(nights: list[int], seed: int) -> None:
    """Random copies of a dozen videos arrive night after night, under other digests and with other frames' noise."""
    chance, version, count = random.Random(seed), Version("night"), 0
    original: dict[str, int] = {}
    for number in nights:
        for _ in range(number):
            content, name, count = (
                chance.randrange(12),
                hashlib.sha256(f"{seed}-{count}".encode()).hexdigest(),
                count + 1,
            )
            source = random.Random(content)
            hashes = [source.getrandbits(64) ^ (1 << chance.randrange(64)) for _ in range(8)]
            entry = VideoEntry(name[:8], tracks=2, signature="".join(f"{value:016x}" for value in hashes))
            original[name[:8]] = content
            sources = {f"{name}-{url}": SourceEntry(f"http://{name}/{url}", name, video=name) for url in range(2)}
            version = replace(version, videos={**version.videos, name: entry}, sources={**version.sources, **sources})
        version, _ = packed(version, size=60_000)
    sides = {
        side: {original[t] for s in version.shards if s.split == side for t in s.tracks}
        for side in ("train", "held_out")
    }
    assert sides["train"].isdisjoint(sides["held_out"])
    tracks = [track for shard in version.shards for track in shard.tracks]
    assert sorted(tracks) == sorted(original), "and every copy is packed once"
    group_of = {entry.key: entry.group for entry in version.videos.values()}
    pairs = [
        {
            "split": shard.split,
            "shard": shard.key,
            "row": row,
            "sample": track,
            "video": track,
            "group": group_of[track],
        }
        for shard in version.shards
        for row, track in enumerate(shard.tracks)
        if shard.split == "train"
    ]
    rows = with_negatives(pairs, seed)
    if len({original[pair["sample"]] for pair in pairs}) > 1:
        assert all(original[row["negative_sample"]] != original[row["sample"]] for row in rows)


# What follows makes real shards of made-up tracks.


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root"))


def commit_tracks(root: Root, number: int) -> tuple[str, VideoEntry]:
    """A track unit of three tracks; returns the video and its entry."""
    generator = np.random.default_rng(number)
    rows: list[dict[str, Any]] = [
        {
            "track": f"{video(number)[:16]}-{15 * n:06d}-00",
            "video": video(number),
            "estimator": "klt",
            "start_frame": 15 * n,
            "end_frame": 15 * n + 30,
            "boxes": [[1.0, 2.0, 48.0, 48.0], [3.0, 4.0, 50.0, 50.0]],
            "anchor_jpeg": _picture(generator),
            "positive_jpeg": _picture(generator),
            "context": 1.5,
        }
        for n in range(3)
    ]
    document = KeyDocument(Recipe("track", 1), inputs={"video": video(number)})
    commit(root, document, {"tracks.parquet": table_bytes(rows, TRACK_SCHEMA)}, counts={"tracks": 3})
    return video(number), VideoEntry(document.key, tracks=3, signature=signature(number))


def _picture(generator: np.random.Generator) -> bytes:
    return bytes(cv2.imencode(".jpg", generator.integers(0, 255, (72, 72, 3), dtype=np.uint8))[1].tobytes())


def night(root: Root, *numbers: int) -> Version:
    """A night of new videos, from tracks to the triplet index, recorded as the next version."""
    tracked = dict(commit_tracks(root, number) for number in numbers)

    def add(version: Version) -> Version:
        version = grown(version, *numbers)
        return replace(version, videos={**version.videos, **tracked})

    version = update_version(root, "night", add)
    plan = plan_shard(version, CONFIG)
    outcomes: Mapping[str, Outcome] = {unit.key: run_unit(root, unit) for unit in shard_stage(plan).units}
    return update_version(root, "night", lambda _: record_shard(version, plan, outcomes))


def triplets(root: Root, version: Version) -> list[dict[str, Any]]:
    manifest = require_manifest(root, "shard", version.units["triplets"].key)
    rows: list[dict[str, Any]] = read_table(root, manifest.files["triplets.parquet"]).to_pylist()
    return rows


def test_old_versions_keep_the_small_shards_until_gc_drops_them(root: Root, tmp_path: Path) -> None:
    versions = [night(root, 0)]
    while len(versions) < 3 or len(versions[-1].shards) >= len(versions[-2].shards):
        versions.append(night(root, len(versions)))
    small, newest = versions[-2:]
    gone = {shard.key for shard in small.shards} - {shard.key for shard in newest.shards}
    assert len(gone) == 8
    assert all(read_manifest(root, "shard", key) for key in gone), "the old version is whole"
    assert not [one for one in check(root).broken if one.path.startswith("shard/")]
    rows, before = (
        triplets(root, newest),
        {row["sample"]: row for row in triplets(root, read_version(root, "night", small.number))},
    )
    assert len(rows) == 3 * len(versions)
    shards = {shard.key: require_manifest(root, "shard", shard.key) for shard in newest.shards}
    for key, manifest in shards.items():
        reader = ShardReader(root, manifest.files["pairs.tar"], tmp_path)
        index = read_table(root, manifest.files["index.parquet"]).to_pylist()
        for row in (one for one in rows if one["shard"] == key):
            pair = index[row["row"]]
            assert (pair["sample"], pair["split"]) == (row["sample"], row["split"])
            assert reader.read(pair["anchor_offset"], 2) == b"\xff\xd8"
        reader.close()
    assert all(
        (row["split"], row["group"]) == (old["split"], old["group"])
        for row in rows
        if (old := before.get(row["sample"]))
    )
    collect(root, grace_seconds=0, keep_versions=1, delete=True)
    assert version_numbers(root, "night") == [newest.number]
    assert not any(read_manifest(root, "shard", key) for key in gone)
    assert all(read_manifest(root, stage, key) for stage, key in unit_keys(newest) if stage == "shard")


def test_a_purged_video_is_in_no_shard_small_or_merged(root: Root) -> None:
    versions = [night(root, 0)]
    while len(versions) < 3 or len(versions[-1].shards) >= len(versions[-2].shards):
        versions.append(night(root, len(versions)))
    merged = max(versions[-1].shards, key=lambda shard: len(shard.tracks))
    lost = next(name for name, entry in versions[-1].videos.items() if entry.key == merged.tracks[0])
    purge(root, lost)
    manifests = [read_manifest(root, "shard", key) for key in root.names("shard")]
    held = [one.document["inputs"].get("tracks", ()) for one in manifests if one]  # type: ignore[union-attr]
    assert held
    assert not any(merged.tracks[0] in tracks for tracks in held)
    after = night(root, len(versions))
    tracks = [track for shard in after.shards for track in shard.tracks]
    assert sorted(tracks) == sorted(entry.key for entry in after.videos.values())
    assert len(tracks) == len(versions)
    assert {row["video"] for row in triplets(root, after)} == set(after.videos)


def test_a_night_with_one_video_draws_negatives_from_older_shards(root: Root) -> None:
    night(root, *range(5))
    version = night(root, 5)
    rows = [row for row in triplets(root, version) if row["video"] == video(5)]
    assert len(rows) == 3
    for row in rows:
        assert row["negative_shard"] not in ("", row["shard"])
        assert version.videos[row["negative_video"]].group != row["group"]
        assert version.videos[row["negative_video"]].split == row["split"]


def test_what_was_made_before_a_kill_is_found(root: Root) -> None:
    """A run that dies between shards has recorded nothing; the next one makes what is missing."""
    tracked = dict(commit_tracks(root, number) for number in range(6))
    version = replace(grown(Version("night"), *range(6)), videos=tracked)
    units = plan_shard(version, CONFIG).stage.units
    assert len(units) == 2
    made = run_unit(root, units[0])
    assert not made.cached
    again = [run_unit(root, unit) for unit in plan_shard(version, CONFIG).stage.units]
    assert [outcome.cached for outcome in again] == [True, False]


@pytest.mark.usefixtures("harness")
def test_a_shard_that_fails_leaves_the_others_committed(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.shard import shard

    tracked = dict(commit_tracks(root, number) for number in range(6))
    update_version(root, "night", lambda version: replace(grown(version, *range(6)), videos=tracked))

    def second_fails(pool: object, root: Root, units: Sequence[Unit], *_: object) -> list[Outcome]:
        failure = Dropped("poison", "memory_limit", "took too much").as_failure("shard")
        return [run_unit(root, units[0]), *(Outcome(unit.item, unit.key, failure=failure) for unit in units[1:])]

    with monkeypatch.context() as patch:
        patch.setattr("tasks.shard.task.run_batch", second_fails)
        with pytest.raises(StageFailed, match=r"shard: 1 of 2 shards failed .*memory_limit, took too much"):
            shard(root=root.url, dataset="night")
    assert latest_version(root, "night").shards == (), "no shard is named before all are there"
    done = shard(root=root.url, dataset="night")
    assert (done["committed"], done["cached"]) == (2, 1)
    assert len(latest_version(root, "night").shards) == 2


@pytest.mark.usefixtures("harness")
def test_a_video_under_two_names_and_a_copy_of_it_stay_in_one_split(clips: Path, tmp_path: Path) -> None:
    """The same bytes under two names, and each clip encoded again at another rate, a night later."""
    from flows.download import download
    from flows.shard import shard
    from flows.track import track

    folder, root = tmp_path / "clips", open_root(str(tmp_path / "root"))
    folder.mkdir()
    originals = sorted(clips.glob("*.mp4"))
    where: dict[str, Any] = {"root": root.url, "dataset": "night"}
    tracking = {"track_patch_px": 40, "track_working_height_px": 120, "track_gap_frames": 12}
    for one in originals:
        shutil.copy2(one, folder)
    for copying in (False, True):
        if copying:
            shutil.copy2(originals[0], folder / "again.mp4")
            for number, one in enumerate(originals):
                _encode_again(one, folder / f"copy-{number}.mp4")
        download(**where, sources=str(folder))
        track(**where, **tracking)
        shard(**where)
    version = latest_version(root, "night")
    assert (len(version.sources), len(version.videos)) == (13, 12)
    digest = {one.location.rsplit("/", 1)[-1]: one.video or "" for one in version.sources.values()}
    for number, one in enumerate(originals):
        first, copy = version.videos[digest[one.name]], version.videos[digest[f"copy-{number}.mp4"]]
        assert (copy.group, copy.split) == (first.group, first.split)
    rows = triplets(root, version)
    trained = {version.videos[row["video"]].group for row in rows if row["split"] == "train"}
    held_out = {version.videos[row["video"]].group for row in rows if row["split"] == "held_out"}
    assert trained
    assert trained.isdisjoint(held_out)
    assert all(version.videos[row["negative_video"]].group != row["group"] for row in rows if row["negative_video"])


def _encode_again(source: Path, target: Path) -> None:
    """The same pictures in another codec, with losses of its own."""
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        picture = read.streams.video[0]
        stream = write.add_stream("mpeg4", rate=picture.average_rate)
        stream.width, stream.height = picture.codec_context.width, picture.codec_context.height
        stream.pix_fmt, stream.bit_rate = "yuv420p", 400_000
        for frame in read.decode(picture):
            write.mux(stream.encode(av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")))
        write.mux(stream.encode())
