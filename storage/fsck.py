"""`fsck`: walk a whole root, compare every file with what names it, and name what is wrong.

Versions are read before files are listed, so that what they name was there. A file that a listing does not show,
or shows with another size, is asked for again before it is called broken. What a live run or attempt may be
writing now is never called an orphan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from storage.concurrency import in_threads
from storage.contents import Progress, StageContents, examine_file, no_progress, read_stage, stage_names
from storage.findings import Finding, FindingKind, Report
from storage.history import History, UnitName, read_history
from storage.layout import Place, named_digest, place_of
from storage.manifests import StoredFile, manifest_path, video_path
from storage.protection import LiveWork, live_work
from storage.root import Root
from storage.walking import Entry

_UNREADABLE_HEADS = frozenset({"damaged_head", "newer_head"})


def check(root: Root, *, quick: bool = False, progress: Progress = no_progress) -> Report:
    """Check everything below a root; `quick` compares sizes, and reads nothing but manifests and versions.

    Changes nothing. Raises RootError where the store cannot be read.
    """
    job = _Check(root, quick, progress, live_work(root), read_history(root), datetime.now(UTC))
    for fault in job.history.faults:
        job.found.append(Finding(fault.kind, fault.path, fault.words, datasets=(fault.dataset,)))
    videos = {entry.path: entry for entry in root.walk("videos")}
    for stage in stage_names(root):
        _check_stage(job, read_stage(root, stage, progress), videos)
    _check_units(job)
    _check_videos(job, videos)
    _check_metadata(job)
    _check_datasets(job)
    findings = sorted(_confirmed(job), key=lambda finding: (not finding.is_broken, finding.path, finding.kind))
    return Report(
        root.url, quick, tuple(findings), job.history.versions, len(job.committed), job.files_checked, job.bytes_checked
    )


@dataclass
class _Check:
    """A check under way: what it stands on, and what it has found."""

    root: Root
    quick: bool
    progress: Progress
    live: LiveWork
    history: History
    started: datetime
    found: list[Finding] = field(default_factory=list)
    committed: set[UnitName] = field(default_factory=set)
    named_videos: set[str] = field(default_factory=set)
    files_checked: int = 0
    bytes_checked: int = 0

    def tell(self, kind: FindingKind, path: str, words: str, units: Iterable[UnitName] = ()) -> None:
        units = tuple(sorted(units))
        datasets = {name for unit in units for name in self.history.current.get(unit, ())}
        self.found.append(Finding(kind, path, words, units, tuple(sorted(datasets))))

    def tell_of(self, kind: FindingKind, entry: Entry, words: str, units: Iterable[UnitName] = ()) -> None:
        """A finding about a file that is there. Orphans that were written since the check began are none."""
        age_seconds = (self.started - entry.modified).total_seconds()
        if kind != "orphan" or age_seconds > 0:
            self.tell(kind, entry.path, words, units)
            self.found[-1] = replace(self.found[-1], size=entry.size, age_seconds=max(0.0, age_seconds))


def _check_stage(job: _Check, contents: StageContents, videos: Mapping[str, Entry]) -> None:
    """Manifests, the files that they name, and the files that they do not."""
    stage = contents.stage
    job.committed.update((stage, key) for key in [*contents.manifests, *contents.unreadable])
    for key, fault in contents.unreadable.items():
        job.tell(fault.kind, manifest_path(stage, key), fault.words, [(stage, key)])
    named: dict[str, tuple[StoredFile, list[UnitName]]] = {}
    for key, manifest in contents.manifests.items():
        for file in manifest.files.values():
            named.setdefault(file.path, (file, []))[1].append((stage, key))
        if manifest.accepted and not _is_committed(job, contents, manifest.accepted.key):
            words = f"the unit {manifest.accepted.key[:16]} that was accepted for it is gone"
            job.tell("dangling_alias", manifest_path(stage, key), words, [(stage, key)])
    _compare(job, stage, named, {entry.path: entry.size for entry in [*contents.entries, *videos.values()]})
    job.named_videos.update(path for path in named if path.startswith("videos/"))
    for entry in contents.entries:
        place = place_of(entry.path)
        if entry.temporary and place.kind != "foreign":
            _tell_temporary(job, entry, place)
        elif place.kind == "attempt":
            _check_attempt(job, entry, place, place.key in contents.manifests)
        elif place.kind == "unit" and entry.path not in named and place.key not in contents.unreadable:
            if place.key not in job.live.keys:
                is_loser = place.key in contents.manifests
                words = "left by a writer that lost the race for its unit" if is_loser else "its unit is not committed"
                job.tell_of("orphan", entry, words, [(stage, place.key)])
        elif place.kind == "foreign":
            job.tell_of("foreign", entry, "Tritrack writes nothing here")


def _compare(
    job: _Check, stage: str, named: Mapping[str, tuple[StoredFile, list[UnitName]]], sizes: Mapping[str, int]
) -> None:
    """Compare the files that manifests name with what they say."""

    def examine(path: str) -> tuple[str, tuple[FindingKind, str] | None]:
        return path, examine_file(job.root, named[path][0], quick=job.quick, listed_bytes=sizes.get(path))

    dropped = {video_path(video) for video in job.history.dropped}
    purged = {video_path(video) for video in job.history.purged_videos}
    for done, (path, fault) in enumerate(in_threads(examine, named), 1):
        job.progress(done, len(named), f"{stage} files")
        file, units = named[path]
        job.files_checked += 1
        job.bytes_checked += file.size
        if fault is None or (fault[0] == "missing" and path in dropped):
            continue
        if fault[0] == "missing" and (path in purged or job.history.purged.issuperset(units)):
            job.tell("purged", path, "its video was purged", units)
        else:
            job.tell(fault[0], path, fault[1], units)


def _check_attempt(job: _Check, entry: Entry, place: Place, is_committed: bool) -> None:
    digest = named_digest(entry.path)
    unit = [(place.stage, place.key)]
    if digest and not job.quick and not _starts_with(job, entry.path, digest):
        job.tell_of("damaged_checkpoint", entry, "its bytes do not match its name", unit)
    elif place.key in job.live.keys:
        return
    elif is_committed:
        job.tell_of("orphan", entry, "left by an attempt at a unit that is committed", unit)
    elif digest:
        job.tell_of("unfinished", entry, "left by an attempt that ended; a run of its unit goes on from it", unit)


def _check_units(job: _Check) -> None:
    """Units that versions name and that are not there."""
    for stage, key in sorted(job.history.named - job.committed):
        path = manifest_path(stage, key)
        if job.root.exists(path):
            continue  # committed again since it was listed
        if (stage, key) in job.history.purged:
            job.tell("purged", path, "its video was purged", [(stage, key)])
        elif (stage, key) in job.history.current:
            job.tell("lost_unit", path, "a data set's newest version names this unit", [(stage, key)])
        else:
            job.tell("history", path, "older versions of data sets name this unit, and it is gone", [(stage, key)])


def _check_videos(job: _Check, videos: Mapping[str, Entry]) -> None:
    """Videos that no manifest names: are they what their names say, and does a version know them?"""
    loose = [entry for entry in videos.values() if entry.path not in job.named_videos]

    def examine(entry: Entry) -> tuple[Entry, Place, bool]:
        place = place_of(entry.path)
        is_whole = job.quick or place.kind != "video" or _starts_with(job, entry.path, place.key)
        return entry, place, is_whole

    for done, (entry, place, is_whole) in enumerate(in_threads(examine, loose), 1):
        job.progress(done, len(loose), "videos without a manifest")
        if entry.temporary:
            _tell_temporary(job, entry, place)
        elif place.kind != "video":
            job.tell_of("foreign", entry, "Tritrack writes nothing here")
        elif not is_whole:
            job.tell_of("damaged_video", entry, "its bytes do not match its name")
        elif place.key not in job.history.videos and not job.live.has_run:
            job.tell_of("orphan", entry, "no manifest and no version names this video")


def _check_metadata(job: _Check) -> None:
    """Tables of what the videos are: that of a newest version can be made again, older ones stand alone."""
    for path, file in job.history.metadata.items():
        job.files_checked += 1
        job.bytes_checked += file.size
        if (fault := examine_file(job.root, file, quick=job.quick)) is None:
            continue
        if dataset := job.history.current_metadata.get(path):
            job.found.append(Finding("damaged_metadata", path, fault[1], datasets=(dataset,)))
        else:
            job.tell("history", path, f"older versions of a data set name this table: {fault[1]}")


def _check_datasets(job: _Check) -> None:
    """Tables that no head names. Those of a data set with a head that cannot be read are left alone."""
    unreadable = {fault.dataset for fault in job.history.faults if fault.kind in _UNREADABLE_HEADS}
    for entry in [*job.root.walk("datasets"), *job.root.walk("state")]:
        place = place_of(entry.path)
        if entry.temporary:
            _tell_temporary(job, entry, place)
        elif place.kind == "foreign":
            job.tell_of("foreign", entry, "Tritrack writes nothing here")
        elif place.kind == "ledger" and not job.quick:
            if not _starts_with(job, entry.path, named_digest(entry.path)):
                job.tell_of("damaged_ledger", entry, "its bytes do not match its name")
        elif place.kind != "table" or place.dataset in unreadable or job.live.has_run:
            continue
        elif entry.path not in job.history.tables:
            job.tell_of("orphan", entry, "no version names this table")


def _tell_temporary(job: _Check, entry: Entry, place: Place) -> None:
    if place.key not in job.live.keys and not job.live.has_run:
        job.tell_of("orphan", entry, "a write that did not end")


def _confirmed(job: _Check) -> Iterator[Finding]:
    """The findings that still hold: not orphans that a run has named since, nor files of units that gc has taken."""
    live = live_work(job.root)
    for finding in job.found:
        if finding.kind == "missing" and not any(job.root.exists(manifest_path(*unit)) for unit in finding.units):
            continue
        if finding.kind == "orphan":
            keys = {key for _, key in finding.units}
            late = any(unit not in job.committed and job.root.exists(manifest_path(*unit)) for unit in finding.units)
            if late or not live.keys.isdisjoint(keys) or (not keys and live.has_run):
                continue
        yield finding


def _is_committed(job: _Check, contents: StageContents, key: str) -> bool:
    known = key in contents.manifests or key in contents.unreadable
    return known or job.root.exists(manifest_path(contents.stage, key))


def _starts_with(job: _Check, path: str, digest: str) -> bool:
    """Whether the file's own digest starts so; a file that is gone since is nobody's fault."""
    try:
        return job.root.digest(path)[0].startswith(digest)
    except FileNotFoundError:
        return True
