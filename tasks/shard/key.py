"""Keys of shard units and of the triplet index."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from storage.fingerprint import fingerprint
from storage.keys import KeyDocument, Recipe, digest_json, library_versions
from storage.versions import Split
from tasks.shard.config import ShardConfig

SCHEMA = 1
_PIXELS = {"patch_px", "margin", "jpeg_quality"}  # the split's own parameters enter through its outcome


def shard_document(config: ShardConfig, split: Split, tracks: Sequence[str]) -> KeyDocument:
    """The key document of one shard: the track units (keys) that it packs, in order."""
    return KeyDocument(shard_recipe(config), {"split": split, "tracks": list(tracks)})


@functools.lru_cache(maxsize=64)
def shard_recipe(config: ShardConfig) -> Recipe:
    """The recipe of every shard."""
    return Recipe(
        stage="shard",
        schema=SCHEMA,
        parameters=config.model_dump(mode="json", include=_PIXELS),
        code=fingerprint("tasks.shard.pack:pack_shard"),
        libraries=library_versions("opencv-contrib-python-headless", "pyarrow"),
    )


def triplets_document(seed: int, shards: Sequence[str], groups: Mapping[str, str]) -> KeyDocument:
    """The key document of a data set version's triplet index; `groups` maps a video to its near-duplicates' group."""
    recipe = Recipe(
        stage="shard",
        schema=SCHEMA,
        seed=seed,
        variant={"unit": "triplets"},
        code=fingerprint("tasks.shard.triplets:index_triplets"),
        libraries=library_versions("pyarrow"),
    )
    return KeyDocument(recipe, {"shards": list(shards), "groups": digest_json(dict(groups))})
