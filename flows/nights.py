"""What a night did, measured from the data set before and after it, and how its record is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from flows.judgement import KEPT, TRACKED
from flows.retraining import count_new_pairs
from storage.concurrency import in_threads
from storage.keys import digest_json
from storage.manifests import read_manifest
from storage.nights import Night, read_nights
from storage.root import Root, RootError, open_root
from storage.versions import SourceEntry, Version, VideoEntry, dataset_names
from tasks.configuration import key_parameters
from tasks.presets import RunConfig

if TYPE_CHECKING:
    from rich.console import Console

# Fields of the download section that change what is kept of the same sources.
_KEEPING = (
    "max_height_px", "format", "max_bytes", "min_seconds", "max_seconds", "min_height_px", "licences", "max_age_limit",
    "max_pixels", "allow_hosts", "allow_stores", "retry",
)  # fmt: skip
_SHOWN_MARKDOWN = 30
_BARS = "▁▂▃▄▅▆▇█"


def measure_night(root: Root, before: Version, after: Version, night: Night) -> Night:
    """The night with what it did to the data set: outcomes, tombstones, tracks and pairs.

    `before` is the version on which the night began, `after` the newest one. What another run did to the data set
    meanwhile counts too. Reads the manifest of each video that was tracked. Raises RootError.
    """
    ids = [source for source, entry in after.sources.items() if _is_tried(before.sources.get(source), entry)]
    reasons = Counter(reason for source in ids if (reason := _dropped(after, after.sources[source])))
    gone = {source for source, entry in before.sources.items() if entry.removed}
    now_gone = {source for source, entry in after.sources.items() if entry.removed}
    fresh = [entry for video, entry in after.videos.items() if _is_tracked(before.videos.get(video), entry)]
    minutes = list(in_threads(lambda entry: _minutes(root, entry), fresh))
    return replace(
        night,
        version_before=before.number,
        version=after.number,
        tried=len(ids),
        kept=len(ids) - reasons.total(),
        dropped=dict(sorted(reasons.items())),
        removed=len(now_gone - gone),
        returned=len(gone - now_gone),
        videos=len(fresh),
        tracks=sum(entry.tracks for entry in fresh),
        minutes=round(sum(minutes), 3),
        dispersion=_dispersion([entry.tracks for entry in fresh], minutes),
        pairs=sum(shard.pairs for shard in after.shards),
        new_pairs=count_new_pairs(before.shards, after),
    )


def settings_digests(config: RunConfig) -> dict[str, str]:
    """By figure, a digest of the configuration that it rests on."""
    keeping = config.download.model_dump(mode="json", include=set(_KEEPING))
    return {KEPT: digest_json(keeping)[:16], TRACKED: digest_json(key_parameters(config.track))[:16]}


def sum_up(night: Night, summaries: Iterable[Mapping[str, Any]]) -> Night:
    """The night with what its stages told: seconds, what is pending, and whether it trained."""
    seconds: Counter[str] = Counter()
    pending, refused, trained = 0, 0, False
    for summary in summaries:
        seconds[summary["stage"]] += summary["seconds"]
        if summary["stage"] == "download":
            # Of the last time: what was left before was tried again. `refused` of these, by hosts that are left alone.
            pending, refused = summary["pending"], summary.get("refused", 0)
        trained = trained or (summary["stage"] == "train" and summary["committed"] > 0)
    rounded = {stage: round(value, 1) for stage, value in seconds.items()}
    return replace(night, seconds=rounded, pending=pending, refused=refused, trained=trained)


def _is_tried(old: SourceEntry | None, entry: SourceEntry) -> bool:
    """Whether an entry tells an outcome that is none of the old one's."""
    if entry.failure:
        return old is None or old.failure != entry.failure
    if not entry.video:
        return False  # a list, or not tried yet
    return old is None or bool(old.failure) or (old.video, old.key) != (entry.video, entry.key)


def _dropped(version: Version, entry: SourceEntry) -> str:
    """The reason why a source that was tried gave no video to learn from, or nothing."""
    video = version.videos.get(entry.video or "")
    failure = entry.failure or (video.failure if video else None)
    return failure.reason if failure else ""


def _is_tracked(old: VideoEntry | None, entry: VideoEntry) -> bool:
    return bool(entry.key) and not entry.failure and (old is None or bool(old.failure) or old.key != entry.key)


def _minutes(root: Root, entry: VideoEntry) -> float:
    manifest = read_manifest(root, "track", entry.key)
    seconds = manifest.facts.get("seconds", 0.0) if manifest else 0.0
    return seconds / 60 if isinstance(seconds, (int, float)) else 0.0


def _dispersion(tracks: Sequence[int], minutes: Sequence[float]) -> float:
    """Pearson's estimate over videos: the mean of (tracks - expected)^2 / expected; 0 where it cannot be told."""
    rate = sum(tracks) / sum(minutes) if sum(minutes) else 0.0
    expected = [(number, rate * length) for number, length in zip(tracks, minutes, strict=True) if rate * length > 0]
    if len(expected) < 2:
        return 0.0
    return round(sum((number - mean) ** 2 / mean for number, mean in expected) / (len(expected) - 1), 3)


def show_nights(url: str, name: str, console: Console, *, limit: int = 14, as_json: bool = False) -> None:
    """Print the last nights of a data set, the newest first, or dump them as JSON, the oldest first."""
    import json
    import sys

    from rich.markup import escape
    from rich.table import Column, Table

    root = open_root(url, create=False)
    nights = read_nights(root, name, limit)
    if not nights and name not in (known := dataset_names(root)):
        raise RootError(f"dataset: {name!r} is not in {root.url}; there are: {', '.join(known) or 'none'}")
    if as_json:
        sys.stdout.write(json.dumps([_as_json(night) for night in nights], indent=1, ensure_ascii=False) + "\n")
        return
    if not nights:
        console.print(f"{name} has no night yet: run `tritrack serve --nightly CRON`, or start `refresh` once")
        return
    table = Table(*(Column(name, overflow="fold") for name in _COLUMNS))
    for night in reversed(nights):
        cells = [escape(cell) for cell in _row(night)]
        style = "red" if night.failed else "yellow" if night.marks else None
        table.add_row(*cells, style=style)
    console.print(table)
    for title, line in _pictures(nights):
        console.print(f"{title:18} {line}")


def markdown_of(nights: Sequence[Night]) -> str:
    """The last nights as a table for the Prefect UI, with a picture of both figures."""
    shown = nights[-_SHOWN_MARKDOWN:]
    lines = [f"`{line}` {title}, oldest first\n" for title, line in _pictures(shown)]
    lines += ["| " + " | ".join(_COLUMNS) + " |", "|" + " --- |" * len(_COLUMNS)]
    for night in reversed(shown):
        cells = [cell.replace("|", "\\|") for cell in _row(night)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


_COLUMNS = ("night (UTC)", "kept", "found", "pending", "removed", "tracks / min", "new pairs", "trained", "minutes")


def _row(night: Night) -> tuple[str, ...]:
    share, rate = night.kept_share, night.tracks_per_minute
    removed = f"{night.removed}" + (f", {night.returned} back" if night.returned else "")
    found = [f"FAILED: {night.failed}"] if night.failed else []
    found += [f"MARKED: {mark}" for mark in night.marks]
    return (
        night.started[:16].replace("T", " "),
        "none due" if share is None else f"{night.kept} of {night.due} ({share:.0%})",
        "; ".join(found) or night.training,
        str(night.pending),
        removed,
        "" if rate is None else f"{rate:.3g}",
        f"{night.new_pairs:,}",
        "yes" if night.trained else "no",
        f"{sum(night.seconds.values()) / 60:.1f}",
    )


def _pictures(nights: Sequence[Night]) -> list[tuple[str, str]]:
    shares, rates = [night.kept_share for night in nights], [night.tracks_per_minute for night in nights]
    return [(KEPT, sparkline(shares, 1.0)), (TRACKED, sparkline(rates, max([rate or 0.0 for rate in rates] or [0.0])))]


def sparkline(values: Iterable[float | None], top: float) -> str:
    """A bar a value between 0 and `top`; a dot where there is none."""
    steps = len(_BARS) - 1
    return "".join("·" if one is None else _BARS[round(steps * min(1.0, one / top)) if top else 0] for one in values)


def _as_json(night: Night) -> dict[str, Any]:
    return asdict(night) | {"kept_share": night.kept_share, "tracks_per_minute": night.tracks_per_minute}
