"""`make audit`: what it lets pass, what it stops, and what it says where it could not look."""

from __future__ import annotations

import sys
import tomllib
from email.message import Message
from pathlib import Path

import pytest

from tests.audit import __main__ as program
from tests.audit import vulnerabilities
from tests.audit.licences import Reviewed, dependencies, is_allowed, licence_faults, licence_of
from tests.audit.vulnerabilities import NotChecked, ask, vulnerability_faults

ALLOWED = ("Apache-2.0", "Apache-2.0 WITH LLVM-exception", "MIT")
REVIEWED = tomllib.loads(Path(program.__file__).with_name("reviewed.toml").read_text())


def _package(name: str, *ids: str) -> dict[str, object]:
    found = [{"id": one, "aliases": [f"CVE-{one}"], "fix_versions": ["2.0"], "description": ""} for one in ids]
    return {"name": name, "version": "1.0", "vulns": found}


def test_a_vulnerability_is_told_with_what_mends_it() -> None:
    report = {"dependencies": [_package("good"), _package("bad", "A-1", "A-2")]}
    assert vulnerability_faults(report, {"A-2": "reviewed"}) == ["bad 1.0: A-1, mended in 2.0"]
    assert vulnerability_faults(report, {"CVE-A-1": "reviewed", "A-2": "reviewed"}) == []


def test_a_service_that_knows_nothing_has_checked_nothing() -> None:
    with pytest.raises(NotChecked):
        vulnerability_faults({"dependencies": [{"name": "a", "skip_reason": "not found on PyPI"}]}, {})


def test_a_service_out_of_reach_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'Traceback' >&2\necho 'no route to host' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(NotChecked, match=r"^no route to host$"):
        ask(tmp_path / "constraints.lock")


@pytest.mark.parametrize(
    ("found", "code", "told"),
    [
        ([_package("torch", "A-1")], 1, "torch 1.0: A-1, mended in 2.0"),
        ([_package("torch")], 0, "vulnerabilities: 0 known"),
        ([{"name": "torch", "skip_reason": "x"}], 0, "vulnerabilities: not checked (no package was found on PyPI"),
    ],
)
def test_what_the_program_ends_with(
    found: list[dict[str, object]],
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(program, "ask", lambda _: {"dependencies": found})
    assert program.main() == code
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(told) for line in lines) == 1
    assert vulnerabilities.ask is ask


@pytest.mark.parametrize(
    "licence", ["MIT", "MIT AND Apache-2.0", "MIT OR GPL-3.0-only", "Apache-2.0 WITH LLVM-exception"]
)
def test_an_allowed_licence(licence: str) -> None:
    assert is_allowed(licence, ALLOWED)


@pytest.mark.parametrize(
    "licence",
    ["GPL-3.0-only", "MIT AND GPL-3.0-only", "(MIT OR ISC) AND ISC", "", "Dual License", "my own terms, ask me"],
)
def test_a_licence_that_is_not(licence: str) -> None:
    assert not is_allowed(licence, ALLOWED)


def test_where_a_package_tells_its_licence() -> None:
    spellings = {"MIT License": "MIT"}
    told = Message()
    told["License"] = "MIT License\n\nPermission is hereby granted, free of charge, to any person"
    assert licence_of(told, spellings) == ""
    told["Classifier"] = "License :: OSI Approved :: MIT License"
    told["Classifier"] = "Programming Language :: Python :: 3"
    assert licence_of(told, spellings) == "MIT"
    told["License-Expression"] = "ISC"
    assert licence_of(told, spellings) == "ISC"


def test_every_licence_of_this_installation_is_reviewed() -> None:
    assert {"torch", "prefect", "yt-dlp", "mutagen", "ray"} <= dependencies(program.PROJECT)
    assert licence_faults(program.PROJECT, Reviewed(**REVIEWED["licences"])) == []


def test_what_nobody_reviewed_is_told() -> None:
    licences = REVIEWED["licences"] | {"exceptions": {"torch": "it is allowed anyway"}}
    faults = licence_faults(program.PROJECT, Reviewed(**licences))
    assert any(fault.startswith("mutagen: licence 'GPL-2.0-or-later' is not allowed") for fault in faults)
    assert any(fault.startswith("torch: an exception") for fault in faults)


def test_reviews_have_reasons() -> None:
    for reviews in (REVIEWED["vulnerabilities"], REVIEWED["licences"]["exceptions"]):
        assert all(len(reason) > 20 for reason in reviews.values())
