"""Parameters that every form shares, with what the form says about them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

RootUrl = Annotated[str, Field(description="Storage root: a folder, or an fsspec URL such as s3://bucket/prefix.")]
Dataset = Annotated[
    str, Field(description="The data set: a named collection that grows.", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
]
Sources = Annotated[
    str, Field(description="A list file, a folder, a video file or a URL; empty: the sources that the data set knows.")
]
