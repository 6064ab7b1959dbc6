"""Why each unit will run: the difference between its key document and that of the unit which the version holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from flows.plan import (
    StagePlan,
    plan_download,
    plan_evaluate,
    plan_shard,
    plan_track,
    plan_train,
    shard_stage,
    unit_name,
)
from flows.record import record_download, record_shard, record_track, record_units, unit_entry
from flows.selection import SourceList
from storage.keys import JSON, recipe_differences
from storage.manifests import read_manifest
from storage.root import Root
from storage.versions import Failure, SourceEntry, Version, VideoEntry
from tasks.batch import Outcome, Unit
from tasks.download.redaction import redact
from tasks.presets import RunConfig

_UNNAMED = "of a version of Tritrack that kept no recipe"


@dataclass(frozen=True)
class Reason:
    """Why some units run, in words; how many, and one of them."""

    text: str
    number: int
    example: str


@dataclass(frozen=True)
class StageExplanation:
    """One stage's units to run, by reason, beside those that are cached or failed for good.

    `expected`: an earlier stage has units to run, so this is the plan that stands if each of them succeeds.
    """

    stage: str
    to_run: int
    cached: int
    failed: int
    reasons: tuple[Reason, ...]
    note: str = ""
    expected: bool = False

    def to_json(self) -> dict[str, JSON]:
        return dict(asdict(self))


def explain_run(root: Root, version: Version, given: SourceList, config: RunConfig) -> list[StageExplanation]:
    """All five stages, in order; what follows on work that is still to do is told as it will be if that succeeds.

    Reads no manifest but those of the units that reduce over the data set: entries carry their recipe.
    """
    told, is_expected = [], False
    for plan in _projected(version, given, config):
        told.append(replace(explain_stage(root, version, plan), expected=is_expected))
        is_expected = is_expected or not plan.is_idle
    return told


def explain_stage(root: Root, version: Version, plan: StagePlan) -> StageExplanation:
    """One stage's plan on the version that it was made on."""
    grouped: dict[str, list[str]] = {}
    for unit in plan.units:
        grouped.setdefault(_why(root, version, unit), []).append(unit.item)
    reasons = [Reason(text, len(items), items[0]) for text, items in grouped.items()]
    if plan.removed:
        example = redact(version.sources[plan.removed[0]].location)
        reasons.append(Reason("removed: their list does not name them any more", len(plan.removed), example))
    if plan.returned:
        reasons.append(Reason("returned: their list names them again", len(plan.returned), plan.returned[0]))
    if plan.wanting:
        reasons.append(Reason("waiting: their bytes were dropped once tracked", len(plan.wanting), plan.wanting[0]))
    reasons.sort(key=lambda reason: -reason.number)
    failures = len(plan.failures or {})
    return StageExplanation(plan.stage, len(plan.units), len(plan.cached), failures, tuple(reasons), plan.note)


def _projected(version: Version, given: SourceList, config: RunConfig) -> Iterator[StagePlan]:
    """Each stage's plan, where every unit before it is taken to succeed and every new video to give tracks."""
    plan = plan_download(version, given, config)
    videos = {unit.key: _imagined_video(version, unit) for unit in plan.units}
    version = record_download(version, given, config, videos, plan.removed)
    yield plan
    plan = plan_track(version, config)
    outcomes = {unit.key: _imagined_tracks(version, unit) for unit in plan.units}
    version = record_track(version, outcomes, [unit.document.recipe for unit in plan.units[:1]])
    yield plan
    shard = plan_shard(version, config)
    plan = shard_stage(shard)
    version = record_shard(version, shard, {unit.key: _imagined_unit(unit) for unit in plan.units})
    yield plan
    plan = plan_train(version, config)
    version = record_units(version, {unit.document.stage: unit_entry(_imagined_unit(unit)) for unit in plan.units})
    yield plan
    yield plan_evaluate(version, config)


def _imagined_video(version: Version, unit: Unit) -> Outcome:
    """The video that a source gave before, or one of its own."""
    source = str(unit.document.inputs["source"])
    standing = version.sources.get(source)
    return Outcome(unit.item, unit.key, facts={"video": standing.video if standing and standing.video else source})


def _imagined_tracks(version: Version, unit: Unit) -> Outcome:
    standing = version.videos.get(unit.item)
    tracks = standing.tracks if standing and not standing.failure else 1
    signature: list[JSON] = [standing.signature] if standing else []
    return Outcome(unit.item, unit.key, counts={"tracks": tracks}, facts={"signature": signature})


def _imagined_unit(unit: Unit) -> Outcome:
    return Outcome(unit.item, unit.key, counts={"pairs": 0})


def _why(root: Root, version: Version, unit: Unit) -> str:
    match unit.document.stage, unit.item:
        case "download", _:
            return _why_download(version, unit)
        case "track", _:
            return _why_track(version, unit)
        case "shard", item if item != "triplet index":
            return _why_shard(version, unit)
    return _why_single(root, version, unit)


def _why_download(version: Version, unit: Unit) -> str:
    entry = version.sources.get(str(unit.document.inputs["source"]))
    if told := _why_item(version, unit, entry, "new source", "its video is gone and needed again"):
        return told
    assert entry is not None, "told as new otherwise"
    return _tried_again(entry.failure) if entry.key == unit.key else "its file has changed (size or time)"


def _why_track(version: Version, unit: Unit) -> str:
    entry = version.videos.get(unit.item)
    told = _why_item(version, unit, entry, "new video", "its tracks were broken or lost")
    return told or _tried_again(entry.failure if entry else None)


def _why_item(version: Version, unit: Unit, entry: SourceEntry | VideoEntry | None, fresh: str, lost: str) -> str:
    """Why the unit of one source or video runs, where its entry and its recipe tell."""
    if entry is None:
        return fresh
    return _changes(version, entry.recipe, unit) if entry.key else lost


def _tried_again(failure: Failure | None) -> str:
    return f"tried again after {failure.reason}" if failure else "not made yet"


def _why_shard(version: Version, unit: Unit) -> str:
    tracks = unit.document.inputs["tracks"]
    assert isinstance(tracks, Sequence), "a shard's inputs are track keys"
    packed = {track: shard for shard in version.shards for track in shard.tracks}
    standing = [packed[track] for track in map(str, tracks) if track in packed]
    if not standing:
        return "packs tracks that are in no shard yet"
    if "parts" in unit.options:
        return "merges small shards, since enough of a size came together"
    if changes := _changes(version, standing[0].recipe, unit):
        return changes
    return "packed again, since tracks of its shard were made again, removed or moved"


def _why_single(root: Root, version: Version, unit: Unit) -> str:
    """Of a unit that reduces over the data set: its manifest tells what it was made from."""
    name = unit_name(unit)
    entry = version.units.get(name)
    if entry is None:
        return "not made yet"
    manifest = read_manifest(root, unit.document.stage, entry.key)
    if manifest is None:
        return "its commit is gone"
    recipe, inputs = manifest.document.get("recipe"), manifest.document.get("inputs")
    if not isinstance(recipe, Mapping) or not isinstance(inputs, Mapping):
        return _UNNAMED
    changes = recipe_differences(recipe, unit.document.recipe.to_json())
    changes += [f"input: {name}" for name in unit.document.inputs if unit.document.inputs[name] != inputs.get(name)]
    return "; ".join(changes) or "new"


def _changes(version: Version, recipe: str, unit: Unit) -> str:
    """What changed since an entry's recipe, or nothing where it is the unit's."""
    if recipe == unit.document.recipe.digest:
        return ""
    before = version.recipes.get(recipe)
    if not isinstance(before, Mapping):
        return _UNNAMED
    return "; ".join(recipe_differences(before, unit.document.recipe.to_json()))
