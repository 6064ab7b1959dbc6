"""Sources that list others, objects of stores, and what a site says before its bytes are fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from storage.manifests import Manifest
from storage.root import Root
from tasks.download.config import DownloadConfig
from tasks.download.fetch import download_source
from tasks.download.key import key_document
from tasks.download.sources import source_at
from tasks.records import Dropped, Listing

if TYPE_CHECKING:
    from tests.tasks.download.conftest import Site

BASE: dict[str, Any] = {
    "allow_hosts": ("127.0.0.1",), "retries": 0, "timeout_seconds": 5, "min_free_bytes": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITRACK_SCRATCH", str(tmp_path / "scratch"))


def fetch(root: Root, location: str, given: str = "", **changes: Any) -> Manifest | Listing:
    source, config = source_at(location, given), DownloadConfig(**{**BASE, **changes})
    return download_source(root, source, config, key_document(config, source))


def drop(root: Root, location: str, given: str = "", **changes: Any) -> Dropped:
    with pytest.raises(Dropped) as caught:
        fetch(root, location, given, **changes)
    assert root.names("") == []
    return caught.value


def feed(*links: str) -> str:
    items = "".join(f"<item><title>film {n}</title><link>{link}</link></item>" for n, link in enumerate(links))
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>Films</title>{items}</channel></rss>'


def test_a_feed_gives_its_entries_and_no_bytes(root: Root, site: Site) -> None:
    links = [f"{site.url}/file/{name}" for name in ("good.mp4", "other.mp4")]
    site.texts["feed.xml"] = feed(*links, links[0])
    listing = fetch(root, f"{site.url}/text/feed.xml")
    assert isinstance(listing, Listing)
    assert (listing.title, listing.complete) == ("Films", True)
    assert [location for location, _ in listing.entries] == sorted(links)
    assert json.loads(listing.entries[1][1])["title"] == "film 1"
    assert not any(request.startswith("/file/") for request in site.requests)
    assert root.names("") == []


def test_a_list_names_nothing_but_the_web(root: Root, site: Site) -> None:
    good = f"{site.url}/file/good.mp4"
    site.texts["feed.xml"] = feed("file:///etc/passwd", "/etc/passwd", "s3://bucket/a.mp4", "ytsearch5:x", good)
    listing = fetch(root, f"{site.url}/text/feed.xml")
    assert isinstance(listing, Listing)
    assert [location for location, _ in listing.entries] == [good]


def test_a_long_list_is_cut_and_says_so(root: Root, site: Site) -> None:
    site.texts["feed.xml"] = feed(*(f"{site.url}/file/{n:02}.mp4" for n in range(20)))
    listing = fetch(root, f"{site.url}/text/feed.xml", max_listed=7)
    assert isinstance(listing, Listing)
    assert (len(listing.entries), listing.complete) == (7, False)


def test_an_empty_list_is_tried_again(root: Root, site: Site) -> None:
    site.texts["feed.xml"] = feed()
    outcome = drop(root, f"{site.url}/text/feed.xml")
    assert (outcome.kind, outcome.reason) == ("transient", "empty_list")


def test_retry_after_reaches_the_outcome(root: Root, site: Site) -> None:
    outcome = drop(root, f"{site.url}/busy?after=120")
    assert (outcome.kind, outcome.reason, outcome.retry_after) == ("transient", "rate_limited", 120.0)


@pytest.mark.parametrize("given", ['{"duration_seconds":900}', '{"age_limit":18}', '{"licence":"all rights reserved"}'])
def test_what_the_list_says_is_enough_for_a_filter(root: Root, site: Site, given: str) -> None:
    config = {"max_seconds": 600, "max_age_limit": 16, "licences": ("CC BY", "all")}
    config["licences"] = ("CC BY",) if "licence" in given else ()
    outcome = drop(root, f"{site.url}/file/good.mp4", given, **config)
    assert outcome.reason.startswith("filtered_")


def test_what_the_site_does_not_say_is_judged_on_the_bytes(root: Root, site: Site, clips: Path) -> None:
    for location in (f"{site.url}/file/good.mp4", str(clips / "good.mp4")):
        outcome = drop(root, location, min_seconds=5)
        assert (outcome.reason, outcome.settings) == ("filtered_duration", ("min_seconds",))


def test_an_object_is_fetched_where_its_store_is_allowed(root: Root, clips: Path) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/films/good.mp4", (clips / "good.mp4").read_bytes())
    try:
        location = "memory://films/good.mp4"
        outcome = drop(root, location)
        assert (outcome.reason, outcome.settings) == ("store_not_allowed", ("allow_stores",))
        assert drop(root, location, allow_stores=("memory://films",), max_bytes=10).reason == "too_large"
        absent = drop(root, "memory://films/absent.mp4", allow_stores=("memory://films",))
        assert (absent.kind, absent.reason) == ("permanent", "missing_object")
        manifest = fetch(root, location, '{"licence":"CC0"}', allow_stores=("memory://films",))
        assert isinstance(manifest, Manifest)
        assert root.read_bytes(manifest.files["video.bin"].path) == (clips / "good.mp4").read_bytes()
        assert (manifest.facts["extractor"], manifest.facts["licence"]) == ("object", "CC0")
    finally:
        store.rm("/films", recursive=True)
