"""The compose file and the image recipe: valid by their own tools, closed by default, and at one with each other.

No engine runs here. What the services do together, `make test-stack` tries with processes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from flows.cli import app

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)

_SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH|CREDENTIAL|KEY", re.IGNORECASE)
_PINNED = re.compile(r"[\w./-]+:v?\d+\.\d[\w.-]*(@sha256:[0-9a-f]{64})?")


def test_the_compose_file_follows_the_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(FOLDER / "compose.yaml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_is_really_asked(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text("services: {server: {image: x, read_onyl: true}}")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(wrong)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts")) or shutil.which("hadolint")
    if not hadolint:
        pytest.skip("no hadolint: its package has programs for Linux and macOS on x86-64 alone")
    done = subprocess.run([hadolint, str(FOLDER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each_service
def test_a_service_has_no_more_rights_than_it_needs(service: dict[str, Any]) -> None:
    user, group = service["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"network_mode", "pid", "ipc", "devices"} & service.keys(), "shares nothing of the machine"
    for volume in service.get("volumes", ()):
        name = volume.split(":")[0] if isinstance(volume, str) else ""
        assert name in COMPOSE["volumes"] or volume["read_only"], "a named volume, or a folder that is only read"


@each_service
def test_an_image_is_pinned_or_built_here(service: dict[str, Any]) -> None:
    if "build" in service:
        target = service["build"]["target"]
        assert re.search(rf"^FROM \S+ AS {target}$", DOCKERFILE, re.MULTILINE)
        assert service["image"] == f"tritrack:{target}"
        assert (FOLDER / service["build"]["context"]).resolve() == PROJECT
    else:
        assert _PINNED.fullmatch(service["image"])


def test_images_that_ours_are_made_from_are_pinned() -> None:
    stages, outside = set[str](), []
    for image, name in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE):
        outside += [] if image in stages else [image]
        stages.add(name)
    assert len(outside) == 2
    assert all(_PINNED.fullmatch(image) for image in outside)
    assert "constraints.lock" in DOCKERFILE
    installs = re.findall(r"pip install .*", DOCKERFILE)
    assert installs
    assert all("-c constraints.lock" in install for install in installs)


def test_only_the_ui_is_published_and_only_to_this_machine() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "server": ["127.0.0.1:4200:4200"]
    }
    for name in ("postgres", "store"):
        networks = SERVICES[name]["networks"]
        assert all(COMPOSE["networks"][network].get("internal") for network in networks)
    assert "postgres" not in SERVICES["worker"]["networks"], "workers reach the database through the server alone"


@each_service
def test_no_secret_stands_in_the_file(service: dict[str, Any]) -> None:
    for name, value in service.get("environment", {}).items():
        if _SECRET_NAME.search(name):
            assert name.endswith("_FILE"), name
            secret = str(value).removeprefix("/run/secrets/")
            assert secret in service["secrets"], name
    for secret in service.get("secrets", ()):
        assert COMPOSE["secrets"][secret] == {"file": f"./secrets/{secret}"}


@each_service
def test_services_wait_for_what_is_there(service: dict[str, Any]) -> None:
    for name, wanted in service.get("depends_on", {}).items():
        other = SERVICES[name]
        if wanted["condition"] == "service_healthy":
            assert other["healthcheck"]["test"][0] == "CMD"
        else:
            assert wanted["condition"] == "service_completed_successfully"
            assert other["restart"] == "no", "it ends"
    for network in service["networks"]:
        assert network in COMPOSE["networks"]


@each_service
def test_a_command_is_one_of_the_program(service: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As compose makes it with the variables' defaults; parsed, not run."""
    given = service.get("command", "")
    words = given if isinstance(given, list) else given.split()
    words = [word for word in (re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in words) if word]
    if words[:1] == ["tritrack"]:
        monkeypatch.setenv("TRITRACK_ROOT", service["environment"].get("TRITRACK_ROOT", ""))
        commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
        assert commands[words[1]].make_context(words[1], words[2:]).args == []


def test_variables_have_defaults_and_are_told() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    head, body = text.split("\nname:", 1)
    variables = re.findall(r"\$\{(\w+)(:-)?", body)
    assert variables
    for name, default in variables:
        assert default, name
        assert re.search(rf"^#   .*\b{name}\b", head, re.MULTILINE), name


def test_the_builder_gets_what_it_copies_and_no_secret() -> None:
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*", "nothing but what is named"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for source in line.split()
    }
    assert copied == allowed
    assert all((PROJECT / name).exists() for name in copied)
    assert not any("secrets" in name for name in allowed)
