"""`tritrack plan`: what a run over many videos would take, from what this root has measured. Needs no Prefect."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from flows.description import Description
from flows.measured import SCALES, Measured, Rates, Work, measure
from storage.root import Root, RootError, open_root
from storage.versions import Version, dataset_names, latest_version
from tasks.bootstrap import Interval
from tasks.download.hosts import host_of, site_of
from tasks.presets import RunConfig

if TYPE_CHECKING:
    from rich.console import Console

_HOUR_SECONDS = 3600.0


@dataclass(frozen=True)
class Asked:
    """What is asked for. `minutes` a video: as in the root where None. Prices in any currency, 0 where unknown."""

    videos: int
    workers: int
    gpus: int = 0
    minutes: float | None = None
    price_cpu_hour: float = 0.0
    price_gpu_hour: float = 0.0
    price_gb_month: float = 0.0


@dataclass(frozen=True)
class Line:
    """One kind of work. `hours` of the wall clock with the interval of its rate; `cpu_hours`, `gpu_hours` of cores and
    devices that are busy. `requests` is None where the ledger knows none. `measured`: in words, what it rests on."""

    work: Work
    units: int
    hours: Interval
    cpu_hours: float
    gpu_hours: float
    bytes: float
    requests: float | None
    measured: str


@dataclass(frozen=True)
class Forecast:
    """The lines of all that was measured, what of it is `missing`, and what is assumed, a sentence each."""

    root: str
    dataset: str
    asked: Asked
    lines: tuple[Line, ...]
    missing: tuple[Work, ...]
    assumptions: tuple[str, ...]

    @property
    def hours(self) -> float:
        return sum(line.hours.value for line in self.lines)

    @property
    def cpu_hours(self) -> float:
        return sum(line.cpu_hours for line in self.lines)

    @property
    def gpu_hours(self) -> float:
        return sum(line.gpu_hours for line in self.lines)

    @property
    def bytes(self) -> float:
        return sum(line.bytes for line in self.lines)

    @property
    def costs(self) -> dict[str, float]:
        """What each kind costs, where it has a price; storage a month."""
        asked = self.asked
        return {
            name: round(amount * price, 2)
            for name, amount, price in (
                ("CPU", self.cpu_hours, asked.price_cpu_hour),
                ("GPU", self.gpu_hours, asked.price_gpu_hour),
                ("storage a month", self.bytes / 1e9, asked.price_gb_month),
            )
            if price
        }


def forecast(root: Root, version: Version, config: RunConfig, asked: Asked) -> Forecast:
    """What the run would take. Raises RootError where the data set has measured nothing."""
    rates = measure(root, version)
    if not rates.works:
        raise RootError(
            f"plan: {version.name!r} in {root.url} has measured nothing yet, so there is nothing to plan by; run some "
            "of your sources into it first"
        )
    job = _Job(rates, version, config, asked)
    lines = tuple(job.line(work, found) for work in SCALES if (found := rates.works.get(work)))
    missing = tuple(work for work in SCALES if work not in rates.works)
    return Forecast(root.url, version.name, asked, lines, missing, tuple(job.assumptions()))


@dataclass(frozen=True)
class _Job:
    rates: Rates
    version: Version
    config: RunConfig
    asked: Asked

    @property
    def video_seconds(self) -> float:
        """Of one video, as asked or as measured; 0 where neither says."""
        if self.asked.minutes is not None:
            return self.asked.minutes * 60
        return self.rates.mean_video_seconds or 0.0

    def amount(self, work: Work) -> float:
        """How much there is of what the work scales with."""
        videos = self.asked.videos
        match SCALES[work]:
            case "videos":
                return float(videos)
            case "seconds of video":
                return videos * self.video_seconds
            case "pairs":
                return videos * self.video_seconds * (self.rates.pairs_each_second or 0.0)
            case "steps":
                return float(self.config.train.steps)
            case "runs":
                return 1.0

    def line(self, work: Work, measured: Measured) -> Line:
        """All that one kind of work takes."""
        amount, units = self.amount(work), self.units(work, measured)
        busy = _linear(measured.rate, amount / _HOUR_SECONDS, measured.overhead_each * units / _HOUR_SECONDS)
        hours = _linear(busy, 1 / self.side_by_side(work, measured))
        if work == "download":
            hours = _at_least(hours, self.host_hours(measured))
        cores = max(1, measured.cores) if work in ("train", "evaluate") else 1
        each = measured.requests_each
        factor, median = amount / measured.scale.sum(), measured.median_seconds
        return Line(
            work,
            units,
            hours,
            0.0 if measured.on_gpu else busy.value * cores,
            busy.value if measured.on_gpu else 0.0,
            self.stored(work, measured, amount),
            None if each is None else each * (self.asked.videos if measured.videos.any() else 1),
            f"{len(measured.seconds)} units, {measured.num_known} in the ledger, median {median:.3g} s; "
            f"{factor:,.1f} times as many {SCALES[work]}",
        )

    def side_by_side(self, work: Work, measured: Measured) -> int:
        """How many share the work."""
        if work in ("triplets", "evaluate"):
            return 1
        if measured.on_gpu:
            return max(1, self.asked.gpus)
        return 1 if work == "train" else self.asked.workers

    def units(self, work: Work, measured: Measured) -> int:
        """How many units it makes."""
        match work:
            case "download" | "track":
                return self.asked.videos
            case "shard":
                return math.ceil(self.asked.videos / self.config.shard.videos_per_shard)
            case "evaluate":
                return len(measured.seconds)
        return 1

    def stored(self, work: Work, measured: Measured, amount: float) -> float:
        """Bytes that are kept of it."""
        if work == "train":
            return measured.stored_each
        if work != "download":
            return measured.stored_each * amount
        if self.config.execution.keep_videos == "until_tracked":
            return 0.0
        longer = self.video_seconds / known if (known := self.rates.mean_video_seconds) else 1.0
        return measured.stored_each * amount * longer

    def host_hours(self, measured: Measured) -> float:
        """The least that the busiest host takes: its sources an hour, at once, and the pause between two."""
        return max((self.hours_of(host, share, measured) for host, share in self.hosts()), default=0.0)

    def hosts(self) -> Iterator[tuple[str, float]]:
        """(host, share of the sources) of the data set's wanted sources."""
        found = Counter(host_of(one.location) for one in self.version.sources.values() if not one.removed)
        return ((host, number / found.total()) for host, number in found.items() if host)

    def hours_of(self, host: str, share: float, measured: Measured) -> float:
        """The least that one host takes."""
        site, sources = site_of(host, self.config.download), self.asked.videos * share
        at_once = sources * (measured.rate.value + measured.overhead_each) / site.connections
        by_the_hour = sources / site.per_hour * _HOUR_SECONDS if site.per_hour else 0.0
        return max(at_once, sources * site.pause_seconds, by_the_hour) / _HOUR_SECONDS

    def assumptions(self) -> Iterator[str]:
        """What the forecast takes for granted, a sentence each."""
        works, asked = self.rates.works, self.asked
        given = "as given" if asked.minutes is not None else "the mean of those that were tracked here"
        if self.video_seconds:
            yield f"a video lasts {self.video_seconds / 60:.2f} minutes, {given}"
        if self.rates.pairs_each_second is not None:
            yield f"a minute of video gives {self.rates.pairs_each_second * 60:.1f} pairs, as here"
        yield (
            "download grows with videos, track with seconds of video, shard and the triplet index with pairs, train "
            "with steps alone, evaluate with nothing"
        )
        yield f"totals go by means, since few long units cost most; {asked.workers} workers are kept busy, a core each"
        yield "every unit also costs what the ledger saw beside its work here: to look it up, to import, to commit"
        for host, share in sorted(self.hosts(), key=lambda one: -one[1])[:3]:
            site = site_of(host, self.config.download)
            limits = f"{site.connections} at once" + (f", {site.per_hour} an hour" if site.per_hour else "")
            limits += f", {site.pause_seconds:g} s between two" if site.pause_seconds else ""
            yield f"{share:.0%} of the sources are {host}'s, as here: {limits}"
        wanted = [one for one in self.version.sources.values() if not one.removed and (one.video or one.failure)]
        failed = sum(one.failure is not None for one in wanted)
        if failed:
            yield f"{failed} of {len(wanted)} sources gave no video here; as many more must be named for so many videos"
        if train := works.get("train"):
            steps = f"{self.config.train.steps:,} steps (train.steps)"
            yield f"training takes {steps} of the network and batch that were measured"
            yield _of_devices(train, asked)
        if any(one.requests_each is None for one in works.values()):
            yield "requests are known of what the ledger has alone, and those of training ranks are not seen"
        if asked.gpus and not any(one.on_gpu for one in works.values()):
            yield "nothing here ran on a GPU, so --gpus and a GPU's price change nothing"


def _of_devices(train: Measured, asked: Asked) -> str:
    if train.on_gpu:
        shared = f"; {asked.gpus} GPUs are assumed to share it evenly" if asked.gpus > 1 else ""
        return f"training was measured on a GPU{shared}"
    cores = (
        f"a machine of {train.cores} cores, all of them busy" if train.cores else "a machine whose cores nobody noted"
    )
    return f"training was measured on {cores}"


def _linear(interval: Interval, factor: float, more: float = 0.0) -> Interval:
    low, high = (None if one is None else one * factor + more for one in (interval.low, interval.high))
    return Interval(interval.value * factor + more, low, high)


def _at_least(interval: Interval, least: float) -> Interval:
    low, high = (None if one is None else max(one, least) for one in (interval.low, interval.high))
    return Interval(max(interval.value, least), low, high)


def show_forecast(description: Description, asked: Asked, console: Console, *, as_json: bool) -> None:
    """Print what a run over so many videos would take, or dump it as JSON."""
    from flows.maintain import dump, unknown_dataset

    root = open_root(description.root, create=False)
    version = latest_version(root, description.dataset)
    if not version.number and dataset_names(root):
        raise unknown_dataset(root, description.dataset)
    told = forecast(root, version, description.config, asked)
    if as_json:
        totals = {name: getattr(told, name) for name in ("hours", "cpu_hours", "gpu_hours", "bytes", "costs")}
        dump(asdict(told) | totals)
    else:
        _show(told, console)


def _show(told: Forecast, console: Console) -> None:
    from rich.table import Column, Table

    from flows.costs import interval_in_words
    from flows.maintain import size_in_words

    head = ("units", "hours (95 %)", "CPU hours", "GPU hours", "stored", "requests", "measured")
    table = Table(Column("", no_wrap=True), *(Column(name, overflow="fold") for name in head))
    for line in told.lines:
        requests = "not known" if line.requests is None else f"{line.requests:,.0f}"
        hours = (interval_in_words(line.hours, ",.3g"), f"{line.cpu_hours:,.3g}", f"{line.gpu_hours:,.3g}")
        table.add_row(line.work, f"{line.units:,}", *hours, size_in_words(line.bytes), requests, line.measured)
    for work in told.missing:
        table.add_row(work, "", "not measured here")
    table.add_section()
    sums = (f"{told.hours:,.3g}", f"{told.cpu_hours:,.3g}", f"{told.gpu_hours:,.3g}", size_in_words(told.bytes))
    table.add_row("in all", "", *sums)
    asked = told.asked
    console.print(
        f"{asked.videos:,} videos, {asked.workers} workers, {asked.gpus} GPUs, by {told.dataset} in {told.root}"
    )
    console.print(table)
    for name, cost in told.costs.items():
        console.print(f"{name}: {cost:,.2f}")
    console.print("Assumed:")
    for sentence in told.assumptions:
        console.print(f"- {sentence}", soft_wrap=True, highlight=False)
