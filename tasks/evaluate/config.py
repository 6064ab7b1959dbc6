"""Configuration of the evaluate stage."""

from __future__ import annotations

from pydantic import Field

from tasks.configuration import StageConfig
from tasks.evaluate import BENCHMARKS


class EvaluateConfig(StageConfig):
    """Which benchmarks run, and on what. A field that starts with a benchmark's name enters only that one's key."""

    benchmarks: tuple[str, ...] = Field(
        tuple(BENCHMARKS), description="Benchmarks to run, in this order; one whose data is not named is left out."
    )
    labels: str = Field(
        "", description="Parquet file of labelled boxes in the data set's videos; empty: no classification."
    )
    voc: str = Field(
        "", description="Folder of a PASCAL VOC devkit, such as VOCdevkit/VOC2007; empty: no benchmark of VOC."
    )
    images: str = Field(
        "",
        description="Folder with train and test (or val), each with a folder of images a class, or with a zip of each; "
        "empty: no classification of images.",
    )
    supervised: str = Field(
        "", description="Folder of an exported network that labels trained: a column of its own beside the trained one."
    )
    bootstrap_samples: int = Field(1000, ge=100, le=100_000, description="Resamples behind each interval.")
    audit_videos: int = Field(
        12, ge=0, le=1000, description="Generated videos on which the report measures the tracker's errors; 0: none."
    )
    classification_crops_per_video: int = Field(
        150, ge=1, description="Most labelled boxes taken from one video, drawn by the seed."
    )
    classification_min_visibility: float = Field(
        0.5, ge=0, le=1, description="Labelled boxes that are less visible than this are left out."
    )
    voc_classification_train_split: str = Field("trainval", description="Split of VOC that linear probes learn from.")
    voc_classification_test_split: str = Field("test", description="Split of VOC that probes are asked about.")
    voc_classification_most_features: int = Field(
        4096, ge=64, le=9216, description="Most features of a layer; its maps are averaged to as fine a grid as that."
    )
    image_classification_most_features: int = Field(
        4096, ge=64, le=9216, description="Most features of a layer; its maps are averaged to as fine a grid as that."
    )
    voc_retrieval_query_split: str = Field("test", description="Split of VOC whose objects are the queries.")
    voc_retrieval_gallery_split: str = Field("trainval", description="Split of VOC whose objects are found.")
    voc_retrieval_depth: int = Field(20, ge=1, le=1000, description="Neighbours of which the precision is told.")
