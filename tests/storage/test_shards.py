"""Shards: fixed bytes, offsets that are right, and readers that are not ours."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from storage.manifests import StoredFile
from storage.root import Root, RootError, hash_file
from storage.shards import ShardReader, ShardWriter

Samples = dict[str, dict[str, bytes]]

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,40}", fullmatch=True)
members = st.dictionaries(
    st.sampled_from(["anchor.jpg", "positive.jpg", "json"]), st.binary(max_size=1500), min_size=1, max_size=3
)
contents = st.dictionaries(names, members, max_size=6)


def write(path: Path, samples: Samples) -> dict[str, dict[str, tuple[int, int]]]:
    with ShardWriter(path) as writer:
        return {sample: writer.add(sample, parts) for sample, parts in samples.items()}


def some_samples(count: int = 5) -> Samples:
    source = random.Random(0)
    return {
        f"{number:04d}": {"anchor.jpg": source.randbytes(700 + number), "json": b'{"n": %d}' % number}
        for number in range(count)
    }


@given(contents)
def test_offsets_and_order_hold_for_any_contents(tmp_path_factory: pytest.TempPathFactory, samples: Samples) -> None:
    path = tmp_path_factory.mktemp("shard") / "shard.tar"
    places = write(path, samples)
    data = path.read_bytes()
    for sample, parts in samples.items():
        for member, (offset, size) in places[sample].items():
            assert data[offset : offset + size] == parts[member]
    with tarfile.open(path) as tar:
        read = [(entry.name, tar.extractfile(entry).read()) for entry in tar]  # type: ignore[union-attr]
    expected = [(f"{sample}.{member}", part) for sample, parts in samples.items() for member, part in parts.items()]
    assert read == expected


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", some_samples())
    write(tmp_path / "b.tar", some_samples())
    data = (tmp_path / "a.tar").read_bytes()
    assert data == (tmp_path / "b.tar").read_bytes()
    assert hashlib.sha256(data).hexdigest()[:16] == "2aa86a8f92c8ea7e"
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for entry in tar:
            assert (entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname, entry.mode) == (0, 0, 0, "", "", 0o644)


def test_the_stock_webdataset_reader_reads_it(tmp_path: Path) -> None:
    samples = some_samples()
    write(tmp_path / "shard.tar", samples)
    dataset = webdataset.WebDataset(str(tmp_path / "shard.tar"), shardshuffle=False)
    read = {sample["__key__"]: sample for sample in dataset}
    assert list(read) == list(samples)
    for name, parts in samples.items():
        assert {member: read[name][member] for member in parts} == parts


def test_a_reader_that_groups_by_name_reads_it(tmp_path: Path) -> None:
    """As the `datasets` package does: members in order, split at the first dot of their base name."""
    samples = some_samples()
    write(tmp_path / "shard.tar", samples)
    read: Samples = {}
    with tarfile.open(tmp_path / "shard.tar", "r|") as tar:
        for entry in tar:
            sample, member = entry.name.rsplit("/", 1)[-1].split(".", 1)
            assert sample in (*read, *samples), "and a sample's members are side by side"
            assert sample not in list(read)[:-1]
            read.setdefault(sample, {})[member] = tar.extractfile(entry).read()  # type: ignore[union-attr]
    assert read == samples


@given(contents)
def test_the_bytes_are_those_of_tarfile(tmp_path_factory: pytest.TempPathFactory, samples: Samples) -> None:
    folder = tmp_path_factory.mktemp("shard")
    write(folder / "ours.tar", samples)
    with tarfile.open(folder / "peer.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample, parts in samples.items():
            for member, data in parts.items():
                entry = tarfile.TarInfo(f"{sample}.{member}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    assert (folder / "ours.tar").read_bytes() == (folder / "peer.tar").read_bytes()


@given(st.lists(contents, max_size=4))
def test_shards_one_after_the_other_are_as_one(tmp_path_factory: pytest.TempPathFactory, parts: list[Samples]) -> None:
    folder = tmp_path_factory.mktemp("shard")
    parts = [{f"{number}-{name}": members for name, members in part.items()} for number, part in enumerate(parts)]
    whole = write(folder / "whole.tar", {name: members for part in parts for name, members in part.items()})
    with ShardWriter(folder / "merged.tar") as writer:
        for number, part in enumerate(parts):
            places = write(folder / f"{number}.tar", part)
            start = writer.offset
            writer.extend(folder / f"{number}.tar")
            for name, members in places.items():
                moved = {member: (start + offset, size) for member, (offset, size) in members.items()}
                assert whole[name] == moved
    assert (folder / "merged.tar").read_bytes() == (folder / "whole.tar").read_bytes()


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:700], lambda data: b"x" * len(data)])
def test_what_is_no_shard_is_not_appended(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    write(tmp_path / "shard.tar", some_samples())
    path = tmp_path / "damaged.tar"
    path.write_bytes(damage((tmp_path / "shard.tar").read_bytes()))
    with ShardWriter(tmp_path / "merged.tar") as writer, pytest.raises(ValueError, match="is no shard"):
        writer.extend(path)


def test_a_name_that_no_header_holds_is_refused(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "shard.tar") as writer, pytest.raises(ValueError, match="100 bytes"):
        writer.add("a" * 97, {"json": b"{}"})


@pytest.mark.parametrize("sample", ["a.b", "folder/a"])
def test_a_name_that_webdataset_would_split_is_refused(tmp_path: Path, sample: str) -> None:
    with ShardWriter(tmp_path / "shard.tar") as writer, pytest.raises(ValueError, match="WebDataset"):
        writer.add(sample, {"json": b"{}"})


def test_a_reader_finds_members_by_offset(root: Root, tmp_path: Path) -> None:
    samples = some_samples()
    path = tmp_path / "shard.tar"
    places = write(path, samples)
    sha256, size = hash_file(path)
    root.upload(path, "shard/key/shard-0.tar")
    file = StoredFile("shard/key/shard-0.tar", size, sha256)
    for _ in range(2):  # the second is served by the cache
        reader = ShardReader(root, file, tmp_path / "cache")
        for sample, parts in samples.items():
            for member, place in places[sample].items():
                assert reader.read(*place) == parts[member]
        reader.close()


def test_a_remote_shard_that_is_damaged_is_named_and_not_kept(s3_root: Root, tmp_path: Path) -> None:
    write(tmp_path / "shard.tar", some_samples())
    sha256, size = hash_file(tmp_path / "shard.tar")
    s3_root.write_bytes("shard/key/shard-0.tar", b"\0" * size)
    with pytest.raises(RootError, match=r"shard-0\.tar is damaged"):
        ShardReader(s3_root, StoredFile("shard/key/shard-0.tar", size, sha256), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
