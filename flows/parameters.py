"""Parameters that every form shares, with what the form says about them."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

StageName = Literal["download", "track", "shard", "train", "evaluate"]
STAGES: tuple[StageName, ...] = get_args(StageName)

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
FromStage = Annotated[StageName, Field(description="Begin with this stage; those before it are left out.")]
OnlyFailed = Annotated[
    bool,
    Field(description="Download and track: try what failed before, whatever its class, and nothing else."),
]
Force = Annotated[
    bool,
    Field(description="Make again what was committed before this run was created; a retry of it repeats nothing."),
]
