"""Near-duplicate groups and the split: by content, stable as a data set grows."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.versions import VideoEntry
from tasks.shard.config import ShardConfig
from tasks.shard.duplicates import alike
from tasks.shard.split import leave_out, split_videos

CONFIG = ShardConfig(held_out_share=0.3)
ONCE = CONFIG.model_copy(update={"near_duplicates": "once"})


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


def _part(number: int, first: int, last: int, tracks: int = 1) -> VideoEntry:
    """A trim: some of the video's eight hashes."""
    return VideoEntry(key=f"p{number}-{first}", tracks=tracks, signature=_signature(number)[16 * first : 16 * last])


def test_new_videos_that_a_third_links_share_a_group_whatever_their_digests() -> None:
    """Two halves have no frame in common; the whole comes last by digest."""
    halves = {"0" * 64: _part(5, 0, 4), "1" * 64: _part(5, 4, 8)}
    assert len({entry.group for entry in split_videos(halves, CONFIG, 0).values()}) == 2
    whole = "9" * 64
    split = split_videos({**halves, whole: _part(5, 0, 8, tracks=9)}, CONFIG, 0)
    assert {entry.group for entry in split.values()} == {whole}, "named by the one with the most tracks"


def _torn() -> tuple[dict[str, VideoEntry], str]:
    """A data set with two halves of one video in different splits, and the whole that comes a night later."""
    halves = {"0" * 64: _part(50, 0, 4), "1" * 64: _part(50, 4, 8), **_videos(range(2, 30))}
    seed = next(
        seed for seed in range(99) if len({split_videos(halves, CONFIG, seed)[half * 64].split for half in "01"}) == 2
    )
    first = split_videos(halves, CONFIG, seed)
    return split_videos({**first, "9" * 64: _part(50, 0, 8, tracks=9)}, CONFIG, seed), "9" * 64


def test_a_whole_whose_parts_are_in_both_splits_is_in_neither() -> None:
    videos, whole = _torn()
    assert (videos[whole].group, videos[whole].split) == (whole, None)
    assert leave_out(videos, CONFIG, ()) == leave_out(videos, ONCE, ()) == {whole: "in_both_splits"}
    assert split_videos(videos, CONFIG, 0) == videos, "and stays so"


def test_a_video_in_neither_split_has_no_say() -> None:
    videos, whole = _torn()
    copy = _part(50, 5, 8)
    assert split_videos({**videos, "8" * 64: copy}, CONFIG, 0)["8" * 64].group == "1" * 64
    alone = {whole: videos[whole], "8" * 64: copy}
    assert split_videos(alone, CONFIG, 0)["8" * 64].group == "8" * 64


def _copies() -> dict[str, VideoEntry]:
    """Twelve videos, and of the sixth a copy with more tracks and one with fewer."""
    videos = _videos(range(12))
    videos["e" * 64] = VideoEntry(key="more", tracks=7, signature=_signature(6, flipped_bits=4))
    videos["f" * 64] = VideoEntry(key="fewer", tracks=1, signature=_signature(6, flipped_bits=3))
    return split_videos(videos, CONFIG, 0)


def test_every_copy_is_packed_or_one_of_each_group() -> None:
    videos = _copies()
    assert leave_out(videos, CONFIG, ()) == {}
    assert leave_out(videos, ONCE, ()) == {f"{5:064x}": "near_duplicate", "f" * 64: "near_duplicate"}


def test_a_better_copy_that_comes_later_takes_no_place() -> None:
    videos = _copies()
    later = split_videos({**videos, "d" * 64: replace(videos["e" * 64], key="most", tracks=99, group="")}, ONCE, 0)
    assert later["d" * 64].group == "e" * 64
    assert "e" * 64 not in leave_out(later, ONCE, ())
    assert leave_out(later, ONCE, ())["d" * 64] == "near_duplicate"


def test_what_is_packed_stays_when_the_first_returns() -> None:
    videos = _copies()
    gone = {video: entry for video, entry in videos.items() if video != "e" * 64}
    assert leave_out(gone, ONCE, {"more"}) == {"f" * 64: "near_duplicate"}, "the one with the most tracks steps in"
    assert set(leave_out(videos, ONCE, {"k5"})) == {"e" * 64, "f" * 64}
    assert set(leave_out(videos, ONCE, {"k5", "more"})) == {f"{5:064x}", "f" * 64}, "of two packed the founder"


def test_a_copy_without_tracks_is_neither_kept_nor_counted() -> None:
    videos = _copies()
    videos["e" * 64] = replace(videos["e" * 64], tracks=0)
    assert leave_out(videos, ONCE, ()) == {"f" * 64: "near_duplicate"}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.integers(0, 2**32))
def test_night_after_night_what_is_packed_once_stays(nights: list[int], seed: int) -> None:
    """Random copies of eight videos arrive; each group has one video packed, always the same."""
    chance = random.Random(seed)
    videos: dict[str, VideoEntry] = {}
    packed: set[str] = set()
    for number in nights:
        for _ in range(number):
            video = f"{chance.getrandbits(256):064x}"
            signature = _signature(chance.randrange(8), chance.randrange(6))
            videos[video] = VideoEntry(key=video, tracks=chance.randrange(4), signature=signature)
        videos = split_videos(videos, ONCE, seed)
        left = leave_out(videos, ONCE, packed)
        now = {video for video, entry in videos.items() if entry.tracks and video not in left}
        assert packed <= now
        assert sorted(videos[video].group for video in now) == sorted(
            {entry.group for entry in videos.values() if entry.tracks}
        )
        assert len({_original(videos[video]) for video in now}) == len(now)
        packed = now


def _original(entry: VideoEntry) -> str:
    return next(f"{number}" for number in range(8) if alike(_signature(number), entry.signature, 10))
