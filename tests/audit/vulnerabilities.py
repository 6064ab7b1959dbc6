"""Known vulnerabilities of the versions that constraints.lock pins, as PyPI's advisory service tells them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path


class NotChecked(Exception):
    """The service did not answer, or knows none of the packages; the message is one line."""


def vulnerability_faults(report: Mapping[str, list[dict[str, object]]], reviewed: Mapping[str, str]) -> list[str]:
    """In words, each vulnerability of a pip-audit report that nobody has reviewed.

    Raises NotChecked where the service knows no package of the report at all.
    """
    known = [package for package in report["dependencies"] if "skip_reason" not in package]
    if not known:
        raise NotChecked("no package was found on PyPI from here")
    return [fault for package in known for fault in _faults(package, reviewed)]


def ask(lock: Path) -> dict[str, list[dict[str, object]]]:
    """pip-audit's report over a lock. Raises NotChecked where the service cannot be reached."""
    options = ["--no-deps", "--disable-pip", "--progress-spinner=off", "--timeout=10", "--format=json"]
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    except ValueError as error:
        words = done.stderr.strip().splitlines()
        raise NotChecked(words[-1] if words else f"pip-audit ended with {done.returncode}") from error
    return report


def _faults(package: Mapping[str, object], reviewed: Mapping[str, str]) -> Iterator[str]:
    found = package["vulns"]
    assert isinstance(found, list)
    for one in found:
        if not {one["id"], *one["aliases"]} & reviewed.keys():
            mended = ", ".join(one["fix_versions"]) or "no version"
            yield f"{package['name']} {package['version']}: {one['id']}, mended in {mended}"
