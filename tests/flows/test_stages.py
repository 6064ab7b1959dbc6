"""The order of the stages, with the stage flows stubbed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from flows import stages
from flows.deployed import Children
from flows.selection import select
from flows.stages import STAGES, run_stages
from storage.versions import Version
from tests.flows.imagined import chosen, imagined_run, imagined_sources

Calls = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What the stages were called with; `track` finds once that dropped videos are wanted."""
    made: Calls = []

    class Stub:
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, **parameters: Any) -> dict[str, Any]:
            made.append((self.name, parameters))
            wanting = parameters["dataset"] == "wanting" and len(made) == 2
            return {"stage": self.name, "wanting": int(wanting)}

    for name in STAGES:
        monkeypatch.setattr(stages, name, Stub(name))
    return made


def test_each_stage_gets_its_own_fields_in_order(calls: Calls) -> None:
    fields = {"seed": 3, "track_patch_px": 48, "train_steps": 5, "execution_workers": 1}
    done = list(run_stages("root", "night", "list.txt", fields, only="batch 1", expand=True))
    assert [summary["stage"] for summary in done] == list(STAGES)
    by_name = dict(calls)
    where = {"root": "root", "dataset": "night", "execution_workers": 1}
    assert by_name == {
        "download": {**where, "sources": "list.txt", "only": "batch 1", "expand": True},
        "track": {**where, "only": "batch 1", "track_patch_px": 48},
        "shard": {**where, "seed": 3},
        "train": {**where, "seed": 3, "train_steps": 5},
        "evaluate": {**where, "seed": 3, "track_patch_px": 48},  # for the audit of the tracker
    }


def test_dropped_videos_that_are_wanted_are_fetched_first(calls: Calls) -> None:
    list(run_stages("root", "wanting", "", {}, expand=True))
    assert [name for name, _ in calls] == ["download", "track", "download", "track", "shard", "train", "evaluate"]
    assert [parameters.get("expand") for name, parameters in calls if name == "download"] == [True, None]


def test_a_stage_that_is_left_out_says_why_and_is_asked_about_after_the_shards(calls: Calls) -> None:
    def left_out() -> dict[str, str]:
        assert [name for name, _ in calls] == ["download", "track", "shard"]
        return {"train": "3.2% new pairs"}

    done = list(run_stages("root", "night", "", {}, left_out=left_out))
    assert [name for name, _ in calls] == ["download", "track", "shard", "evaluate"]
    assert done[3]["stage"] == "train"
    assert (done[3]["note"], done[3]["committed"], done[3]["counts"], done[3]["pending"]) == (
        "3.2% new pairs",
        0,
        {},
        0,
    )


@dataclass
class _Apart:
    """Stands for `Children`: what was started and waited for; a stage that was only started ends at the second look."""

    told: list[str] = field(default_factory=list)
    looks: dict[str, int] = field(default_factory=dict)

    def run(self, stage: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self.told.append(f"{stage} {parameters['only']}".strip() if "only" in parameters else stage)
        return {"stage": stage, "wanting": 0}

    def start(self, stage: str, parameters: dict[str, Any]) -> None:
        self.told.append(f"start {stage}")
        self.looks[stage] = 0

    def has_ended(self, stage: str) -> bool:
        self.looks[stage] += 1
        return self.looks[stage] > 1

    def is_running(self, stage: str) -> bool:
        return stage in self.looks

    def wait(self, stage: str) -> dict[str, Any]:
        del self.looks[stage]
        self.told.append(f"end {stage}")
        return {"stage": stage, "wanting": 0}


def test_a_long_list_is_fetched_in_waves_and_tracked_meanwhile(tmp_path: Path) -> None:
    sources = tmp_path / "list.txt"
    sources.write_text("".join(f"https://videos.example/{number}.mp4\n" for number in range(10)))
    apart, fields = _Apart(), {"execution_wave_sources": 3, "seed": 0}
    root = str(tmp_path / "root")
    done = list(run_stages(root, "night", str(sources), fields, children=cast(Children, apart)))
    assert apart.told == [
        "download 0:3", "start track", "download 3:6", "download 6:9", "end track", "start track",
        "download", "end track", "track", "shard", "train", "evaluate",
    ]  # fmt: skip
    assert [summary["stage"] for summary in done] == [
        "download", "download", "download", "track", "download", "track", "track", "shard", "train", "evaluate",
    ]  # fmt: skip


@pytest.mark.parametrize(("known", "size", "expected"), [(0, 4, 3), (0, 1, 10), (8, 1, 2), (10, 4, 0), (0, 64, 1)])
def test_waves_hold_every_source_that_is_to_be_fetched_once(known: int, size: int, expected: int) -> None:
    config = chosen()
    config = config.model_copy(update={"execution": config.execution.model_copy(update={"wave_sources": size})})
    version, _ = imagined_run(Version("night"), imagined_sources(*range(known)), config)
    given = imagined_sources(*range(10))
    parts = [{source.id for source in select(given, places, 32)} for places in stages._waves(version, given, config)]
    assert len(parts) == expected
    assert sum(map(len, parts)) == len(set().union(*parts)), "no source twice"
    assert {source.id for source in given} - set(version.sources) <= set().union(*parts)


def test_there_are_no_more_waves_than_the_server_bears() -> None:
    config = chosen()
    config = config.model_copy(update={"execution": config.execution.model_copy(update={"wave_sources": 1})})
    parts = stages._waves(Version("night"), imagined_sources(*range(100)), config)
    assert len(parts) == 15  # of 7 sources each, the last of 2
