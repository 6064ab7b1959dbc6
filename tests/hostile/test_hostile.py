"""The hostile corpus in the tests: every input ends as data, and nothing that must not be asked or read is."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.hostile.answers import drip, head_bytes, respond
from tests.hostile.clips import clip
from tests.hostile.corpus import make_corpus
from tests.hostile.hunt import Result, hunt
from tests.hostile.lanes import Lane, Order
from tests.hostile.records import Ending, Place, Specimen
from tests.hostile.server import serve

_PLACE = Place("/corpus", "http://127.0.0.1:1", "http://127.0.0.2:2", "http://127.0.0.1:3")


def test_every_input_ends_as_data(tmp_path: Path) -> None:
    """No crash, no hang, the right endings; no server asked and no file read that must not be."""
    report = hunt(tmp_path, num_lanes=3)
    assert report.faults == []
    kinds = Counter(result.ending.kind for result in report.results)
    assert len(report.results) >= 250
    assert min(kinds[kind] for kind in ("kept", "permanent", "transient", "poison")) >= 20


def test_the_corpus_is_the_same_at_each_call() -> None:
    def digests() -> dict[str, str]:
        return {each.name: hashlib.sha256(each.data or b"").hexdigest() for each in make_corpus(_PLACE)}

    assert digests() == digests()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER  # no encoder may take the machine from the tests beside it


def test_a_hang_is_counted_and_the_lane_goes_on(tmp_path: Path) -> None:
    film = clip("mp4", "mpeg4")
    slow = drip(head_bytes(headers=[("Content-Type", "video/mp4")], length=len(film)), film, 0.3)
    with serve({"slow": slow, "good": respond(film)}) as site:
        host = site.url.removeprefix("http://")
        with Lane(tmp_path, host, patience_seconds=3.0) as impatient:
            ending, _ = impatient.run(Order(f"{site.url}/slow/clip.mp4", str(tmp_path / "a")))
            assert (ending.kind, ending.reason) == ("hang", "no_answer")
        with Lane(tmp_path, host, patience_seconds=60.0) as lane:
            ending, tracked = lane.run(Order(f"{site.url}/good/clip.mp4", str(tmp_path / "b"), is_tracked=True))
            assert ending.kind == "kept"
            assert tracked is not None
            assert tracked.kind == "kept"


@pytest.mark.parametrize(
    ("ending", "verdict"),
    [
        (Ending("kept"), ""),
        (Ending("poison", "truncated"), ""),
        (Ending("permanent", "private_address"), ""),
        (Ending("permanent", "not_found"), "surprise"),
        (Ending("transient", "timeout"), "surprise"),
        (Ending("pending"), "surprise"),
        (Ending("poison", "worker_died"), "crash"),
        (Ending("crash", "exception"), "crash"),
        (Ending("hang", "no_answer"), "hang"),
        (Ending("poison", "cpu_limit"), "hang"),
        (Ending("transient", "time_limit"), ""),
    ],
)
def test_an_ending_is_judged_by_what_is_right_for_its_input(ending: Ending, verdict: str) -> None:
    right = frozenset({"kept", "poison", "permanent private_address", "transient time_limit"})
    assert Result(Specimen("family/name", right), "location", ending).verdict == verdict


def test_a_kept_video_that_tracking_cannot_take_is_a_crash() -> None:
    specimen = Specimen("family/name", frozenset({"kept"}))
    assert Result(specimen, "", Ending("kept"), Ending("poison", "too_short")).verdict == ""
    assert Result(specimen, "", Ending("kept"), Ending("poison", "worker_died")).verdict == "crash"
    assert Result(specimen, "", Ending("kept"), Ending("transient", "unknown")).verdict == "surprise"
