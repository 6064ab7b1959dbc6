"""`python -m tests.audit`: licences of what Tritrack installs, and known vulnerabilities of what is locked.

Exit code 1 where a licence is not allowed or a vulnerability is known that `reviewed.toml` does not name. Where the
advisory service cannot be asked, one line says so, and that alone fails nothing.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from tests.audit.licences import Reviewed, dependencies, licence_faults
from tests.audit.vulnerabilities import NotChecked, ask, vulnerability_faults

PROJECT = Path(__file__).parents[2]


def main() -> int:
    reviewed = tomllib.loads(Path(__file__).with_name("reviewed.toml").read_text())
    faults = licence_faults(PROJECT, Reviewed(**reviewed["licences"]))
    told = [f"licences of {len(dependencies(PROJECT))} packages: {len(faults)} not allowed"]
    try:
        found = vulnerability_faults(ask(PROJECT / "constraints.lock"), reviewed["vulnerabilities"])
        told.append(f"vulnerabilities: {len(found)} known")
        faults += found
    except NotChecked as error:
        told.append(f"vulnerabilities: not checked ({error})")
    sys.stdout.write("\n".join([*faults, *told]) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
