"""Purge: a video leaves its bytes, its units and the next version, and nothing else goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from storage.keys import KeyDocument, Recipe
from storage.layout import purged_path
from storage.leases import Lease
from storage.manifests import StoredFile, commit, read_manifest, video_path
from storage.purge import find_video, purge
from storage.root import Root, RootError
from storage.versions import ShardEntry, SourceEntry, UnitEntry, Version, VideoEntry, latest_version, update_version

GONE, KEPT = "a1" * 32, "b2" * 32


def _commit(root: Root, stage: str, inputs: dict[str, object], name: str = "output.bin") -> str:
    document = KeyDocument(Recipe(stage, 1), inputs)  # type: ignore[arg-type]
    return commit(root, document, {name: f"{stage} {inputs}".encode()}).key


@pytest.fixture
def version(root: Root) -> Version:
    """Two videos under three sources, in a shard each, with everything that reduces over them."""
    downloads, tracks, shards = {}, {}, {}
    for video in (GONE, KEPT):
        root.write_bytes(video_path(video), video.encode())
        stored = StoredFile(video_path(video), 64, video)
        downloads[video] = commit(
            root, KeyDocument(Recipe("download", 1), {"source": video}), {"video.bin": stored}
        ).key
        tracks[video] = _commit(root, "track", {"video": video})
        shards[video] = _commit(root, "shard", {"split": "train", "tracks": [tracks[video]]})
    triplets = _commit(root, "shard", {"shards": sorted(shards.values()), "groups": ""})
    train = _commit(root, "train", {"triplets": triplets})
    scores = _commit(root, "evaluate", {"train": train, "triplets": triplets})
    report = _commit(root, "evaluate", {"train": train, "triplets": triplets, "benchmarks": {"retrieval": scores}})
    return update_version(
        root,
        "clips",
        lambda _: Version(
            "clips",
            sources={
                "s1": SourceEntry("https://a.example/1.mp4", downloads[GONE], video=GONE, origins=("list.txt",)),
                "s2": SourceEntry("https://b.example/1.mp4", downloads[GONE], video=GONE, origins=("list.txt",)),
                "s3": SourceEntry("https://a.example/2.mp4", downloads[KEPT], video=KEPT, origins=("list.txt",)),
            },
            videos={video: VideoEntry(tracks[video], tracks=3, group=video, split="train") for video in (GONE, KEPT)},
            shards=tuple(ShardEntry(shards[video], "train", (tracks[video],), 3) for video in (GONE, KEPT)),
            units={
                "triplets": UnitEntry(triplets),
                "train": UnitEntry(train),
                "evaluate/retrieval": UnitEntry(scores),
                "evaluate/report": UnitEntry(report),
            },
        ),
    )


def test_a_purged_video_leaves_everything_that_was_made_from_it(root: Root, version: Version) -> None:
    done = purge(root, find_video(root, GONE[:8]))
    assert (done.video, done.datasets, done.units) == (GONE, {"clips": 2}, 6)
    assert done.trained == (version.units["train"].key,)
    assert not root.exists(video_path(GONE))
    for stage, key in [
        ("download", version.sources["s1"].key),
        ("track", version.videos[GONE].key),
        ("shard", version.shards[0].key),
        ("shard", version.units["triplets"].key),
        ("evaluate", version.units["evaluate/retrieval"].key),
        ("evaluate", version.units["evaluate/report"].key),
    ]:
        assert read_manifest(root, stage, key) is None
        assert list(root.walk(f"{stage}/{key}")) == []
    assert root.read_bytes(video_path(KEPT)) == KEPT.encode()
    for stage, key in [
        ("download", version.sources["s3"].key),
        ("track", version.videos[KEPT].key),
        ("shard", version.shards[1].key),
        ("train", version.units["train"].key),
    ]:
        assert read_manifest(root, stage, key) is not None


def test_networks_that_began_at_one_that_saw_the_video_are_told(root: Root, version: Version) -> None:
    """However many trainings ago, and whatever they saw themselves."""
    begun = [version.units["train"].key]
    for name in ("init_from", "continue_from"):
        document = KeyDocument(Recipe("train", 1, parameters={name: begun[-1]}), {"images": "0" * 64})
        begun.append(commit(root, document, {"output.bin": name.encode()}).key)
    other = _commit(root, "train", {"images": "1" * 64})
    assert set(purge(root, GONE).trained) == set(begun)
    assert all(read_manifest(root, "train", key) for key in (*begun, other))


def test_the_next_version_is_without_it_and_its_sources_are_failed_for_good(root: Root, version: Version) -> None:
    purge(root, GONE)
    after = latest_version(root, "clips")
    assert set(after.videos) == {KEPT}
    assert [shard.key for shard in after.shards] == [version.shards[1].key]
    assert set(after.units) == {"train"}
    for source in ("s1", "s2"):
        entry = after.sources[source]
        assert entry.video is None
        assert entry.failure is not None
        assert (entry.failure.kind, entry.failure.reason) == ("permanent", "purged")
        assert entry.key == version.sources[source].key, "so that no run tries it again"
    assert after.sources["s3"] == version.sources["s3"]


def test_what_was_never_fetched_is_left_alone(root: Root, version: Version) -> None:
    added = {
        "list": SourceEntry("https://a.example/all", "", listing="then"),
        "new": SourceEntry("https://a.example/3", "k"),
    }
    update_version(root, "clips", lambda standing: replace(standing, sources={**standing.sources, **added}))
    for name in added:
        with pytest.raises(RootError, match="names no video"):
            find_video(root, added[name].location, source=name)
    purge(root, GONE)
    sources = latest_version(root, "clips").sources
    assert {name: sources[name] for name in added} == added


def test_a_version_in_which_the_video_was_to_be_fetched_again_harms_no_other(root: Root, version: Version) -> None:
    """Such a source has an empty key: its unit's folder would be the whole stage."""
    for key in ("", version.sources["s1"].key):
        sources = {**version.sources, "s1": replace(version.sources["s1"], key=key)}
        update_version(root, "clips", lambda standing, sources=sources: replace(standing, sources=sources))
    purge(root, GONE)
    assert read_manifest(root, "download", version.sources["s3"].key) is not None


def test_an_interrupted_purge_is_finished_by_the_next(
    root: Root, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("storage.purge._remove", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            purge(root, GONE)
    assert latest_version(root, "clips").number == 2
    again = purge(root, find_video(root, GONE))
    assert again.datasets == {}
    assert read_manifest(root, "track", version.videos[GONE].key) is None
    assert not root.exists(video_path(GONE))


def test_a_purge_killed_between_manifests_and_files_is_finished_by_the_next(
    root: Root, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Root.remove_many

    def manifests_only(self: Root, paths: Iterable[str]) -> int:
        paths = list(paths)
        if not all(path.endswith("manifest.json") or path.startswith("state/") for path in paths):
            raise OSError("killed")
        return original(self, paths)

    with monkeypatch.context() as patch:
        patch.setattr(Root, "remove_many", manifests_only)
        with pytest.raises(OSError, match="killed"):
            purge(root, GONE)
    report = version.units["evaluate/report"].key
    assert list(root.walk(f"evaluate/{report}")) != []
    again = purge(root, GONE)
    assert list(root.walk(f"evaluate/{report}")) == []
    assert again.trained == (version.units["train"].key,)


def test_what_no_version_names_is_purged_too(root: Root, version: Version) -> None:
    """A run was killed before it recorded these."""
    track = _commit(root, "track", {"video": GONE, "other": "recipe"})
    shard = _commit(root, "shard", {"split": "train", "tracks": [track, version.videos[KEPT].key]})
    purge(root, GONE)
    assert list(root.walk(f"track/{track}")) == []
    assert list(root.walk(f"shard/{shard}")) == []


def test_a_second_purge_counts_its_own(root: Root, version: Version) -> None:
    first = purge(root, GONE)
    second = purge(root, KEPT)
    assert first.units == 6
    assert second.units == 3, "the index and the scores went with the first"
    assert latest_version(root, "clips").videos == {}


def test_a_refused_purge_changes_nothing(root: Root, version: Version) -> None:
    root.write_bytes("datasets/clips/2.json", b"{")
    with pytest.raises(RootError, match="run fsck first"):
        purge(root, GONE)
    assert not root.exists(purged_path(GONE))
    assert root.exists(video_path(GONE))


def test_every_data_set_is_purged(root: Root, version: Version) -> None:
    update_version(root, "other", lambda _: replace(version, name="other", shards=version.shards[1:]))
    assert purge(root, GONE).datasets == {"clips": 2, "other": 2}
    assert GONE not in latest_version(root, "other").videos


@pytest.mark.usefixtures("version")
def test_a_video_is_found_by_its_digest_or_a_source(root: Root) -> None:
    assert find_video(root, "a1a1a1a1") == GONE
    assert find_video(root, "https://b.example/1.mp4", source="s2") == GONE
    assert find_video(root, "https://a.example/2.mp4", source="s3") == KEPT
    for text in ("a1a1", "c3c3c3c3", "https://c.example/1.mp4", ""):
        with pytest.raises(RootError, match="names no video"):
            find_video(root, text)


@pytest.mark.usefixtures("version")
def test_beside_a_live_run_nothing_is_purged(root: Root) -> None:
    with Lease(root, "run"), pytest.raises(RootError, match="a run is live"):
        purge(root, GONE)
    assert root.exists(video_path(GONE))
    assert not root.exists(purged_path(GONE))
