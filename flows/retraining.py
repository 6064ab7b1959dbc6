"""Whether a refresh trains: at first, when asked for another network, or when enough pairs are new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flows.plan import plan_train
from storage.keys import KeyDocument, document_from_json, is_blessable, recipe_differences
from storage.manifests import Manifest, read_manifest
from storage.root import Root
from storage.versions import ShardEntry, Version, reached_videos, read_version
from tasks.presets import RunConfig


@dataclass(frozen=True)
class Retraining:
    """Why a night trains, or not, in words; `left_out`: stages that are left out then, each with its note."""

    words: str
    left_out: Mapping[str, str] = field(default_factory=dict)


def decide_training(root: Root, version: Version, config: RunConfig, retrain_share: float) -> Retraining:
    """Compare the pairs of a version with those that its network was trained on.

    `retrain_share`: new pairs, as a share of those trained on, from which on it trains again; 0: at any new pair. A
    network of other parameters is trained in any case; code and libraries alone are no reason. Evaluation is left
    out with the training, unless the standing network has no report yet. Raises RootError.
    """
    plan = plan_train(version, config)
    if not plan.units:
        return Retraining(plan.note or "nothing is new since the last training")
    unit, standing = plan.units[0], version.units.get("train")
    manifest = read_manifest(root, "train", standing.key) if standing else None
    if manifest is None:
        return Retraining("the first training")
    before, after = manifest.recipe.to_json(), unit.document.recipe.to_json()
    if not is_blessable(before, after):
        return Retraining("; ".join(recipe_differences(before, after)))
    if "images" in unit.document.inputs:
        return _of_images(root, version, manifest, unit.document)
    trained, new, since, is_purged = _new_pairs(root, version, manifest)
    if is_purged:
        return Retraining("it was trained on a video that was purged since")
    share = new / trained if trained else float(new > 0)
    words = f"{share:.1%} new pairs since {since}"
    if new and share >= retrain_share:
        return Retraining(words)
    words += f", below retrain_share {retrain_share:.0%}" if new else ""
    left_out = {"train": words}
    if _is_evaluated(root, version, manifest):
        left_out["evaluate"] = "the network is the one that was evaluated"
    return Retraining(words, left_out)


def count_new_pairs(shards: tuple[ShardEntry, ...], version: Version) -> int:
    """Pairs of the version's shards whose tracks are in none of the given shards. A track makes one pair."""
    known = {track for shard in shards for track in shard.tracks}
    tracks = {entry.key: entry.tracks for entry in version.videos.values()}
    return sum(tracks.get(key, 0) for shard in version.shards for key in shard.tracks if key not in known)


def _new_pairs(root: Root, version: Version, manifest: Manifest) -> tuple[int, int, str, bool]:
    """Pairs that the network was trained on, pairs new since, in words since when, and whether some were purged."""
    dataset, number = str(manifest.facts.get("dataset", "")), manifest.facts.get("version", 0)
    assert isinstance(number, int), "the facts of a training name a version by its number"
    try:
        then = read_version(root, dataset, number)
    except FileNotFoundError:  # gc was told to keep the newest versions alone
        trained = manifest.counts["pairs"]  # of the train split
        now = sum(shard.pairs for shard in version.shards if shard.split == "train")
        return trained, max(0, now - trained), f"the training of {manifest.created[:10]}", False
    since = f"version {number}" if dataset == version.name else f"version {number} of {dataset}"
    purged = {name.removesuffix(".json") for name in root.names("state/purged")}
    trained, new = sum(shard.pairs for shard in then.shards), count_new_pairs(then.shards, version)
    return trained, new, since, not purged.isdisjoint(reached_videos(then))


def _of_images(root: Root, version: Version, manifest: Manifest, document: KeyDocument) -> Retraining:
    """New pairs say nothing to a network of labelled images; other images do."""
    if document_from_json(manifest.document).inputs != document.inputs:
        return Retraining("train.images holds other images")
    words = "train.images is as it was"
    evaluated = (
        {"evaluate": "the network is the one that was evaluated"} if _is_evaluated(root, version, manifest) else {}
    )
    return Retraining(words, {"train": words, **evaluated})


def _is_evaluated(root: Root, version: Version, manifest: Manifest) -> bool:
    """Whether the report that the version names is about the network that it names."""
    unit = version.units.get("evaluate/report")
    report = read_manifest(root, "evaluate", unit.key) if unit else None
    return report is not None and document_from_json(report.document).inputs.get("train") == manifest.key
