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
