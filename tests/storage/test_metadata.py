"""The metadata of a data set's videos: merged by source, shared while unchanged, mended from the manifests."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from storage.findings import Finding
from storage.fsck import check
from storage.gc import collect
from storage.keys import JSON
from storage.manifests import manifest_path
from storage.metadata import metadata_row, rows_from_manifests
from storage.metadata_table import METADATA, read_metadata
from storage.purge import purge
from storage.repair import repair
from storage.root import Root, RootError
from storage.versions import (
    Failure,
    SourceEntry,
    UnitEntry,
    Version,
    latest_version,
    read_head,
    read_version,
    update_version,
    version_path,
)
from tests.storage.small_root import DAMAGES, DATASET, DIGESTS, SmallRoot, flip, kinds, row_of

RACERS = 4
FAILED = Failure("download", "transient", "timeout", "timed out")


def video_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def row(name: str, **facts: JSON) -> Mapping[str, JSON]:
    """What was fetched from a source of that name."""
    known: dict[str, JSON] = {
        "video": video_of(name), "location": f"http://{name}", "extractor": "generic", "title": f"日本 {name}",
        "uploader": None, "licence": "CC BY", "duration_seconds": 12.5, "width": 640, "height": 480, "fps": 25,
        "codec": "h264", "container": "mov", "yt_dlp": "2026.8.19", "unheard_of": 1,
    }  # fmt: skip
    when = "2026-01-01T00:00:00+00:00"
    return metadata_row({**known, **facts}, num_bytes=1 << 40, fetch_seconds=0.25, fetched=when, given='{"topic": "x"}')


def fetched(*names: str, **facts: JSON) -> Callable[[Version], Version]:
    """A change that adds sources, each with its video and its row."""
    entries = {name: SourceEntry(f"http://{name}", "key", video=video_of(name)) for name in names}
    rows = {name: row(name, **facts) for name in names}
    return lambda version: replace(version, sources={**version.sources, **entries}, fetched=rows)


def ids(root: Root, version: Version) -> list[str]:
    return list(read_metadata(root, version)["id"].to_pylist())


def test_a_row_reads_back_whole_and_is_not_read_with_its_version(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = update_version(root, "clips", fetched("a"))
    assert stored.fetched == {}
    table = read_metadata(root, latest_version(root, "clips"))
    assert table.schema == METADATA
    expected = {**dict.fromkeys(METADATA.names), **row("a"), "id": "a"}
    assert table.to_pylist() == [expected]
    assert (expected["url"], expected["sha256"], expected["bytes"]) == ("http://a", video_of("a"), 1 << 40)
    root.remove(stored.tables["metadata"].path)
    assert latest_version(root, "clips") == stored
    with pytest.raises(RootError, match=r"metadata-\w+\.parquet is missing; run tritrack fsck --repair"):
        read_metadata(root, stored)


def test_a_version_without_videos_has_an_empty_table(root: Root) -> None:
    sources = {"s": SourceEntry("http://a", "k")}
    version = update_version(
        root, "clips", lambda standing: replace(standing, sources=sources, fetched={"s": row("s")})
    )
    assert set(version.tables) == {"sources", "videos", "shards"}
    for one in (version, Version("clips")):
        assert read_metadata(root, one).schema == METADATA
        assert len(read_metadata(root, one)) == 0


def test_rows_are_added_replaced_and_sorted(root: Root) -> None:
    update_version(root, "clips", fetched("c", "a"))
    version = update_version(root, "clips", fetched("b", "c", title="another"))
    table = read_metadata(root, version)
    assert table["id"].to_pylist() == ["a", "b", "c"]
    assert table["title"].to_pylist() == ["日本 a", "another", "another"]
    assert ids(root, read_version(root, "clips", 1)) == ["a", "c"]


def test_equal_rows_are_equal_bytes_however_they_came(root: Root) -> None:
    one = update_version(root, "one", fetched("a", "b", "c"))
    for name in ("b", "c", "a"):
        other = update_version(root, "other", fetched(name))
    assert one.tables["metadata"].sha256 == other.tables["metadata"].sha256


def test_versions_share_the_table_while_nothing_in_it_changes(root: Root) -> None:
    first = update_version(root, "clips", fetched("a", "b"))
    table = first.tables["metadata"]
    root.remove(table.path)  # so that a version that reads or writes it is found out

    def changed(version: Version) -> Version:
        tombstone = replace(version.sources["a"], removed="2026-01-02", origins=())
        failed = replace(version.sources["b"], failure=FAILED)
        added = {"c": SourceEntry("http://c", "k"), "d": SourceEntry("http://d", "", listing="2026-01-01")}
        return replace(version, sources={"a": tombstone, "b": failed, **added}, units={"train": UnitEntry("k")})

    second = update_version(root, "clips", changed)
    assert second.number == 2
    assert second.tables["metadata"] == table
    assert read_head(root, "clips", 2).tables["metadata"] == table
    assert not root.exists(table.path)


def test_rows_alone_make_a_version_and_the_same_rows_make_none(root: Root) -> None:
    first = update_version(root, "clips", fetched("a"))
    second = update_version(root, "clips", fetched("a", title="another"))
    assert (first.number, second.number, first.tables["sources"]) == (1, 2, second.tables["sources"])
    assert update_version(root, "clips", fetched("a", title="another")) == second
    assert latest_version(root, "clips").number == 2


def test_a_source_that_holds_the_video_no_more_loses_its_row(root: Root) -> None:
    update_version(root, "clips", fetched("a", "b", "c", "d"))

    def changed(version: Version) -> Version:
        sources = dict(version.sources)
        del sources["a"]
        sources["b"] = replace(sources["b"], video=None, failure=FAILED)
        sources["c"] = replace(sources["c"], video=video_of("other bytes"))
        return replace(version, sources=sources)

    version = update_version(root, "clips", changed)
    assert ids(root, version) == ["d"]
    version = update_version(root, "clips", lambda standing: replace(standing, sources={}))
    assert "metadata" not in version.tables


def test_a_row_of_another_video_than_the_source_holds_is_left_out(root: Root) -> None:
    standing = update_version(root, "clips", fetched("a"))
    assert update_version(root, "clips", fetched("a", video=video_of("b"))) == standing
    assert read_metadata(root, latest_version(root, "clips"))["sha256"].to_pylist() == [video_of("a")]


def test_an_unknown_column_or_a_wrong_type_is_an_error(root: Root) -> None:
    wrongs: tuple[Mapping[str, JSON], ...] = ({"colour": "red"}, {"width": 1 << 40}, {"fps": "x"})
    for wrong in wrongs:

        def change(version: Version, wrong: Mapping[str, JSON] = wrong) -> Version:
            return replace(fetched("a")(version), fetched={"a": {**row("a"), **wrong}})

        with pytest.raises(ValueError, match=r"colour|too large|convert"):
            update_version(root, "clips", change)
    assert latest_version(root, "clips").number == 0


def test_racing_threads_lose_no_row(root: Root) -> None:
    start = threading.Barrier(RACERS)

    def race(racer: int) -> None:
        start.wait()
        for turn in range(2):
            update_version(root, "clips", fetched(f"{racer}-{turn}"))

    with ThreadPoolExecutor(RACERS) as pool:
        list(pool.map(race, range(RACERS)))
    latest = latest_version(root, "clips")
    assert ids(root, latest) == sorted(f"{racer}-{turn}" for racer in range(RACERS) for turn in range(2))
    assert latest.number == RACERS * 2


def test_a_loser_merges_into_the_winners_rows(local: SmallRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The winner replaces one row and takes another out while the loser writes."""
    root, create, lost = local.root, local.root.create_bytes, list[Version]()

    def overtaken(path: str, data: bytes) -> bool:
        if not lost:
            lost.append(Version(DATASET))

            def winner(version: Version) -> Version:
                sources = {name: entry for name, entry in version.sources.items() if name != "b"}
                return replace(version, sources=sources, fetched={"c": {**row_of(local.units["download c"]), "fps": 7}})

            update_version(root, DATASET, winner)
        return create(path, data)

    monkeypatch.setattr(root, "create_bytes", overtaken)
    table = read_metadata(root, update_version(root, DATASET, fetched("d")))
    assert dict(zip(table["id"].to_pylist(), table["fps"].to_pylist(), strict=True)) == {"a": None, "c": 7, "d": 25}


def test_a_purged_video_loses_its_rows_and_a_damaged_table_refuses_the_purge(small: SmallRoot) -> None:
    root = small.root
    path = latest_version(root, DATASET).tables["metadata"].path
    whole = root.read_bytes(path)
    flip(root, path)
    with pytest.raises(RootError, match=r"metadata-\w+\.parquet cannot be read, .* run fsck --repair first"):
        purge(root, DIGESTS["b"])
    assert latest_version(root, DATASET).number == 3
    root.write_bytes(path, whole)
    purge(root, DIGESTS["b"])
    assert ids(root, latest_version(root, DATASET)) == ["a", "c"]
    assert check(root).broken == ()


def test_old_tables_go_with_the_last_version_that_names_them(small: SmallRoot) -> None:
    first = latest_version(small.root, DATASET).tables["metadata"].path
    purge(small.root, DIGESTS["b"])
    assert collect(small.root, grace_seconds=-5, delete=True).counts == {}
    found = collect(small.root, grace_seconds=-5, keep_versions=1, delete=True)
    assert first in {item.path for item in found.garbage if item.kind == "table"}
    assert not small.root.exists(first)
    assert ids(small.root, latest_version(small.root, DATASET)) == ["a", "c"]
    assert check(small.root).broken == ()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_made_again_from_the_manifests(local: SmallRoot, damage: str) -> None:
    root = local.root
    before = latest_version(root, DATASET)
    path = before.tables["metadata"].path
    rows = read_metadata(root, before)
    DAMAGES[damage](root, path)
    (finding,) = check(root).findings
    assert (finding.kind, finding.path, finding.datasets) == ("damaged_metadata", path, (DATASET,))
    with pytest.raises(RootError, match="run tritrack fsck --repair"):
        update_version(root, DATASET, fetched("d"))
    (action,) = repair(root, check(root))
    assert (action.kind, action.path) == ("made_again", path)
    assert "3 rows" in action.words
    assert latest_version(root, DATASET).number == before.number, "its name says its bytes, so that no version changes"
    assert read_metadata(root, before).equals(rows)
    assert check(root).findings == ()


def test_a_quick_check_compares_sizes(local: SmallRoot) -> None:
    path = latest_version(local.root, DATASET).tables["metadata"].path
    flip(local.root, path)
    assert check(local.root, quick=True).findings == ()
    DAMAGES["truncated"](local.root, path)
    assert kinds(check(local.root, quick=True)) == {("damaged_metadata", path)}


def test_rows_without_a_manifest_are_lost_to_a_repair(local: SmallRoot) -> None:
    root = local.root
    path = latest_version(root, DATASET).tables["metadata"].path
    flip(root, path)
    root.remove(manifest_path("download", local.key("download b")))
    actions = repair(root, check(root))
    assert [action.kind for action in actions] == ["made_again", "new_version", "new_version"]
    version = latest_version(root, DATASET)
    assert (ids(root, version), version.sources["b"].key) == (["a", "c"], "")
    report = check(root)
    assert report.broken == ()
    assert ("history", path) in kinds(report), "older versions name the broken table still"
    version = update_version(root, DATASET, lambda v: replace(v, fetched={"b": row_of(local.units["download b"])}))
    assert ids(root, version) == ["a", "b", "c"]


def test_no_manifest_at_all_leaves_no_table(local: SmallRoot) -> None:
    flip(local.root, latest_version(local.root, DATASET).tables["metadata"].path)
    local.root.remove_many([manifest_path("download", local.key(f"download {name}")) for name in "abc"])
    repair(local.root, check(local.root))
    assert "metadata" not in latest_version(local.root, DATASET).tables
    assert check(local.root).broken == ()


def test_repair_leaves_a_table_that_is_sound_or_no_more_named(local: SmallRoot) -> None:
    root = local.root
    path = latest_version(root, DATASET).tables["metadata"].path
    whole = root.read_bytes(path)
    flip(root, path)
    report = check(root)
    root.write_bytes(path, whole)
    assert [action.words for action in repair(root, report)] == ["it is sound by now"]
    other = {"a": {**row_of(local.units["download a"]), "fps": 7}}
    update_version(root, DATASET, lambda version: replace(version, fetched=other))
    flip(root, path)
    assert [action.kind for action in repair(root, report)] == ["left"]
    assert kinds(check(root)) == {("history", path)}


def test_beside_a_head_that_cannot_be_read_a_table_is_left_alone(local: SmallRoot) -> None:
    root = local.root
    update_version(root, DATASET, fetched("d"))
    flip(root, read_version(root, DATASET, 3).tables["metadata"].path)
    root.write_bytes(version_path(DATASET, 4), b"{")
    report = check(root)
    assert {finding.kind for finding in report.findings} == {"damaged_head", "history"}
    assert [action.kind for action in repair(root, report)] == ["advice"]


def test_rows_are_made_from_manifests_that_fit(local: SmallRoot) -> None:
    version = latest_version(local.root, DATASET)
    whole = rows_from_manifests(local.root, version)
    assert whole == {name: row_of(local.units[f"download {name}"]) for name in "abc"}
    pending = SourceEntry("http://e", "e" * 64)
    listed = SourceEntry("http://f", "f" * 64, listing="2026-01-01")
    sources = {
        "a": replace(version.sources["a"], given='{"topic": "x"}'),
        "b": replace(version.sources["b"], video=DIGESTS["c"]),
        "c": replace(version.sources["c"], key=""),
        "e": pending,
        "f": listed,
    }
    assert rows_from_manifests(local.root, replace(version, sources=sources)) == {
        "a": {**whole["a"], "given": '{"topic": "x"}'}
    }


def test_a_finding_of_metadata_is_broken() -> None:
    assert Finding("damaged_metadata", "path", "words").is_broken
