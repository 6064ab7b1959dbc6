"""Which code this is: what a deployment was made from, and what a worker runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
from importlib.metadata import version
from pathlib import Path

from storage.keys import digest_json
from storage.syntax import parse_module

CODE_VARIABLE = "TRITRACK_CODE"
"""Names the code of the deployment in the environment of its runs; what is not deployed has none."""

_PROJECT = Path(__file__).resolve().parent.parent
_PACKAGES = ("flows", "tasks", "storage")


def code_name() -> str:
    """Names all code of the project: 16 hex digits of the bytes of its files, a dot, and 16 of what they say.

    Files that differ in comments and layout alone say the same. Coarser than a unit's fingerprint on purpose: a
    planner and a worker that differ anywhere may differ in a key.
    """
    return f"{code_digest()}.{_digest_of_syntax()}"


def code_version() -> str:
    """What the Prefect UI shows as a deployment's version: the git commit, "+" where files differ from it; the
    package's version where there is no checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(_PROJECT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() == _PROJECT:
            return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        pass  # no git, or no checkout of ours: an installed package
    return version("tritrack")


def require_deployed_code() -> None:
    """Refuse to work for a deployment that was made from other code: keys would differ, and all would run again.

    Raises ValueError.
    """
    deployed = os.environ.get(CODE_VARIABLE, "")
    of_bytes, _, of_syntax = deployed.partition(".")
    if not deployed or of_bytes == code_digest() or of_syntax == _digest_of_syntax():
        return
    raise ValueError(
        f"code: this worker runs Tritrack {code_version()} ({code_name()}), the deployment was made from other code "
        f"({deployed}); install the same on both, or run `tritrack deploy` here and start all workers again"
    )


def _files() -> dict[str, Path]:
    """The modules of the project, by name."""
    files = [file for package in _PACKAGES for file in sorted((_PROJECT / package).rglob("*.py"))]
    return {".".join(file.relative_to(_PROJECT).with_suffix("").parts): file for file in files}


def code_digest() -> str:
    """16 hex digits of the bytes of all files of the project."""
    return digest_json({name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in _files().items()})[:16]


def _digest_of_syntax() -> str:
    said = {}
    for name, file in _files().items():
        status = file.stat()
        module = parse_module(file, name, file.name == "__init__.py", status.st_mtime_ns, status.st_size)
        imports = sorted(f"{alias} {target}" for alias, targets in module.imports.items() for target in targets)
        texts = [f"{each} {one.text}" for each in sorted(module.statements) for one in module.define(each)]
        said[name] = [*imports, *texts]
    return digest_json(said)[:16]
