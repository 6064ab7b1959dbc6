"""Whole runs from the command line: everything, nothing twice, S3, bad input, and kill -9 in every stage."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from flows.plan import all_failures
from flows.results import report_place
from storage.fsck import check
from storage.root import open_root
from storage.versions import latest_version
from tasks.download.loopback import serve_folder
from tests.flows.conftest import Server, prefect_environment, wait_until

Tritrack = Callable[..., subprocess.CompletedProcess[str]]
STAGES = ("download", "track", "shard", "train", "evaluate")
_SLOW = ("--set", "execution.workers=1", "--set", "execution.batch_units=2")
_DONE = (("cached", "download"), *(("committed", stage) for stage in STAGES[1:]))


def _run(clips: Path, root: str, quick: list[str], *more: str) -> list[str]:
    labels = f"evaluate.labels={str(clips / 'labels.parquet')!r}"
    return ["run", "--root", root, "--sources", str(clips), *quick, "--set", labels, *more]


def _column(output: str, name: str) -> dict[str, int]:
    """A number column of the first printed table, by stage."""
    head = next(line for line in output.splitlines() if line.startswith("┃"))
    place = [cell.strip() for cell in head.strip("┃").split("┃")].index(name)
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")] for line in output.splitlines() if line.startswith("│")
    ]
    return {row[0]: int(row[place]) for row in rows if row[0] in STAGES}


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_makes_a_report_and_the_next_does_nothing(
    tritrack: Tritrack, prefect_home: Path, server: Server, clips: Path, quick: list[str], tmp_path: Path
) -> None:
    """Killed with its own Prefect server; `test_kill_9_in_every_stage_and_run_again` does the other stages."""
    command = _run(clips, str(tmp_path / "root"), [*quick, "--set", "evaluate.audit_videos=1"])
    environment = prefect_environment(prefect_home)
    _kill_in("track", [*command, *_SLOW], tmp_path / "root", tmp_path / "killed.log", environment)
    first = tritrack(*command)
    assert first.returncode == 0, first.stderr + first.stdout
    assert _column(first.stdout, "committed")["download"] == 0, "those of the killed run stand"
    assert min(_column(first.stdout, name)[stage] for name, stage in _DONE) >= 1
    root = open_root(str(tmp_path / "root"))
    place = report_place(root, latest_version(root, "default"))
    assert place is not None
    assert first.stdout.rstrip().endswith(place), "the last line says where the report is"
    page = Path(place.removeprefix("file://")).read_text()
    assert "<img" in page
    assert not re.search(r"""(src|href)\s*=\s*["']https?:""", page), "the page asks nothing of the network"

    second = tritrack(*command, PREFECT_API_URL="http://127.0.0.1:9/api")  # no Prefect is needed, so none is reached
    assert second.returncode == 0, second.stderr
    assert "Nothing to do: every unit is cached." in second.stdout

    third = tritrack(*command, "--flow", PREFECT_API_URL=server.api)
    assert third.returncode == 0, third.stderr
    assert set(_column(third.stdout, "committed").values()) == {0}
    assert min(_column(third.stdout, "cached").values()) >= 1


@pytest.mark.slow
def test_the_whole_demo_on_s3(
    tritrack: Tritrack, quick: list[str], s3_root_url: Callable[[], str], tmp_path: Path
) -> None:
    """Made, served, fetched, tracked, trained and evaluated; the next run needs no server of clips."""
    root = s3_root_url()
    options = [*quick, "--set", "track.gap_frames=30", "--set", "track.patch_px=72"]
    first = tritrack("demo", "--folder", str(tmp_path / "demo"), "--root", root, "--videos", "6", *options)
    assert first.returncode == 0, first.stderr + first.stdout
    assert _column(first.stdout, "committed")["download"] == 10
    assert min(_column(first.stdout, "committed").values()) >= 1
    assert f"{root}/evaluate/" in first.stdout.splitlines()[-1]
    version = latest_version(open_root(root), "demo")
    groups = [entry.group for entry in version.videos.values()]
    assert len(groups) - len(set(groups)) == 1, "two of the real clips are one video"
    second = tritrack("demo", "--folder", str(tmp_path / "demo"), "--root", root, "--videos", "6", *options)
    assert set(_column(second.stdout, "committed").values()) == {0}
    assert _column(second.stdout, "cached")["download"] == 10


@pytest.fixture
def rubbish(clips: Path, tmp_path: Path) -> Path:
    """A folder to serve: a good clip, and everything that is none."""
    folder = tmp_path / "site"
    folder.mkdir()
    good = sorted(clips.glob("*.mp4"))[0]
    shutil.copy(good, folder / "good.mp4")
    (folder / "page.html").write_text("<html><title>No video</title><body>nothing here</body></html>")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "torn.mp4").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(np.zeros(8000, np.int16).tobytes())
    with av.open(str(folder / "still.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder


def test_a_bad_list_costs_only_its_bad_lines(
    tritrack: Tritrack, server: Server, rubbish: Path, quick: list[str], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    names = ("good.mp4", "page.html", "empty.mp4", "torn.mp4", "sound.wav", "still.mp4", "missing.mp4")
    with serve_folder(rubbish) as address:
        list_file = tmp_path / "list.txt"
        list_file.write_text("# seven lines, one of them good\n" + "".join(f"{address}/{name}\n" for name in names))
        allow = ["--set", 'download.allow_hosts=["127.0.0.1"]']
        command = ["run", "--root", str(root), "--sources", str(list_file), *quick, *allow]
        done = tritrack(*command, PREFECT_API_URL=server.api)
        assert done.returncode == 0, done.stderr + done.stdout
        strict = tritrack(*command, "--set", "download.min_kept_share=0.5", PREFECT_API_URL=server.api)
    failures = all_failures(latest_version(open_root(str(root)), "default"))
    by_name = {item.rsplit("/", 1)[1]: failure for item, failure in failures.items()}
    assert set(by_name) == set(names) - {"good.mp4"}
    assert {name: failure.kind for name, failure in by_name.items()} == {
        "page.html": "permanent",
        "missing.mp4": "permanent",
        "empty.mp4": "poison",
        "torn.mp4": "poison",
        "sound.wav": "poison",
        "still.mp4": "poison",
    }
    for failure in by_name.values():
        assert failure.reason
        assert failure.words
        assert failure.stage in {"download", "track"}
        assert failure.reason in done.stdout, "the table of reasons is printed"
    version = latest_version(open_root(str(root)), "default")
    assert [entry.failure for entry in version.videos.values()].count(None) == 1, "the good clip went through"
    assert strict.returncode == 1
    assert "below the floor of 50%" in strict.stderr
    assert "Traceback" not in strict.stderr


@pytest.mark.long
@pytest.mark.timeout(600)  # seven runs
def test_kill_9_in_every_stage_and_run_again(
    clips: Path, quick: list[str], tmp_path: Path, prefect_home: Path, tritrack: Tritrack
) -> None:
    """Killed as soon as a stage's folder appears, stage after stage on one root; nothing outlives it, and the next
    run goes on from what was committed."""
    root = tmp_path / "root"
    command = _run(clips, str(root), quick, "--set", "train.steps=40", *_SLOW)
    committed: dict[Path, int] = {}
    for stage in STAGES:
        _kill_in(stage, command, root, tmp_path / f"{stage}.log", prefect_environment(prefect_home))
        after = {path: path.stat().st_mtime_ns for path in root.rglob("manifest.json")}
        assert committed.items() <= after.items(), "what was committed stays as it was"
        committed = after
    again = tritrack(*command)
    assert again.returncode == 0, again.stderr + again.stdout
    assert committed.items() <= {path: path.stat().st_mtime_ns for path in root.rglob("manifest.json")}.items()
    assert "Nothing to do" in tritrack(*command).stdout
    assert check(open_root(str(root))).broken == ()


def test_a_run_that_is_killed_while_its_server_starts_leaves_no_server(
    tmp_path: Path, prefect_home: Path, clips: Path
) -> None:
    """The server takes seconds to answer; nobody has spoken to it yet."""
    command = [sys.executable, "-m", "flows.cli", "download", "--root", str(tmp_path / "root"), "--sources", str(clips)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=prefect_environment(prefect_home), stdout=log, stderr=log, start_new_session=True
        )
    children: list[psutil.Process] = []

    def server_started() -> bool:
        children[:] = psutil.Process(process.pid).children(recursive=True)
        return any("uvicorn" in child.cmdline() for child in children)

    wait_until(server_started, 240)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert [child.cmdline() for child in alive] == []


def test_ctrl_c_in_a_terminal_ends_the_run_while_its_server_lives(
    tmp_path: Path, prefect_home: Path, clips: Path, quick: list[str]
) -> None:
    """The terminal interrupts every process of its group; a run whose server went first waited two minutes for it."""
    root, log = tmp_path / "root", tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *_run(clips, str(root), quick, "--set", "train.steps=5000")],
            env=prefect_environment(prefect_home),
            stdout=output,
            stderr=output,
            start_new_session=True,
            # A process in the background of a shell is started with Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    wait_until(lambda: (root / "train").is_dir() or process.poll() is not None, 240)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130, log.read_text()
    assert "interrupted; the same command goes on" in log.read_text()
    assert "Connection refused" not in log.read_text()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert [child.cmdline() for child in alive] == []


def _kill_in(stage: str, command: list[str], root: Path, log: Path, environment: dict[str, str]) -> None:
    """SIGKILL a run once a stage has begun to write; all its processes must end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *command],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    wait_until(lambda: (root / stage).is_dir() or process.poll() is not None, 240)
    assert process.poll() is None, log.read_text()
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert [child.cmdline() for child in alive] == []
