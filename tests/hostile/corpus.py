"""The whole corpus: every family's specimens, and where each of them is found."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.answers import respond
from tests.hostile.clips import clip
from tests.hostile.containers import box
from tests.hostile.damage import cut_clips, damaged_clips
from tests.hostile.elements import lying_headers
from tests.hostile.lies import lying_boxes
from tests.hostile.names import odd_names
from tests.hostile.odd import odd_clips
from tests.hostile.pages import hostile_pages
from tests.hostile.posing import posing_files
from tests.hostile.records import Place, Specimen
from tests.hostile.redirects import redirects
from tests.hostile.replies import broken_replies
from tests.hostile.server import Answer

CANARY = b"tritrack-canary-4b1d"  # in what must never be read: neither stored, nor quoted


@dataclass(frozen=True)
class Found:
    """A specimen and its location, a path or a URL."""

    specimen: Specimen
    location: str


def make_corpus(place: Place) -> list[Specimen]:
    """Every specimen but those of `odd_files`, whose making needs the folder; the same bytes at each call."""
    made = [
        *cut_clips(),
        *damaged_clips(),
        *odd_clips(),
        *lying_boxes(place),
        *lying_headers(),
        *posing_files(place),
        *broken_replies(),
        *redirects(place),
        *odd_names(place),
        *hostile_pages(place),
    ]
    names = [specimen.name for specimen in made]
    assert len(set(names)) == len(names), "two specimens of one name"
    return made


def lay_out(specimens: Sequence[Specimen], place: Place, answers: dict[str, Answer]) -> Iterator[Found]:
    """Write the files and hand the answers to the server."""
    for number, specimen in enumerate(specimens):
        if specimen.data is not None:
            folder = Path(place.folder) / f"f{number}"
            folder.mkdir(parents=True)
            path = folder / specimen.file_name
            path.write_bytes(specimen.data)
            yield Found(specimen, os.fspath(path))
        elif specimen.answer is not None:
            answers[f"s{number}"] = specimen.answer
            yield Found(specimen, f"{place.site}/s{number}/{specimen.file_name}")
        else:
            yield Found(specimen, specimen.location)


def write_secret(place: Place) -> Answer:
    """A video that must not be read, in the folder; returns the trap's answer, which is that video too."""
    secret = clip("mp4", "mpeg4") + box(b"free", CANARY)
    Path(place.folder).mkdir(parents=True, exist_ok=True)
    Path(place.secret).write_bytes(secret)
    return respond(secret)
