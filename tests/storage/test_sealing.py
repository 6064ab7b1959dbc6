"""Sealed records: any flipped bit of a manifest or a head is noticed."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from storage.keys import KeyDocument, Recipe
from storage.manifests import commit, manifest_path, read_manifest
from storage.root import Root, RootError, StoreUnavailable
from storage.sealing import read_schema, seal, unseal
from storage.versions import SourceEntry, UnitEntry, read_version, update_version, version_path


def test_a_sealed_record_reads_back_as_json_keeps_it() -> None:
    record = {"schema": 1, "words": "Süd", "parts": (1, 2.5, None), "deep": {"b": True, "a": []}}
    read, schema = read_schema(seal(record))
    assert (unseal(read), schema) == (json.loads(json.dumps(record)), 1)


@pytest.mark.parametrize("record", [{"schema": 1}, {"schema": 1, "digest": "0" * 64}, {"schema": 1, "digest": None}])
def test_a_record_without_its_own_seal_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="does not match its own digest"):
        unseal(record)


def test_every_flipped_bit_is_noticed(root: Root) -> None:
    document = KeyDocument(Recipe("track", 1, parameters={"patch_px": 72}), {"video": "ab" * 32})
    key = commit(root, document, {"output.bin": b"bytes"}, counts={"tracks": 5}, facts={"fps": 25.0}).key
    sources = {"s": SourceEntry("https://a.example/1", key, document.recipe.digest, video="ab" * 32)}
    recipes = {document.recipe.digest: document.recipe.to_json()}
    units = {"train": UnitEntry("cd" * 32)}
    update_version(root, "clips", lambda version: replace(version, sources=sources, recipes=recipes, units=units))
    for path, read in [
        (manifest_path("track", key), lambda: read_manifest(root, "track", key)),
        (version_path("clips", 1), lambda: read_version(root, "clips", 1)),
    ]:
        data = root.read_bytes(path)
        for place in random.Random(0).sample(range(len(data) * 8), 60):
            flipped = bytearray(data)
            flipped[place // 8] ^= 1 << place % 8
            root.write_bytes(path, bytes(flipped))
            try:
                before, after = json.loads(data), json.loads(flipped)
            except ValueError:
                before, after = 0, 1
            if before != after:  # white space may differ: it says nothing
                with pytest.raises(RootError):
                    read()
        root.write_bytes(path, data)
        read()


def test_a_store_that_fails_is_not_told_as_damage(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    update_version(root, "clips", lambda version: replace(version, sources={"s": SourceEntry("a", "k")}))

    def fail(self: Root, path: str) -> bytes:
        if path.endswith(".parquet") or path.startswith("track"):
            raise StoreUnavailable(f"root: {path} cannot be reached")
        return original(self, path)

    original = Root.read_bytes
    monkeypatch.setattr(Root, "read_bytes", fail)
    with pytest.raises(StoreUnavailable):
        read_manifest(root, "track", "0" * 64)
    with pytest.raises(StoreUnavailable):
        read_version(root, "clips", 1)
