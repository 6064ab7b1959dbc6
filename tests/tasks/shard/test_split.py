"""Near-duplicate groups and the split: by content, stable as a data set grows."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.versions import VideoEntry
from tasks.shard.config import ShardConfig
from tasks.shard.split import alike, split_videos

CONFIG = ShardConfig(held_out_share=0.3)


def _signature(number: int, flipped_bits: int = 0) -> str:
    hashes = [(number * 0x9E3779B97F4A7C15 + frame * 0xD1B54A32D192ED03) % 2**64 for frame in range(8)]
    return "".join(f"{value ^ ((1 << flipped_bits) - 1):016x}" for value in hashes)


def _videos(numbers: range | list[int]) -> dict[str, VideoEntry]:
    return {f"{n:064x}": VideoEntry(key=f"k{n}", tracks=3, signature=_signature(n + 1)) for n in numbers}


def test_near_duplicates_share_a_group_and_a_split() -> None:
    videos = _videos(range(30))
    twin = "f" * 64
    videos[twin] = VideoEntry(key="twin", tracks=2, signature=_signature(5 + 1, flipped_bits=6))
    split = split_videos(videos, CONFIG, seed=0)
    original = f"{5:064x}"
    assert split[twin].group == split[original].group == original
    assert split[twin].split == split[original].split


def test_a_few_more_bits_than_allowed_are_another_video() -> None:
    assert alike(_signature(1), _signature(1, flipped_bits=10), bits=10)
    assert not alike(_signature(1), _signature(1, flipped_bits=11), bits=10)
    assert not alike(_signature(1), "", bits=64)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20))
def test_growth_moves_nothing(seed: int, night: int) -> None:
    first = split_videos(_videos(range(12)), CONFIG, seed)
    second = split_videos({**first, **_videos(list(range(12, 12 + night)))}, CONFIG, seed)
    assert {video: second[video] for video in first} == first
    assert all(entry.split for entry in second.values())


def test_the_order_of_videos_says_nothing() -> None:
    videos = _videos(range(20))
    backwards = dict(reversed(videos.items()))
    assert split_videos(videos, CONFIG, 3) == split_videos(backwards, CONFIG, 3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8))
def test_small_sets_can_train_first_and_evaluate_next(seed: int, number: int) -> None:
    split = split_videos(_videos(range(number)), CONFIG, seed)
    splits = [entry.split for entry in split.values()]
    assert splits.count("train") >= min(2, number)
    assert splits.count("held_out") >= (1 if number >= 3 else 0)


def test_the_share_is_kept_over_many_videos() -> None:
    split = split_videos(_videos(range(1000)), CONFIG, 0)
    held_out = sum(entry.split == "held_out" for entry in split.values())
    assert 255 <= held_out <= 345  # 3 standard deviations of a binomial around 300


def test_no_share_holds_nothing_out() -> None:
    split = split_videos(_videos(range(9)), replace_share(0.0), 0)
    assert {entry.split for entry in split.values()} == {"train"}


def replace_share(share: float) -> ShardConfig:
    return CONFIG.model_copy(update={"held_out_share": share})


def test_a_new_twin_of_a_held_out_video_is_held_out() -> None:
    first = split_videos(_videos(range(12)), CONFIG, 1)
    held_out = next(video for video, entry in sorted(first.items()) if entry.split == "held_out")
    twin = replace(first[held_out], key="twin", group="", split=None)
    second = split_videos({**first, "e" * 64: twin}, CONFIG, 1)
    assert second["e" * 64].split == "held_out"
    assert second["e" * 64].group == first[held_out].group
