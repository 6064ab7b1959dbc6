"""Parameters that every form shares, with what the form says about them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

RootUrl = Annotated[str, Field(description="Storage root: a folder, or an fsspec URL such as s3://bucket/prefix.")]
Dataset = Annotated[
    str, Field(description="The data set: a named collection that grows.", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
]
Sources = Annotated[
    str,
    Field(
        description="A list (.txt, .csv, .tsv, .jsonl, .parquet), a folder, a video file, a URL of a video, playlist, "
        "channel or feed, a search, or an object-store path; empty: the sources that the data set knows."
    ),
]
Only = Annotated[
    str,
    Field(
        description="Only a part of the sources: a URL or path, the first digits of an id, a range of places in order "
        "of id such as 0:100, or 'batch 3'; empty: all."
    ),
]
Expand = Annotated[bool, Field(description="Read playlists, channels, feeds and searches again.")]
