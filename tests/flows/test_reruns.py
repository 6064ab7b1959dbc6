"""Which stages run again when a parameter changes: every parameter of every stage, and nothing upstream ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage.versions import Version
from tasks.presets import RunConfig
from tests.flows.imagined import chosen, imagined_run, imagined_sources, ran

ORDER = ("download", "track", "shard", "train", "evaluate")
DOWNLOAD, TRACK, SHARD, TRAIN, EVALUATE = (frozenset({stage}) for stage in ORDER)
NONE: frozenset[str] = frozenset()
AFTER_TRAIN = TRAIN | EVALUATE
AFTER_SHARD = SHARD | AFTER_TRAIN
AFTER_TRACK = TRACK | AFTER_SHARD

# The value that each parameter changes to, and the stages that run again then. A download that gives the same video
# (as here) makes nothing after it run: what follows goes by the bytes.
TABLE: dict[str, tuple[Any, frozenset[str]]] = {
    "seed": (1, AFTER_SHARD),  # of the triplets' negatives, of training and of the intervals
    "download.max_height_px": (240, DOWNLOAD),
    "download.format": ("best", DOWNLOAD),
    "download.max_bytes": (5, NONE),
    "download.budget_bytes": (5, NONE),
    "download.min_free_bytes": (5, NONE),
    "download.timeout_seconds": (1.0, NONE),
    "download.retries": (9, NONE),
    "download.allow_hosts": (("localhost",), NONE),
    "download.min_seconds": (2.0, NONE),
    "download.max_seconds": (60.0, NONE),
    "download.min_height_px": (200, NONE),
    "download.licences": (("creative commons",), NONE),
    "download.max_age_limit": (12, NONE),
    "download.max_pixels": (1000, NONE),
    "download.max_listed": (5, NONE),
    "download.connections": (1, NONE),
    "download.per_host_connections": (1, NONE),
    "download.per_host_hour": (10, NONE),
    "download.pause_seconds": (1.0, NONE),
    "download.max_wait_seconds": (1.0, NONE),
    "download.max_fetch_seconds": (9.0, NONE),
    "download.max_attempts": (1, NONE),
    "download.retry": ("all", NONE),
    "download.scratch_bytes": (0, NONE),
    "download.max_tool_age_days": (0, NONE),
    "download.allow_stores": (("s3://bucket",), NONE),
    "download.keep_removed": (True, NONE),
    "download.min_kept_share": (0.5, NONE),
    "track.estimator": ("dis", AFTER_TRACK),
    "track.working_height_px": (480, AFTER_TRACK),
    "track.patch_px": (48, AFTER_TRACK),
    "track.window_scales": ((1.0,), AFTER_TRACK),
    "track.centre_windows": (False, AFTER_TRACK),
    "track.gap_frames": (15, AFTER_TRACK),
    "track.gap_seconds": (1.0, AFTER_TRACK),
    "track.start_every_frames": (7, AFTER_TRACK),
    "track.windows_per_frame": (1, AFTER_TRACK),
    "track.moving_threshold_px": (1.0, AFTER_TRACK),
    "track.min_moving_share": (0.25, AFTER_TRACK),
    "track.max_moving_share": (0.75, AFTER_TRACK),
    "track.min_confidence": (0.5, AFTER_TRACK),
    "track.fb_threshold_px": (0.8, AFTER_TRACK),
    "track.min_agreement": (0.2, AFTER_TRACK),
    "track.min_ncc": (0.5, AFTER_TRACK),
    "track.min_visible_share": (0.9, AFTER_TRACK),
    "track.cut_threshold": (0.5, AFTER_TRACK),
    "track.duplicate_frames": (0, AFTER_TRACK),
    "track.max_tracks": (7, AFTER_TRACK),
    "track.min_kept_share": (0.5, NONE),
    "shard.patch_px": (32, AFTER_SHARD),
    "shard.margin": (1.3, AFTER_SHARD),
    "shard.jpeg_quality": (80, AFTER_SHARD),
    "shard.held_out_share": (0.9, NONE),  # a video keeps the split that it was given
    "shard.near_duplicate_bits": (3, NONE),  # and its group
    "shard.near_duplicates": ("once", NONE),  # no video has a copy here
    "shard.videos_per_shard": (2, NONE),  # and shards that stand are not packed again
    "shard.compact_bytes": (0, NONE),  # the bytes are the same, and only growth merges
    "train.network": ("caffenet", AFTER_TRAIN),
    "train.objective": ("infonce", AFTER_TRAIN),
    "train.images": ("elsewhere", NONE),  # the images themselves enter, where the objective learns from them
    "train.input_px": (96, AFTER_TRAIN),
    "train.embedding": (64, AFTER_TRAIN),
    "train.steps": (7, AFTER_TRAIN),
    "train.pairs_per_batch": (8, AFTER_TRAIN),
    "train.accumulate": (2, AFTER_TRAIN),  # sums in another order end in other bits
    "train.precision": ("bfloat16", AFTER_TRAIN),
    "train.margin": (0.2, AFTER_TRAIN),
    "train.both_hinges": (True, AFTER_TRAIN),
    "train.temperature": (0.2, AFTER_TRAIN),
    "train.context_weight": (0.5, AFTER_TRAIN),
    "train.negatives": ("far_away", AFTER_TRAIN),
    "train.wrong_pairs": (0.2, AFTER_TRAIN),
    "train.num_negatives": (1, AFTER_TRAIN),
    "train.hard_after_step": (5, AFTER_TRAIN),
    "train.hard_share": (1.0, AFTER_TRAIN),
    "train.mining": ("hard", AFTER_TRAIN),
    "train.optimiser": ("adamw", AFTER_TRAIN),
    "train.learning_rate": (0.01, AFTER_TRAIN),
    "train.warmup_steps": (5, AFTER_TRAIN),
    "train.momentum": (0.5, AFTER_TRAIN),
    "train.weight_decay": (0.0, AFTER_TRAIN),
    "train.schedule": ("step", AFTER_TRAIN),
    "train.decay_every_steps": (10, AFTER_TRAIN),
    "train.augment": ("crop", AFTER_TRAIN),
    "train.smallest_crop": (0.3, AFTER_TRAIN),
    "train.init_part": ("convolutions", AFTER_TRAIN),
    "train.init_from": ("0" * 64, AFTER_TRAIN),
    "train.continue_from": ("0" * 64, AFTER_TRAIN),
    "train.best_every_steps": (7, AFTER_TRAIN),
    "train.skip_budget": (0, NONE),  # it decides whether a run ends, not what it ends in
    "train.keep_checkpoints": (5, NONE),
    "train.ranks": (2, NONE),
    "train.launcher": ("ray", NONE),
    "train.restarts": (0, NONE),
    "train.rendezvous": ("node0:29500", NONE),
    "train.checkpoint_every_steps": (7, NONE),
    "train.tensorboard": ("logs", NONE),
    "train.loader_workers": (2, NONE),
    "train.cache_bytes": (0, NONE),
    "evaluate.benchmarks": (("classification",), EVALUATE),
    "evaluate.labels": ("labels.parquet", EVALUATE),
    "evaluate.supervised": ("labels.parquet", EVALUATE),
    "evaluate.davis": ("labels.parquet", EVALUATE),
    "evaluate.nyu": ("labels.parquet", EVALUATE),
    "evaluate.bootstrap_samples": (200, EVALUATE),
    "evaluate.audit_videos": (3, EVALUATE),
    "evaluate.classification_crops_per_video": (5, EVALUATE),
    "evaluate.classification_min_visibility": (0.1, EVALUATE),
    # Detection runs by request alone; test_detection.py has what its parameters change.
    "evaluate.detection_train_split": ("train", NONE),
    "evaluate.detection_test_split": ("val", NONE),
    "evaluate.detection_train_images": (9, NONE),
    "evaluate.detection_test_images": (9, NONE),
    "evaluate.detection_proposals": (9, NONE),
    "evaluate.detection_search_px": (200, NONE),
    "evaluate.detection_steps": (9, NONE),
    "evaluate.detection_regions_per_batch": (8, NONE),
    "evaluate.detection_images_per_batch": (8, NONE),
    "evaluate.detection_learning_rate": (0.01, NONE),
    "evaluate.detection_decay_every_steps": (9, NONE),
    "evaluate.detection_momentum": (0.5, NONE),
    "evaluate.detection_weight_decay": (0.0, NONE),
    "evaluate.detection_dropout": (0.1, NONE),
    "evaluate.detection_checkpoint_every_steps": (9, NONE),
    "evaluate.detection_classifier": ("softmax", NONE),
    "evaluate.voc_classification_train_split": ("train", EVALUATE),
    "evaluate.voc_classification_test_split": ("val", EVALUATE),
    "evaluate.voc_classification_most_features": (1000, EVALUATE),
    "evaluate.image_classification_most_features": (1000, EVALUATE),
    "evaluate.voc_classification_input_px": (96, EVALUATE),
    "evaluate.image_classification_input_px": (96, EVALUATE),
    "evaluate.voc_retrieval_query_split": ("val", EVALUATE),
    "evaluate.voc_retrieval_gallery_split": ("train", EVALUATE),
    "evaluate.voc_retrieval_depth": (5, EVALUATE),
    "evaluate.voc": ("labels.parquet", EVALUATE),
    "evaluate.images": ("labels.parquet", EVALUATE),
    "evaluate.propagation_split": ("train", EVALUATE),
    "evaluate.propagation_layer": ("conv2", EVALUATE),
    "evaluate.propagation_side_px": (240, EVALUATE),
    "evaluate.propagation_top_k": (10, EVALUATE),
    "evaluate.propagation_frames": (20, EVALUATE),
    "evaluate.propagation_radius": (6, EVALUATE),
    "evaluate.propagation_temperature": (0.05, EVALUATE),
    "evaluate.normals_axes": ("x y z", EVALUATE),
    "evaluate.normals_window_px": (9, EVALUATE),
    "evaluate.normals_input_px": (128, EVALUATE),
    "evaluate.normals_hidden": (64, EVALUATE),
    "evaluate.normals_steps": (10, EVALUATE),
    "evaluate.normals_batch_images": (8, EVALUATE),
    "evaluate.normals_learning_rate": (0.1, EVALUATE),
    "execution.workers": (1, NONE),
    "execution.runner": ("ray", NONE),
    "execution.ray_download_cpus": (0.5, NONE),
    "execution.ray_track_cpus": (2.0, NONE),
    "execution.ray_track_gpus": (0.5, NONE),
    "execution.ray_shard_cpus": (2.0, NONE),
    "execution.batch_units": (1, NONE),
    "execution.videos_together": (4, NONE),
    "execution.wave_sources": (4, NONE),
    "execution.unit_memory_bytes": (10**9, NONE),
    "execution.unit_cpu_seconds": (60.0, NONE),
    "execution.device": ("cpu", NONE),
}
# Their files are of no use to a planner, which takes their digests.
OUTSIDE = ("labels", "supervised", "voc", "images", "davis", "nyu")
# They do not go with the others: below.
OTHERS = {"execution.keep_videos", "train.machines"}


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of labels; the planner only takes their digest."""
    folder = tmp_path_factory.mktemp("labels")
    (folder / "labels.parquet").write_bytes(b"other")
    (folder / "first.parquet").write_bytes(b"first")
    return folder


def _configure(labels: Path, name: str = "", value: Any = None) -> RunConfig:
    document = chosen().model_dump()
    document["evaluate"] |= dict.fromkeys(set(OUTSIDE) - {"supervised"}, str(labels / "first.parquet"))
    section, _, field = name.rpartition(".")
    if name:
        (document[section] if section else document)[field] = (
            str(labels / value) if section == "evaluate" and field in OUTSIDE else value
        )
    return RunConfig.model_validate(document)


@pytest.fixture(scope="module")
def first(labels: Path) -> Version:
    return imagined_run(Version("night"), imagined_sources(*range(8)), _configure(labels))[0]


def _parameters() -> set[str]:
    names = set()
    for name, field in RunConfig.model_fields.items():
        fields = getattr(field.annotation, "model_fields", None)
        names |= {f"{name}.{inner}" for inner in fields} if fields else {name}
    return names


def test_the_table_names_every_parameter() -> None:
    assert set(TABLE) | OTHERS == _parameters()


@pytest.mark.parametrize("name", TABLE)
def test_what_runs_again_when_a_parameter_changes(first: Version, labels: Path, name: str) -> None:
    value, stages = TABLE[name]
    config = _configure(labels, name, value)
    assert config != _configure(labels), "the table holds the default"
    after, plans = imagined_run(first, imagined_sources(*range(8)), config)
    found = {stage for stage, _ in ran(plans)}
    assert found == stages
    section = name.split(".")[0]
    if section in ORDER:
        assert found <= set(ORDER[ORDER.index(section) :]), "nothing upstream runs"
    _, again = imagined_run(after, imagined_sources(*range(8)), config)
    assert ran(again) == [], "and the next run finds everything"


def test_retention_makes_nothing_run_again() -> None:
    first, _ = imagined_run(Version("night"), imagined_sources(*range(8)), chosen())
    config = RunConfig.model_validate(chosen().model_dump() | {"execution": {"keep_videos": "until_tracked"}})
    assert ran(imagined_run(first, imagined_sources(*range(8)), config)[1]) == []


def test_more_machines_make_nothing_run_again() -> None:
    first, _ = imagined_run(Version("night"), imagined_sources(*range(8)), chosen())
    document = chosen().model_dump()
    document["train"] |= {"machines": 2, "rendezvous": "node0:29500"}
    config = RunConfig.model_validate(document)
    assert ran(imagined_run(first, imagined_sources(*range(8)), config)[1]) == []


def test_changing_back_and_forth_never_touches_a_download(first: Version, labels: Path) -> None:
    version = first
    for value in (0.8, 0.5, 0.8):
        version, plans = imagined_run(
            version, imagined_sources(*range(8)), _configure(labels, "track.fb_threshold_px", value)
        )
        assert "download" not in {stage for stage, _ in ran(plans)}
