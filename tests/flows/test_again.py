"""`from_stage`, `only_failed` and `force`: what a user asks for beside what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.plan import plan_download, plan_track
from flows.selection import failed_sources, known_sources
from storage.manifests import require_manifest
from storage.root import open_root
from storage.versions import Failure, Version, latest_version, unit_keys
from tests.flows.imagined import chosen, imagined_run, imagined_sources, imagined_video

CONFIG = chosen()
_FAILURE = Failure("track", "poison", "worker_died", "it died", 2, "2026-01-01T00:00:00+00:00")


@pytest.fixture(scope="module")
def imagined() -> Version:
    """Eight tracked videos, of which two have failed for good since."""
    version, _ = imagined_run(Version("night"), imagined_sources(*range(8)), CONFIG)
    failed = {imagined_video(number) for number in (2, 5)}
    videos = {
        video: replace(entry, failure=_FAILURE) if video in failed else entry for video, entry in version.videos.items()
    }
    return replace(version, videos=videos)


def test_only_failed_tracks_what_failed_for_good_and_nothing_else(imagined: Version) -> None:
    usual = plan_track(imagined, CONFIG)
    assert (len(usual.units), len(usual.cached), len(usual.failures or {})) == (0, 6, 2)
    plan = plan_track(imagined, CONFIG, only_failed=True)
    assert {unit.item for unit in plan.units} == {imagined_video(2), imagined_video(5)}
    assert (plan.cached, plan.failures) == ((), {})


def test_only_failed_fetches_what_failed_and_retires_nothing(imagined: Version) -> None:
    broken, *_ = imagined.sources
    sources = {
        source: replace(entry, failure=replace(_FAILURE, stage="download")) if source == broken else entry
        for source, entry in imagined.sources.items()
    }
    version = replace(imagined, sources=sources)
    given = failed_sources(version, imagined_sources(*range(4)))
    assert {source.id for source in given} <= {broken}
    given = failed_sources(version, known_sources(version))
    config = CONFIG.model_copy(update={"download": CONFIG.download.model_copy(update={"retry": "all"})})
    plan = plan_download(version, given, config)
    assert [str(unit.document.inputs["source"]) for unit in plan.units] == [broken]
    assert plan.removed == ()


@pytest.mark.slow
def test_a_forced_run_makes_its_stages_again_and_no_earlier_one(
    harness: None, clips: Path, tmp_path: Path, quick: list[str]
) -> None:
    root = open_root(str(tmp_path / "root"))
    call = _caller(root.url, clips, [*quick, "--set", "evaluate.audit_videos=1"])
    call("run")
    first = latest_version(root, "default")
    made = {unit: require_manifest(root, *unit).created for unit in unit_keys(first)}
    call("run", "--from-stage", "train", "--force")
    again = latest_version(root, "default")
    assert set(unit_keys(again)) == set(made), "the same keys"
    since = {unit: require_manifest(root, *unit).created for unit in made}
    forced = {stage for (stage, key), created in since.items() if created > made[stage, key]}
    assert forced == {"train", "evaluate", "audit"}
    assert [unit for unit in made if unit[0] in forced and since[unit] <= made[unit]] == []
    told = call("run", "--from-stage", "shard").output
    assert "download" not in told, "a stage that is left out has no row"
    assert "│ shard    │ 0         │ 3" in told


def _caller(root: str, clips: Path, quick: list[str]) -> Callable[..., Result]:
    def call(*arguments: str) -> Result:
        command, *more = arguments
        done = CliRunner().invoke(app, [command, "--root", root, "--sources", str(clips), *quick, *more])
        assert done.exit_code == 0, done.exception or done.output
        return done

    return call
