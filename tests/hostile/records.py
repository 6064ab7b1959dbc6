"""What the hostile corpus is made of, and how its specimens end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.hostile.server import Answer


@dataclass(frozen=True)
class Specimen:
    """One malformed or hostile input: a local file, an answer of a server, or a location as it stands.

    `name`: "family/what", unique. `allowed`: the endings that are right: "kept", "listed", a class such as "poison", or
    a class and a reason such as "permanent private_address". `data`: a file's bytes, put under `file_name`. `answer`:
    what the server does where it is asked for `file_name`. `location`: given as it stands, where both are None.
    `fields`: of DownloadConfig, where they differ for this one.
    """

    name: str
    allowed: frozenset[str]
    data: bytes | None = None
    answer: Answer | None = None
    file_name: str = "clip.mp4"
    location: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Place:
    """Where the corpus lies. `site`: root URL of the server that may be asked; `trap`: of one that must never be, on
    another address; `neighbour`: likewise, on another port of the same address. `folder`: of the files; `secret`: the
    path of one whose bytes must show up nowhere.
    """

    folder: str
    site: str
    trap: str
    neighbour: str

    @property
    def secret(self) -> str:
        return f"{self.folder}/secret.mp4"


@dataclass(frozen=True)
class Ending:
    """How a specimen ended. `kind`: kept, listed, pending, a failure class, "crash" or "hang"."""

    kind: str
    reason: str = ""
    words: str = ""
    seconds: float = 0.0
    video: str = ""

    def is_allowed(self, allowed: frozenset[str]) -> bool:
        return bool({self.kind, f"{self.kind} {self.reason}"} & allowed)
