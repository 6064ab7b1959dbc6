"""Where the stack's secrets come from, and how they reach programs that know variables alone."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "docker"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    _make(tmp_path / "secrets")
    return tmp_path / "secrets"


def _make(folder: Path) -> None:
    subprocess.run(["sh", str(FOLDER / "secrets.sh"), str(folder)], check=True, capture_output=True)


def test_every_secret_of_the_compose_file_is_made(made: Path) -> None:
    named = yaml.safe_load((FOLDER / "compose.yaml").read_text())["secrets"]
    assert {path.name for path in made.iterdir()} == set(named)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700, "closed to others of this machine"
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()} == {0o444}, "read by the services' users"


def test_the_store_and_its_clients_share_a_key_and_nothing_else_is_shared(made: Path) -> None:
    store = json.loads((made / "store.json").read_text())["identities"][0]
    (credentials,) = store["credentials"]
    clients = (made / "aws_credentials").read_text()
    assert f"aws_access_key_id = {credentials['accessKey']}\n" in clients
    assert f"aws_secret_access_key = {credentials['secretKey']}\n" in clients
    user, password = (made / "prefect_auth").read_text().split(":")
    words = {password, credentials["secretKey"], (made / "postgres_password").read_text()}
    assert user == "tritrack"
    assert len(words) == 3
    assert {len(word) for word in words} == {48}


def test_a_second_time_changes_nothing(made: Path) -> None:
    (made / "prefect_auth").unlink()
    (made / "prefect_auth").write_text("me:chosen")
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    _make(made)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


def _enter(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **variables}
    entry = ["sh", str(FOLDER / "entrypoint.sh"), *command]
    return subprocess.run(entry, env=environment, capture_output=True, text=True, check=False)


def test_a_variable_comes_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "prefect_auth"
    file.write_text("tritrack:a b$c'd\n")
    done = _enter("env", PREFECT_API_AUTH_STRING_FILE=str(file), OTHER="1")
    lines = done.stdout.splitlines()
    assert "PREFECT_API_AUTH_STRING=tritrack:a b$c'd" in lines
    assert "OTHER=1" in lines
    assert not any(line.startswith("PREFECT_API_AUTH_STRING_FILE") for line in lines)


def test_the_command_keeps_its_arguments_and_its_exit_code() -> None:
    done = _enter("sh", "-c", 'echo "$1"; exit 7', "sh", "two words")
    assert (done.returncode, done.stdout) == (7, "two words\n")


def test_a_secret_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    done = _enter("echo", "started", PREFECT_API_AUTH_STRING_FILE=str(tmp_path / "none"))
    assert done.returncode != 0
    assert "started" not in done.stdout
    assert "none" in done.stderr
