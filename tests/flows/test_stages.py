"""The order of the stages, with the stage flows stubbed."""

from __future__ import annotations

from typing import Any

import pytest

from flows import stages
from flows.stages import STAGES, run_stages

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
