"""The planner: which units a run needs, from its configuration and the newest data set version alone.

It imports neither Prefect nor anything heavy, and asks storage for no manifest: what a version names is
committed. Each stage has a function that plans it here and one in `flows.record` that records its outcomes in the
next version; both are pure. Units that an interrupted run committed without recording are found by the workers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flows.benchmarks import audit_unit, benchmark_units, proposal_units
from flows.failing import StageFailed as StageFailed
from flows.selection import SourceList
from storage.keys import KeyDocument, digest_json
from storage.versions import Failure, ShardEntry, Split, UnitEntry, Version, VideoEntry, reached_videos
from tasks.batch import Unit
from tasks.configuration import settings_text
from tasks.download.config import DownloadConfig
from tasks.download.hosts import host_of
from tasks.download.key import key_document as download_document
from tasks.download.redaction import redact
from tasks.evaluate.inputs import Inputs
from tasks.evaluate.key import report_document
from tasks.presets import RunConfig
from tasks.shard.compaction import small_shards
from tasks.shard.key import shard_document, triplets_document
from tasks.shard.split import leave_out, split_videos
from tasks.track.key import key_document as track_document
from tasks.train.config import TrainConfig
from tasks.train.folder import images_digest
from tasks.train.key import key_document as train_document
from tasks.train.objectives import samples_of

_BOUNDED = frozenset({"unknown", "time_limit", "extractor_broken"})
_VIDEOS_TOGETHER = 8  # of the torch estimator: a call on a GPU costs much the same for one video and for eight
SPLITS: tuple[Split, ...] = ("held_out", "train")


@dataclass(frozen=True)
class StagePlan:
    """What a stage will do: units to run, items found committed, and failures that are not tried again.

    `removed`: ids of sources that their list stopped naming; `returned`: those that it names again. `wanting`:
    videos whose bytes were dropped and are needed again. `note` says why a stage has nothing to do where that is
    not plain.
    """

    stage: str
    units: tuple[Unit, ...] = ()
    cached: tuple[str, ...] = ()
    failures: Mapping[str, Failure] | None = None
    removed: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    wanting: tuple[str, ...] = ()
    note: str = ""

    @property
    def total(self) -> int:
        return len(self.units) + len(self.cached) + len(self.failures or {})

    @property
    def is_idle(self) -> bool:
        """Whether the stage would change nothing."""
        return not (self.units or self.removed or self.returned or self.wanting)


@dataclass(frozen=True)
class ShardPlan:
    """The shard stage's plan: shards, the split they stand on, and the triplet index over all of them."""

    stage: StagePlan
    videos: Mapping[str, VideoEntry]
    shards: tuple[ShardEntry, ...]
    triplets: Unit | None


def plan_download(version: Version, given: SourceList, config: RunConfig, expand: bool = False) -> StagePlan:
    """A source is fetched unless the version holds its video, or a failure that is not to be tried again.

    `expand`: read the lists among them (playlists, feeds, ...) again.
    """
    units, cached, failures, returned = [], [], {}, []
    for source in given:
        document = download_document(config.download, source)
        location = str(document.inputs["location"])  # redacted
        entry = version.sources.get(source.id)
        if entry and entry.removed and given.origin:
            returned.append(location)
        failure = entry.failure if entry else None
        stands = entry is not None and entry.key == document.key
        is_read = entry is not None and entry.listing and not expand and location not in returned
        if entry and stands and not failure and (entry.video or is_read):
            cached.append(location)
        elif stands and failure and not is_tried_again(failure, config.download):
            failures[location] = failure
        else:
            work = "tasks.download.fetch:download_source"
            arguments = (source, config.download)
            again = entry is not None and not entry.key
            host = host_of(source.location)
            units.append(Unit(location, document, work, arguments, again, shared_files=True, host=host))
    removed = tuple(_no_longer_named(version, given, config))
    return StagePlan("download", tuple(units), tuple(cached), failures, removed, tuple(returned))


def is_tried_again(failure: Failure, config: DownloadConfig) -> bool:
    """Whether a source that failed is fetched again: its class says so, or a setting that it rests on has changed.

    What nobody can explain, or never ends, is tried `max_attempts` times.
    """
    if failure.settings and failure.settings != settings_text(config, json.loads(failure.settings)):
        return True
    if failure.kind == "transient" and (failure.reason not in _BOUNDED or failure.attempts < config.max_attempts):
        return True
    return config.retry == "all" or (failure.kind == config.retry and failure.kind != "transient")


def plan_track(
    version: Version, config: RunConfig, only: Collection[str] | None = None, only_failed: bool = False
) -> StagePlan:
    """Every video of the version's sources, once, whatever the number of its sources; or those in `only`.

    `only_failed`: what failed before, whatever its class, and nothing else.
    """
    units, cached, failures, wanting = [], [], {}, []
    lost = {one.video: one.failure for one in version.sources.values() if one.failure}
    for video in sorted(reached_videos(version) if only is None else reached_videos(version) & set(only)):
        document = track_document(config.track, video)
        entry = version.videos.get(video)
        failed = entry.failure if entry else None
        if only_failed and not failed:
            continue
        if entry is None or not stands(entry, document) or (failed and (only_failed or failed.kind == "transient")):
            failure = lost.get(video) if entry and entry.dropped else None
            if failure and failure.kind != "transient":
                failures[video] = failure  # it cannot be fetched again
            elif entry and entry.dropped:
                wanting.append(video)
            else:
                units.append(_track_unit(video, document, config))
        elif failed:
            failures[video] = failed
        else:
            cached.append(video)
    note = f"{len(wanting)} videos were dropped once tracked and must be fetched again first" if wanting else ""
    return StagePlan("track", tuple(units), tuple(cached), failures, wanting=tuple(wanting), note=note)


def plan_shard(version: Version, config: RunConfig) -> ShardPlan:
    """Keep the shards whose tracks are all still wanted; pack the other tracks into new ones.

    So a night's new videos make new shards. Where enough small ones stand already they are merged on the occasion:
    only then, since the triplet index, which names shards, is a new one anyway.
    """
    tracked = {video: entry for video, entry in version.videos.items() if entry.key and not entry.failure}
    # Those of removed sources have their say in groups, so that a copy of one never lands in the other split.
    reached = reached_videos(version)
    split = split_videos(tracked, config.shard, config.seed, reached)
    videos = {video: entry for video, entry in split.items() if video in reached}
    left = leave_out(videos, config.shard, {track for shard in version.shards for track in shard.tracks})
    wanted = {entry.key: entry.split for video, entry in videos.items() if entry.tracks and video not in left}
    kept = [shard for shard in version.shards if _is_wanted(shard, wanted, config)]
    packed = {key for shard in kept for key in shard.tracks}
    units, fresh = list[Unit](), list[ShardEntry]()
    for side in SPLITS:
        loose = [
            videos[v].key for v in sorted(videos) if wanted.get(videos[v].key) == side and videos[v].key not in packed
        ]
        for tracks in _chunks(loose, config.shard.videos_per_shard):
            document = shard_document(config.shard, side, tracks)
            item = f"{side} shard of {len(tracks)} videos"
            units.append(Unit(item, document, "tasks.shard.pack:pack_shard", (tracks, side, config.shard)))
            fresh.append(ShardEntry(document.key, side, tracks, pairs=0, recipe=document.recipe.digest))
    notes = [f"{number} videos left out: {why}" for why, number in sorted(Counter(left.values()).items())]
    if units:
        for parts in _small_shards(kept, config):
            unit, entry = _merged(parts, config)
            units.append(unit)
            fresh.append(entry)
            kept = [shard for shard in kept if shard not in parts]
            notes.append(f"{len(parts)} small shards become one")
    shards = tuple(sorted([*kept, *fresh], key=lambda shard: (shard.split, shard.key)))
    cached = [f"{shard.split} shard of {len(shard.tracks)} videos" for shard in kept]
    triplets = None
    if shards:
        packed = {track for shard in shards for track in shard.tracks}
        groups = {video: entry.group for video, entry in videos.items() if entry.key in packed}
        keys = tuple(shard.key for shard in shards)
        document = triplets_document(config.seed, keys, groups)
        if stands(version.units.get("triplets"), document):
            cached.append("triplet index")
        else:
            work = "tasks.shard.triplets:index_triplets"
            triplets = Unit("triplet index", document, work, (keys, groups, config.seed))
    stage = StagePlan("shard", tuple(units), tuple(cached), note=", ".join(notes))
    return ShardPlan(stage, videos, shards, triplets)


def plan_train(version: Version, config: RunConfig) -> StagePlan:
    """One training run over the version's triplet index, nothing where there are no negatives to train with; or over
    labelled images, whatever the version holds.

    Raises ValueError, in one line, where there are no such images.
    """
    if samples_of(config.train.objective) == "images":
        place = str(Path(config.train.images).expanduser().absolute())  # a worker may run elsewhere
        train = config.train.model_copy(update={"images": place})
        return _train_stage(version, config, images_digest(place), ("", train))
    triplets = version.units.get("triplets")
    reached = reached_videos(version)
    groups = {
        entry.group
        for video, entry in version.videos.items()
        if video in reached and entry.split == "train" and entry.tracks
    }
    if triplets is None or len(groups) < 2:
        return StagePlan("train", note=f"needs tracks of two different videos to train on, has {len(groups)}")
    return _train_stage(version, config, triplets.key, (triplets.key, config.train))


def _train_stage(version: Version, config: RunConfig, samples: str, arguments: tuple[str, TrainConfig]) -> StagePlan:
    """The stage with its one unit; `samples` as `tasks.train.key.key_document` takes it."""
    document = train_document(config.train, config.seed, samples)
    item = f"{config.train.network}, {config.train.objective}"
    if stands(version.units.get("train"), document):
        return StagePlan("train", cached=(item,))
    work = "tasks.train.launch:train_network"
    seen = {"seen": {"dataset": version.name, "version": version.number}}
    return StagePlan("train", (Unit(item, document, work, arguments, options=seen),))


def plan_evaluate(version: Version, config: RunConfig) -> StagePlan:
    """Region proposals where a benchmark needs them, the benchmarks over the version's checkpoint, the audit of the
    tracker, then the report over their scores."""
    train, triplets = version.units.get("train"), version.units.get("triplets")
    if train is None:
        return StagePlan("evaluate", note="there is no checkpoint yet")
    if triplets is None:
        return StagePlan("evaluate", note="needs tracks to measure the network on, has none")
    keys: dict[str, str] = {}
    units: list[Unit] = []
    cached: list[str] = []
    proposals = tuple(_sort_in(version, unit_name(unit), unit, units, cached) for unit in proposal_units(config))
    judged = Inputs(train=train.key, triplets=triplets.key, proposals=proposals, architecture=config.train.network)
    for unit in benchmark_units(config, judged):
        keys[unit.item] = _sort_in(version, f"evaluate/{unit.item}", unit, units, cached)
    audit = _sort_in(version, "audit", audit_unit(config), units, cached) if config.evaluate.audit_videos else ""
    report = _report_unit(version, config, train.key, triplets.key, keys, audit)
    _sort_in(version, "evaluate/report", report, units, cached)
    return StagePlan("evaluate", tuple(units), tuple(cached))


def unit_name(unit: Unit) -> str:
    """What `Version.units` calls a unit that reduces over the data set, or asks nothing of it."""
    match unit.document.stage:
        case "shard":
            return "triplets"
        case "train" | "audit" as stage:
            return stage
        case stage:
            return f"{stage}/{unit.item}"


def plan_run(version: Version, given: SourceList, config: RunConfig) -> list[StagePlan]:
    """All five stages on the version as it stands; a stage after one with units to run is planned again then."""
    shard = plan_shard(version, config)
    return [
        plan_download(version, given, config),
        plan_track(version, config),
        shard_stage(shard),
        plan_train(version, config),
        plan_evaluate(version, config),
    ]


def shard_stage(plan: ShardPlan) -> StagePlan:
    """The shard stage's plan with the triplet index among its units."""
    return replace(plan.stage, units=plan.stage.units + ((plan.triplets,) if plan.triplets else ()))


def is_done(plans: Sequence[StagePlan]) -> bool:
    """Whether a run would do nothing: there are sources, and no unit is missing."""
    return plans[0].total > 0 and all(plan.is_idle for plan in plans)


def stands(entry: VideoEntry | ShardEntry | UnitEntry | None, document: KeyDocument) -> bool:
    """Whether an entry's unit is the document's, or was accepted for it."""
    return entry is not None and document.key in (entry.key, entry.accepted)


def judge(stage: str, kept: int, failures: Iterable[Failure], config: RunConfig) -> None:
    """Raise StageFailed where the stage has a floor (`min_kept_share`) and kept less than it."""
    floor = {"download": config.download.min_kept_share, "track": config.track.min_kept_share}.get(stage, 0.0)
    reasons = Counter(failure.reason for failure in failures)
    total = kept + reasons.total()
    if total and kept / total < floor:
        told = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
        raise StageFailed(f"{stage}: kept {kept} of {total}, below the floor of {floor:.0%}: {told}")


def all_failures(version: Version) -> dict[str, Failure]:
    """Every failure of the version's wanted sources, by location with secrets left out."""
    wanted = [entry for entry in version.sources.values() if not entry.removed]
    of_sources = {redact(entry.location): entry.failure for entry in wanted if entry.failure}
    failed = {video: entry.failure for video, entry in version.videos.items() if entry.failure}
    return of_sources | {redact(one.location): failed[one.video] for one in wanted if one.video and one.video in failed}


def _no_longer_named(version: Version, given: SourceList, config: RunConfig) -> list[str]:
    """Ids of wanted sources that the same list named before and does not name any more."""
    if not given.origin or not given.whole or config.download.keep_removed:
        return []
    named = {source.id for source in given.sources}
    return [
        source
        for source, entry in version.sources.items()
        if given.origin in entry.origins and not entry.removed and source not in named
    ]


def _track_unit(video: str, document: KeyDocument, config: RunConfig) -> Unit:
    size = config.execution.videos_together or (_VIDEOS_TOGETHER if config.track.estimator == "torch" else 1)
    return Unit(
        video,
        document,
        "tasks.track.video:track_video",
        (video, config.track),
        options={"device": config.execution.device},
        group_work="tasks.track.video:track_videos",
        group_size=size,
    )


def _report_unit(
    version: Version, config: RunConfig, train: str, triplets: str, keys: Mapping[str, str], audit: str
) -> Unit:
    reached = reached_videos(version)
    tracks = tuple(
        entry.key for video, entry in sorted(version.videos.items()) if video in reached and not entry.failure
    )
    failures = tuple((item, failure) for item, failure in sorted(all_failures(version).items()))
    outcomes = digest_json([[item, asdict(failure)] for item, failure in failures])
    network = config.train.network
    document = report_document(config.seed, train, triplets, keys, tracks, outcomes, audit, network)
    arguments = (version.name, train, triplets, dict(keys), tracks, failures, audit)
    return Unit("report", document, "tasks.evaluate.report:write_report", arguments)


def _sort_in(version: Version, name: str, unit: Unit, units: list[Unit], cached: list[str]) -> str:
    """Put a unit to those to run or to those found; returns the key that later units go by."""
    entry = version.units.get(name)
    if entry is not None and stands(entry, unit.document):
        cached.append(unit.item)
        return entry.key
    units.append(unit)
    return unit.key


def _is_wanted(shard: ShardEntry, wanted: Mapping[str, Split | None], config: RunConfig) -> bool:
    same_split = all(wanted.get(track) == shard.split for track in shard.tracks)
    return same_split and stands(shard, shard_document(config.shard, shard.split, shard.tracks))


def _small_shards(shards: Sequence[ShardEntry], config: RunConfig) -> Iterable[tuple[ShardEntry, ...]]:
    for side in SPLITS:
        yield from small_shards((one for one in shards if one.split == side), config.shard.compact_bytes)


def _merged(parts: Sequence[ShardEntry], config: RunConfig) -> tuple[Unit, ShardEntry]:
    """One shard of the tracks of several, in their order. Its key is that of a shard packed from these tracks."""
    side, tracks = parts[0].split, tuple(track for shard in parts for track in shard.tracks)
    document = shard_document(config.shard, side, tracks)
    size = sum(shard.size for shard in parts) / 1e6
    item = f"{side} shard of {len(tracks)} videos, merged from {len(parts)} ({size:.1f} MB)"
    options = {"parts": tuple(shard.key for shard in parts)}
    unit = Unit(item, document, "tasks.shard.pack:pack_shard", (tracks, side, config.shard), options=options)
    return unit, ShardEntry(document.key, side, tracks, pairs=0, recipe=document.recipe.digest)


def _chunks(keys: Sequence[str], size: int) -> Iterable[tuple[str, ...]]:
    return (tuple(keys[start : start + size]) for start in range(0, len(keys), size))
