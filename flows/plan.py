"""The planner: which units a run needs, from its configuration and the newest data set version alone.

It imports neither Prefect nor anything heavy, and asks storage for no manifest: what a version names is
committed. Each stage has a function that plans it and one that records its outcomes in the next version;
both are pure. Units that an interrupted run committed without recording are found by the workers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from storage.keys import digest_json
from storage.versions import Failure, ShardEntry, SourceEntry, Split, Version, VideoEntry
from tasks.batch import Outcome, Unit
from tasks.download.key import key_document as download_document
from tasks.download.redaction import redact
from tasks.download.sources import Source, source_at
from tasks.evaluate.key import NEEDS_LABELS, labels_digest, report_document
from tasks.evaluate.key import key_document as benchmark_document
from tasks.presets import RunConfig
from tasks.shard.key import shard_document, triplets_document
from tasks.shard.split import split_videos
from tasks.track.key import key_document as track_document
from tasks.train.key import key_document as train_document


class StageFailed(RuntimeError):
    """A stage whose kept share fell below its floor; the message is one line with the reasons."""


@dataclass(frozen=True)
class StagePlan:
    """What a stage will do: units to run, items found committed, and failures that are not tried again.

    `note` says why a stage has nothing to do where that is not plain.
    """

    stage: str
    units: tuple[Unit, ...] = ()
    cached: tuple[str, ...] = ()
    failures: Mapping[str, Failure] | None = None
    note: str = ""

    @property
    def total(self) -> int:
        return len(self.units) + len(self.cached) + len(self.failures or {})


@dataclass(frozen=True)
class ShardPlan:
    """The shard stage's plan: shards, the split they stand on, and the triplet index over all of them."""

    stage: StagePlan
    videos: Mapping[str, VideoEntry]
    shards: tuple[ShardEntry, ...]
    triplets: Unit | None


def plan_download(version: Version, sources: Sequence[Source], config: RunConfig) -> StagePlan:
    """A source is fetched unless the version holds its video, or a failure that is not transient."""
    units, cached, failures = [], [], {}
    for source in sources:
        document = download_document(config.download, source)
        entry = version.sources.get(source.id)
        if entry and entry.key == document.key and entry.video:
            cached.append(redact(source.location))
        elif entry and entry.key == document.key and entry.failure and entry.failure.kind != "transient":
            failures[redact(source.location)] = entry.failure
        else:
            work = "tasks.download.fetch:download_source"
            units.append(Unit(redact(source.location), document, work, (source, config.download)))
    return StagePlan("download", tuple(units), tuple(cached), failures)


def record_download(
    version: Version, sources: Sequence[Source], config: RunConfig, outcomes: Mapping[str, Outcome]
) -> Version:
    """`outcomes` by key; sources without one keep their entry."""
    entries = dict(version.sources)
    for source in sources:
        if outcome := outcomes.get(download_document(config.download, source).key):
            failure = _counted(outcome.failure, entries.get(source.id))
            video = str(outcome.facts["video"]) if failure is None else None
            entries[source.id] = SourceEntry(source.location, outcome.key, video, failure)
    return replace(version, sources=entries)


def known_sources(version: Version) -> list[Source]:
    """The sources that the data set was built from."""
    return [source_at(entry.location) for entry in version.sources.values()]


def plan_track(version: Version, config: RunConfig) -> StagePlan:
    """Every video of the version's sources, once, whatever the number of its sources."""
    units, cached, failures = [], [], {}
    for video in sorted({entry.video for entry in version.sources.values() if entry.video}):
        document = track_document(config.track, video)
        entry = version.videos.get(video)
        if entry is None or entry.key != document.key or (entry.failure and entry.failure.kind == "transient"):
            units.append(Unit(video, document, "tasks.track.video:track_video", (video, config.track)))
        elif entry.failure:
            failures[video] = entry.failure
        else:
            cached.append(video)
    return StagePlan("track", tuple(units), tuple(cached), failures)


def record_track(version: Version, outcomes: Mapping[str, Outcome]) -> Version:
    """A video keeps the group and split that it was given once."""
    entries = dict(version.videos)
    for video, outcome in ((outcome.item, outcome) for outcome in outcomes.values()):
        standing = entries.get(video)
        entries[video] = VideoEntry(
            key=outcome.key,
            tracks=outcome.counts.get("tracks", 0),
            signature=tuple(str(part) for part in _list(outcome.facts.get("signature"))),
            group=standing.group if standing else "",
            split=standing.split if standing else None,
            failure=_counted(outcome.failure, standing),
        )
    return replace(version, videos=entries)


def plan_shard(version: Version, config: RunConfig) -> ShardPlan:
    """Keep the shards whose tracks are all still wanted; pack the other tracks into new ones.

    So a night's new videos make new shards and touch no old one.
    """
    reached = {entry.video for entry in version.sources.values() if entry.video}
    tracked = {video: entry for video, entry in version.videos.items() if video in reached and entry.failure is None}
    videos = split_videos(tracked, config.shard, config.seed)
    wanted = {entry.key: entry.split for entry in videos.values() if entry.tracks and entry.split}
    kept = [shard for shard in version.shards if _stands(shard, wanted, config)]
    packed = {key for shard in kept for key in shard.tracks}
    units, fresh = [], []
    for split in ("held_out", "train"):
        loose = [
            videos[v].key for v in sorted(videos) if wanted.get(videos[v].key) == split and videos[v].key not in packed
        ]
        for tracks in _chunks(loose, config.shard.videos_per_shard):
            document = shard_document(config.shard, split, tracks)
            item = f"{split} shard of {len(tracks)} videos"
            units.append(Unit(item, document, "tasks.shard.pack:pack_shard", (tracks, split, config.shard)))
            fresh.append(ShardEntry(document.key, split, tracks, pairs=0))
    shards = tuple(sorted([*kept, *fresh], key=lambda shard: (shard.split, shard.key)))
    cached = [f"{shard.split} shard of {len(shard.tracks)} videos" for shard in kept]
    triplets = None
    if shards:
        groups = {video: entry.group for video, entry in videos.items()}
        keys = tuple(shard.key for shard in shards)
        document = triplets_document(config.seed, keys, groups)
        if version.units.get("triplets") == document.key:
            cached.append("triplet index")
        else:
            work = "tasks.shard.triplets:index_triplets"
            triplets = Unit("triplet index", document, work, (keys, groups, config.seed))
    return ShardPlan(StagePlan("shard", tuple(units), tuple(cached)), videos, shards, triplets)


def record_shard(version: Version, plan: ShardPlan, outcomes: Mapping[str, Outcome], triplets: str | None) -> Version:
    """`outcomes` by key; `triplets` is the index unit's key."""
    shards = tuple(
        replace(shard, pairs=outcomes[shard.key].counts["pairs"]) if shard.key in outcomes else shard
        for shard in plan.shards
    )
    units = {**version.units, "triplets": triplets} if triplets else version.units
    return replace(version, videos={**version.videos, **plan.videos}, shards=shards, units=units)


def plan_train(version: Version, config: RunConfig) -> StagePlan:
    """One training run over the version's triplet index; nothing where there are no negatives to train with."""
    triplets = version.units.get("triplets")
    groups = {entry.group for entry in version.videos.values() if entry.split == "train" and entry.tracks}
    if triplets is None or len(groups) < 2:
        return StagePlan("train", note=f"needs tracks of two different videos to train on, has {len(groups)}")
    document = train_document(config.train, config.seed, triplets)
    item = f"{config.train.network}, {config.train.objective}"
    if version.units.get("train") == document.key:
        return StagePlan("train", cached=(item,))
    return StagePlan("train", (Unit(item, document, "tasks.train.launch:train_network", (triplets, config.train)),))


def plan_evaluate(version: Version, config: RunConfig) -> StagePlan:
    """The benchmarks over the version's checkpoint, then the report over their scores."""
    labels = labels_digest(config.evaluate.labels) if config.evaluate.labels else ""
    train, triplets = version.units.get("train"), version.units.get("triplets")
    if train is None or triplets is None:
        return StagePlan("evaluate", note="there is no checkpoint yet")
    keys: dict[str, str] = {}
    units: list[Unit] = []
    cached: list[str] = []
    for name in config.evaluate.benchmarks:
        if name in NEEDS_LABELS and not labels:
            continue
        document = benchmark_document(name, config.evaluate, config.seed, train, triplets, labels)
        keys[name] = document.key
        arguments = (name, train, triplets, config.evaluate.labels, config.evaluate, config.seed)
        unit = Unit(name, document, "tasks.evaluate.benchmark:run_benchmark", arguments)
        _sort_in(version, f"evaluate/{name}", unit, units, cached)
    _sort_in(version, "evaluate/report", _report_unit(version, config, train, triplets, keys), units, cached)
    return StagePlan("evaluate", tuple(units), tuple(cached))


def record_units(version: Version, keys: Mapping[str, str]) -> Version:
    """Name the units that reduce over the data set: "train", "evaluate/<benchmark>"."""
    return replace(version, units={**version.units, **keys})


def plan_run(version: Version, sources: Sequence[Source], config: RunConfig) -> list[StagePlan]:
    """All five stages on the version as it stands; a stage after one with units to run is planned again then."""
    shard = plan_shard(version, config)
    units = shard.stage.units + ((shard.triplets,) if shard.triplets else ())
    return [
        plan_download(version, sources, config),
        plan_track(version, config),
        replace(shard.stage, units=units),
        plan_train(version, config),
        plan_evaluate(version, config),
    ]


def is_done(plans: Sequence[StagePlan]) -> bool:
    """Whether a run would do nothing: there are sources, and no unit is missing."""
    return plans[0].total > 0 and not any(plan.units for plan in plans)


def judge(stage: str, kept: int, failures: Iterable[Failure], config: RunConfig) -> None:
    """Raise StageFailed where the stage has a floor (`min_kept_share`) and kept less than it."""
    floor = {"download": config.download.min_kept_share, "track": config.track.min_kept_share}.get(stage, 0.0)
    reasons = Counter(failure.reason for failure in failures)
    total = kept + reasons.total()
    if total and kept / total < floor:
        told = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
        raise StageFailed(f"{stage}: kept {kept} of {total}, below the floor of {floor:.0%}: {told}")


def all_failures(version: Version) -> dict[str, Failure]:
    """Every failure of the version, by its source's location with secrets left out."""
    of_sources = {redact(entry.location): entry.failure for entry in version.sources.values() if entry.failure}
    location = {entry.video: redact(entry.location) for entry in version.sources.values() if entry.video}
    of_videos = {location.get(video, video): entry.failure for video, entry in version.videos.items() if entry.failure}
    return of_sources | of_videos


def _report_unit(version: Version, config: RunConfig, train: str, triplets: str, keys: Mapping[str, str]) -> Unit:
    tracks = tuple(entry.key for _, entry in sorted(version.videos.items()) if entry.failure is None)
    failures = tuple((item, failure) for item, failure in sorted(all_failures(version).items()))
    outcomes = digest_json([[item, asdict(failure)] for item, failure in failures])
    document = report_document(config.seed, train, triplets, keys, tracks, outcomes)
    arguments = (version.name, train, triplets, dict(keys), tracks, failures)
    return Unit("report", document, "tasks.evaluate.report:write_report", arguments)


def _sort_in(version: Version, name: str, unit: Unit, units: list[Unit], cached: list[str]) -> None:
    if version.units.get(name) == unit.key:
        cached.append(unit.item)
    else:
        units.append(unit)


def _stands(shard: ShardEntry, wanted: Mapping[str, Split | None], config: RunConfig) -> bool:
    same_split = all(wanted.get(track) == shard.split for track in shard.tracks)
    return same_split and shard_document(config.shard, shard.split, shard.tracks).key == shard.key


def _counted(failure: Failure | None, before: SourceEntry | VideoEntry | None) -> Failure | None:
    """The failure with the attempts that came before counted in."""
    if failure is None or before is None or before.failure is None:
        return failure
    return replace(failure, attempts=before.failure.attempts + failure.attempts)


def _chunks(keys: Sequence[str], size: int) -> Iterable[tuple[str, ...]]:
    return (tuple(keys[start : start + size]) for start in range(0, len(keys), size))


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else []
