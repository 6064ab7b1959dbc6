"""The reader from the shards to the batches: remote shards, several threads, resumed runs and damage."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tasks.train.data
from storage.manifests import require_manifest
from storage.root import Root, RootError, open_root
from tasks.train.config import TrainConfig
from tasks.train.data import Batch, iterate_batches
from tasks.train.order import cut_layout
from tasks.train.pairs import PairTable, load_pairs
from tests.tasks.train.conftest import MakeTriplets

_roots = itertools.count(1)
VIDEOS = ("a", "b", "c", "d", "e")  # a shard each, of five pairs


@pytest.fixture
def remote_root(root: Root, make_triplets: MakeTriplets) -> tuple[Root, str]:
    """A root that is not on local disk with all of `root`, and the key of its triplet index."""
    key = make_triplets(VIDEOS)
    copy = open_root(f"memory://reader-{next(_roots)}")
    for entry in root.walk(""):
        copy.write_bytes(entry.path, root.read_bytes(entry.path))
    return copy, key


def in_rounds(table: PairTable, round_shards: int = 2) -> PairTable:
    """The same pairs, cut so small that a few batches pass several rounds."""
    layout = cut_layout(table.shards, block_pairs=2, window_blocks=2, round_shards=round_shards)
    return replace(table, layout=layout)


def batches(
    table: PairTable, config: TrainConfig, cursor: int = 0, steps: int = 12, rank: int = 0, ranks: int = 1
) -> list[Batch]:
    return list(iterate_batches(table, config, 3, cursor=cursor, steps=steps, rank=rank, ranks=ranks))


def assert_equal(some: list[Batch], others: list[Batch]) -> None:
    for one, other in zip(some, others, strict=True):
        for name in ("images", "draws", "pairs", "groups"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
        assert one.epoch == other.epoch


@pytest.mark.parametrize("workers", [2, 5])
@pytest.mark.parametrize("cursor", [0, 8, 16, 24, 32, 1000])  # step 0, mid-epoch, the epoch's last batch, and later
def test_a_resumed_run_reads_what_the_whole_run_does(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig, tmp_path: Path, cursor: int, workers: int
) -> None:
    """With other numbers of threads and ranks too; 25 pairs in batches of 8."""
    table = in_rounds(load_pairs(root, make_triplets(VIDEOS), tmp_path))
    resumed = small_config.model_copy(update={"loader_workers": workers})
    whole = batches(table, small_config, cursor % 1000, steps=10)
    if cursor == 1000:  # begins an epoch, as 0 does, with other pairs
        whole = batches(table, small_config, 1000, steps=10)
    assert_equal(batches(table, resumed, cursor, steps=10), whole)
    skipped = batches(table, resumed, cursor + 24, steps=7)
    assert_equal(skipped, whole[3:])
    parts = [batches(table, resumed, cursor, steps=10, rank=rank, ranks=3) for rank in range(3)]
    for number, batch in enumerate(whole):
        images = [part[number].images.reshape(2, -1, *batch.images.shape[1:]) for part in parts]
        assert np.array_equal(np.concatenate(images, axis=1).reshape(batch.images.shape), batch.images)
    table.close()


@pytest.mark.parametrize("cache_shards", [0, 3, 100])
def test_remote_shards_are_read_through_the_cache(
    remote_root: tuple[Root, str],
    root: Root,
    small_config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache_shards: int,
) -> None:
    """The batches are those of a local root, whatever the cache holds, and no more than is in use is kept beyond it."""
    copy, key = remote_root
    local = in_rounds(load_pairs(root, key, tmp_path / "unused"))
    expected = batches(local, small_config)
    assert not (tmp_path / "unused").exists(), "a local root needs no cache"
    size = max(file.size for file in local.readers.files)
    fetched: list[str] = []
    download = Root.download
    monkeypatch.setattr(
        Root, "download", lambda self, path, target: (fetched.append(path), download(self, path, target))[1]
    )
    table = in_rounds(load_pairs(copy, key, tmp_path / "cache", cache_shards * size))
    assert fetched == [], "nothing is fetched before it is read"
    assert_equal(batches(table, small_config), expected)
    table.close()
    if cache_shards == 100:
        assert sorted(fetched) == sorted(file.path for file in table.readers.files), "each once"
        again = in_rounds(load_pairs(copy, key, tmp_path / "cache", cache_shards * size))
        assert_equal(batches(again, small_config), expected)
        again.close()
        assert len(fetched) == len(VIDEOS), "nor by the next run"


def test_shards_of_past_rounds_are_released(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig, tmp_path: Path
) -> None:
    """Few shards are open at a time: those of this round and the next, of one shard each here."""
    table = in_rounds(load_pairs(root, make_triplets(VIDEOS, pairs=20), tmp_path), round_shards=1)
    config = small_config.model_copy(update={"pairs_per_batch": 2})
    used: set[int] = set()
    most_open = 0
    run = iterate_batches(table, config, 3, cursor=0, steps=200, rank=0, ranks=1)
    for batch in itertools.islice(run, 150):
        used |= set(table.shards[batch.pairs].tolist())
        most_open = max(most_open, table.readers.num_open)
    run.close()  # type: ignore[attr-defined]
    assert used == set(range(len(VIDEOS)))
    assert 2 <= most_open < len(VIDEOS)
    table.close()
    assert table.readers.num_open == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("decode", "prefetch"))]


def test_next_rounds_are_asked_for_before_they_are_read(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig, tmp_path: Path
) -> None:
    table = in_rounds(load_pairs(root, make_triplets(VIDEOS), tmp_path))
    config = small_config.model_copy(update={"pairs_per_batch": 2})
    asked: list[int] = []

    class Inline:
        """A pool of no threads: what is submitted is done at once."""

        def submit(self, function: object, *arguments: object) -> object:
            if function == table.fetch:
                asked.append(arguments[0])  # type: ignore[arg-type]
            return type("Done", (), {"cancel": lambda self: False, "done": lambda self: True})()

    prefetch = tasks.train.data._Prefetch(table, 3, Inline(), 0, 50)  # type: ignore[arg-type]
    for batch, cursor in zip(batches(table, config, steps=20), range(0, 40, 2), strict=True):
        prefetch.reach(cursor + 2)
        assert set(table.shards[batch.pairs].tolist()) <= set(asked)
        prefetch.leave(cursor + 2)
    assert len(asked) <= 15, "each shard once an epoch, and one round ahead"
    table.close()


def test_a_damaged_patch_is_named_by_shard_and_row(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig, tmp_path: Path
) -> None:
    table = load_pairs(root, make_triplets(("a", "b")), tmp_path)
    pair = 7
    file = table.readers.files[table.shards[pair]]
    offset, size = table.places[pair, 1]
    path = root.local_path(file.path)
    assert path is not None
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = bytes(int(size))
    path.write_bytes(data)
    with pytest.raises(
        ValueError, match=rf"{file.path}, row {table.rows[pair]}: the positive patch is damaged"
    ) as caught:
        batches(table, small_config)
    assert "\n" not in str(caught.value)
    table.places[pair, 1, 1] = 0
    with pytest.raises(ValueError, match=f"row {table.rows[pair]}: the positive patch is damaged"):
        batches(table, small_config)
    table.close()


def test_a_shard_that_was_cut_or_is_gone_is_named(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig, tmp_path: Path
) -> None:
    key = make_triplets(("a", "b"))
    file = load_pairs(root, key, tmp_path).readers.files[1]
    path = root.local_path(file.path)
    assert path is not None
    path.write_bytes(path.read_bytes()[:-1000])
    for problem in ("is damaged", "is missing"):
        table = load_pairs(root, key, tmp_path)
        with pytest.raises(RootError, match=f"{file.path} {problem}") as caught:
            batches(table, small_config)
        assert "\n" not in str(caught.value)
        table.close()
        path.unlink(missing_ok=True)


def test_an_index_that_lacks_a_row_is_named(
    root: Root, make_triplets: MakeTriplets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_triplets(("a", "b"))
    read = tasks.train.pairs.read_table
    monkeypatch.setattr("tasks.train.pairs.read_table", lambda *arguments: read(*arguments).slice(0, 3))
    with pytest.raises(RootError, match=r"index-[0-9a-f]+\.parquet has 3 rows, the triplet index names row 4"):
        load_pairs(root, key, tmp_path)


def test_rows_come_in_the_order_of_the_shards(root: Root, make_triplets: MakeTriplets, tmp_path: Path) -> None:
    """So that the pairs of a block lie side by side in the tar."""
    table = load_pairs(root, make_triplets(("b", "held_out", "a", "b")), tmp_path)
    assert np.array_equal(table.shards, np.repeat([0, 1, 2], 5))
    assert np.array_equal(table.rows, np.tile(np.arange(5), 3))
    assert (np.diff(table.places[:, 0, 0])[np.diff(table.shards) == 0] > 0).all()
    assert [len(set(table.groups[table.shards == shard])) for shard in range(3)] == [1, 1, 1]
    for number, file in enumerate(table.readers.files):
        manifest = require_manifest(root, "shard", file.path.split("/")[1])
        assert manifest.files["pairs.tar"] == file
        assert table.margins[number] == 1.25
    table.close()
