"""Descriptions of runs, and the one line that each mistake gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.description import describe_run


def _toml(folder: Path, text: str) -> Path:
    file = folder / "run.toml"
    file.write_text(text)
    return file


def test_arguments_win_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    file = _toml(tmp_path, 'root = "kept"\npreset = "paper"\nseed = 3\n[track]\npatch_px = 99\n[train]\nsteps = 5\n')
    run = describe_run(file, root="s3://bucket/x", overrides=["train.steps=6", "track.estimator=dis"])
    assert run.root == "s3://bucket/x"
    assert (run.config.seed, run.config.track.patch_px, run.config.train.steps) == (3, 99, 6)
    assert run.config.track.estimator == "dis"
    assert run.config.train.network == "caffenet"


def test_local_paths_become_absolute_and_urls_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = _toml(tmp_path, 'root = "r"\nsources = "list.txt"\n')
    run = describe_run(file)
    assert run.root == str(tmp_path / "r")
    assert run.sources == str(tmp_path / "list.txt")
    assert describe_run(root="r", sources="https://x.example/v").sources == "https://x.example/v"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('root = "r"\n[track]\nestimator = "flow"\n', ("track.estimator", "'flow'", "klt")),
        ('root = "r"\n[track]\nestimater = "klt"\n', ("track.estimater", "unknown field", "estimator")),
        ('root = "r"\n[tracks]\nx = 1\n', ("tracks", "unknown field", "track")),
        ('root = "r"\n[train]\nsteps = 0\n', ("train.steps", "0", "greater than or equal to 1")),
        ('root = "r"\n[train]\nsteps = "many"\n', ("train.steps", "'many'", "integer")),
        ('root = "r"\npreset = "tiny"\n', ("preset", "'tiny'", "paper, sample")),
        ('root = "r"\ndataset = "../x"\n', ("dataset", "'../x'")),
        ("root = \n", ("config", "run.toml", "TOML")),
    ],
)
def test_a_mistake_is_one_line_with_field_value_and_choices(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        describe_run(_toml(tmp_path, text))
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_missing_root_names_every_way_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITRACK_ROOT", raising=False)
    with pytest.raises(ValueError, match=r"^root: missing; give --root"):
        describe_run()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"root": "sftp://me:hunter2@host/tracks"}, "root: 'sftp://***@host/tracks' holds a secret"),
        ({"root": "r", "sources": "https://me:hunter2@e.com/feed.xml"}, "sources: 'https://***@e.com/feed.xml' holds"),
        ({"root": "r", "sources": "https://e.com/list.csv?v=1&X-Amz-Signature=hunter2"}, "put the URL into a list"),
    ],
)
def test_a_secret_is_no_parameter(given: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=r"^(root|sources): ") as failed:
        describe_run(**given)  # type: ignore[arg-type]
    assert told in str(failed.value)
    assert "hunter2" not in str(failed.value)
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run"], "root: missing"),
        (["run", "--root", "r", "--preset", "tiny"], "preset: 'tiny'"),
        (["run", "--root", "r", "--set", "track.estimator=flow"], "choose one of auto, klt"),
        (["run", "--root", "r", "--sources", "nowhere.txt"], "sources: "),
        (["run", "--root", "gopher://x"], "root: 'gopher://x'"),
        (["status", "--root", "/dev/null/x"], "root: '/dev/null/x'"),
        (["run", "--config", "nowhere.toml"], "config: 'nowhere.toml'"),
    ],
)
def test_the_program_ends_with_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], told: str) -> None:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
