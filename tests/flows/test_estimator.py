"""The estimator of a data set: chosen once, kept on every device, and never where it was named."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from flows import estimator
from flows.estimator import with_estimator
from flows.stage import open_run
from storage import registers
from storage.keys import JSON
from storage.registers import change_register, read_register
from storage.root import Root, open_root
from tasks.presets import RunConfig, paper, sample
from tasks.track.key import key_document

Device = Literal["auto", "cpu", "cuda", "mps"]


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root") if request.param == "local" else f"memory://{tmp_path.name}-estimator")


def on(device: Device) -> RunConfig:
    execution = sample().execution.model_copy(update={"device": device})
    return sample().model_copy(update={"execution": execution})


def named(name: str) -> RunConfig:
    return sample().model_copy(update={"track": sample().track.model_copy(update={"estimator": name})})


def recorded(root: Root, dataset: str = "night") -> object:
    return read_register(root, f"state/estimators/{dataset}").get("estimator")


@pytest.mark.parametrize(("device", "name"), [("cpu", "klt"), ("mps", "klt"), ("cuda", "torch")])
def test_the_first_run_chooses_by_its_device_and_writes_it_down(root: Root, device: Device, name: str) -> None:
    config = with_estimator(root, "night", on(device))
    assert config.track.estimator == recorded(root) == name
    # Nothing else changes, and the configuration that was given stays as it is.
    assert config == on(device).model_copy(update={"track": config.track})
    assert config.track.model_copy(update={"estimator": "auto"}) == on(device).track
    assert on(device).track.estimator == "auto"
    assert key_document(config.track, "0" * 64).recipe.variant == {"estimator": name}


def test_another_device_keeps_what_was_chosen(root: Root) -> None:
    with_estimator(root, "night", on("cpu"))
    for device in ("cuda", "mps", "cpu"):
        assert with_estimator(root, "night", on(device)).track.estimator == "klt"
    assert with_estimator(root, "day", on("cuda")).track.estimator == "torch", "each data set has its own"
    assert with_estimator(root, "day", on("cpu")).track.estimator == "torch"
    assert (recorded(root), recorded(root, "day")) == ("klt", "torch")


def test_what_is_recorded_needs_no_device(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    with_estimator(root, "night", on("cuda"))
    before = sorted(entry.path for entry in root.walk("state"))

    def no_device(name: str) -> str:
        raise AssertionError("the device is asked for once a data set: torch takes seconds to import")

    monkeypatch.setattr(estimator, "_device", no_device)
    assert with_estimator(root, "night", sample()).track.estimator == "torch"
    assert sorted(entry.path for entry in root.walk("state")) == before, "and nothing more is written"


@pytest.mark.parametrize("name", ["kcf", "klt", "raft"])
def test_a_named_estimator_is_neither_touched_nor_recorded(root: Root, name: str) -> None:
    with_estimator(root, "night", on("cuda"))
    config = named(name)
    assert with_estimator(root, "night", config) is config
    assert with_estimator(root, "day", config) is config
    assert (recorded(root), recorded(root, "day")) == ("torch", None)
    assert with_estimator(root, "day", paper()).track.estimator == paper().track.estimator == "kcf"


def test_a_look_writes_nothing(root: Root) -> None:
    assert with_estimator(root, "night", on("cuda"), record=False).track.estimator == "torch"
    assert with_estimator(root, "night", on("cpu"), record=False).track.estimator == "klt"
    assert recorded(root) is None
    assert list(root.walk("")) == []
    with_estimator(root, "night", on("cpu"))
    assert with_estimator(root, "night", on("cuda"), record=False).track.estimator == "klt", "but reads what is there"


def test_of_two_that_choose_at_once_the_first_one_stands(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both see nothing recorded; the other one writes between this one's look and its own write.
    folder, other = "state/estimators/night", [True]
    look = registers._newest

    def slow(root: Root, folder: str) -> tuple[int, dict[str, JSON]]:
        seen = look(root, folder)
        if other and not seen[1]:
            other.clear()
            change_register(root, folder, lambda current: current or {"estimator": "torch"})
        return seen

    assert read_register(root, folder) == {}
    real = change_register

    def change(root: Root, folder: str, how):  # type: ignore[no-untyped-def]
        monkeypatch.setattr(registers, "_newest", slow)
        return real(root, folder, how)

    monkeypatch.setattr(estimator, "change_register", change)
    assert with_estimator(root, "night", on("cpu")).track.estimator == "torch"
    assert not other, "the other one was there"
    assert recorded(root) == "torch"


def test_a_damaged_record_is_chosen_anew(root: Root) -> None:
    with_estimator(root, "night", on("cuda"))
    root.write_bytes("state/estimators/night/1.json", b"{")
    assert with_estimator(root, "night", on("cpu")).track.estimator == "klt"
    assert recorded(root) == "klt"


def test_a_stages_run_has_it_chosen(tmp_path: Path) -> None:
    url = str(tmp_path / "root")
    for stage in ("download", "shard"):  # on machines that may have no GPU, and need not ask for one
        with open_run(stage, url, "night", {}) as run:
            assert (run.config.track.estimator, recorded(run.root)) == ("auto", None)
    for device, name in (("cpu", "klt"), ("cuda", "klt")):
        with open_run("track", url, "night", {"execution_device": device}) as run:
            assert run.config.track.estimator == name
    with open_run("track", url, "night", {"track_estimator": "dis"}) as run:
        assert run.config.track.estimator == "dis"
    assert recorded(open_root(url)) == "klt"
