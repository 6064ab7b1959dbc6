"""Configuration of the evaluate stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.configuration import StageConfig, outside_key
from tasks.evaluate import BENCHMARKS, BY_REQUEST


class EvaluateConfig(StageConfig):
    """Which benchmarks run, and on what. A field that starts with a benchmark's name enters only that one's key."""

    benchmarks: tuple[str, ...] = Field(
        tuple(name for name in BENCHMARKS if name not in BY_REQUEST),
        description="Benchmarks to run, in this order; one whose data is not named is left out.",
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
    davis: str = Field(
        "", description="Folder in the format of DAVIS 2017, or of videos and masks; empty: no label propagation."
    )
    nyu: str = Field(
        "", description="Folder of images with surface normals or depth, as NYUv2; empty: no surface normals."
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
    detection_train_split: str = Field("trainval", description="Split of voc that detectors are fine-tuned on.")
    detection_test_split: str = Field("test", description="Split of voc that detectors are measured on.")
    detection_train_images: int = Field(0, ge=0, description="Images to fine-tune on, drawn by the seed; 0: all.")
    detection_test_images: int = Field(0, ge=0, description="Images to measure on, drawn by the seed; 0: all.")
    detection_proposals: int = Field(0, ge=0, description="Regions of each image, drawn by the seed; 0: all.")
    detection_search_px: int = Field(
        500, ge=32, description="Longer side of the images that proposals are searched on; a smaller one is quicker."
    )
    # Of R-CNN (Girshick et al., CVPR 2014) and of Wang and Gupta: steps and schedule are theirs.
    detection_steps: int = Field(200_000, ge=1, description="Steps of fine-tuning.")
    detection_regions_per_batch: int = Field(128, ge=4, description="Regions of a step, a quarter with an object.")
    detection_images_per_batch: int = Field(
        16, ge=1, description="Images that a step's regions are from; each is decoded once a step."
    )
    detection_learning_rate: float = Field(0.001, gt=0, description="Learning rate of fine-tuning.")
    detection_decay_every_steps: int = Field(
        80_000, ge=0, description="The learning rate falls to a tenth every so many steps; 0: never."
    )
    detection_momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of fine-tuning.")
    detection_weight_decay: float = Field(0.0005, ge=0, description="Weight decay of fine-tuning.")
    detection_dropout: float = Field(0.5, ge=0, lt=1, description="Dropout behind the new fully connected layers.")
    detection_checkpoint_every_steps: int = outside_key(
        2000, "Steps of fine-tuning after which a killed run goes on from there.", ge=1
    )
    detection_classifier: Literal["svm", "softmax"] = Field(
        "svm", description="What scores regions: linear SVMs on fc7 with hard negatives, or the fine-tuned softmax."
    )
    voc_classification_train_split: str = Field("trainval", description="Split of VOC that linear probes learn from.")
    voc_classification_test_split: str = Field("test", description="Split of VOC that probes are asked about.")
    voc_classification_most_features: int = Field(
        4096, ge=64, le=9216, description="Most features of a layer; its maps are averaged to as fine a grid as that."
    )
    voc_classification_input_px: int = Field(
        0,
        ge=0,
        le=1024,
        description="Side of the images that networks of the largest input see; 0: of their training.",
    )
    image_classification_input_px: int = Field(
        0,
        ge=0,
        le=1024,
        description="Side of the images that networks of the largest input see; 0: of their training.",
    )
    image_classification_most_features: int = Field(
        4096, ge=64, le=9216, description="Most features of a layer; its maps are averaged to as fine a grid as that."
    )
    voc_retrieval_query_split: str = Field("test", description="Split of VOC whose objects are the queries.")
    voc_retrieval_gallery_split: str = Field("trainval", description="Split of VOC whose objects are found.")
    voc_retrieval_depth: int = Field(20, ge=1, le=1000, description="Neighbours of which the precision is told.")
    # The usual settings, of DINO's eval_video_segmentation.py (Caron et al., ICCV 2021); those of CRW (Jabri et al.,
    # NeurIPS 2020) are top_k 10, frames 20, radius 12, temperature 0.05.
    propagation_split: str = Field("val", description="Which list of ImageSets names the sequences.")
    propagation_layer: str = Field(
        "", description="Layer whose map is compared, such as conv3; empty: the deepest one of stride 8 or less."
    )
    propagation_side_px: int = Field(
        480, ge=32, le=2160, description="Shorter side of the frames as features see them, to the next 32 px."
    )
    propagation_top_k: int = Field(5, ge=1, le=1000, description="Cells that a cell takes its label from.")
    propagation_frames: int = Field(7, ge=0, le=100, description="Last frames that it looks at, beside the first.")
    propagation_radius: int = Field(12, ge=1, le=500, description="How far it looks, in cells of the map.")
    propagation_temperature: float = Field(0.1, gt=0, le=10, description="Of the softmax over their cosines.")
    normals_axes: str = Field(
        "x z -y",
        description="What red, green and blue of the files with normals hold; x right, y down, z forward. Whether "
        "they point to the camera or away is seen by itself.",
    )
    normals_window_px: int = Field(
        15, ge=3, le=101, description="Side of the window that normals are computed in, where there is only depth."
    )
    normals_input_px: int = Field(
        0, ge=0, le=1024, description="Side of the images that networks see; 0: that of their training."
    )
    normals_hidden: int = Field(
        512, ge=1, le=8192, description="Width of the layer between convolutions and grid; 4096 in the paper's network."
    )
    normals_steps: int = Field(1000, ge=1, description="Steps of fine-tuning.")
    normals_batch_images: int = Field(32, ge=1, le=1024, description="Images of one step.")
    normals_learning_rate: float = Field(
        0.0003, gt=0, le=1, description="Of AdamW in the first step, from which it falls to 0 along a cosine."
    )
