"""Near-duplicate signatures: the rule against a slow reference, and the search against every pair."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.shard.duplicates
from tasks.shard.duplicates import alike, near, near_duplicates

BITS = st.integers(0, 15)


def slowly_alike(first: str, second: str, bits: int) -> bool:
    """The rule as its docstring says it, hash by hash."""
    own, others = hashes(first), hashes(second)
    return any(slowly_alike_one_way(own, seen, bits) for seen in (others, [mirrored(value) for value in others]))


def slowly_alike_one_way(own: list[int], others: list[int], bits: int) -> bool:
    distances = [[(a ^ b).bit_count() for b in others] for a in own]
    if not own or not others or min(map(min, distances)) > near(bits):
        return False
    found = [min(row) <= bits for row in distances], [min(column) <= bits for column in zip(*distances, strict=True)]
    return any(
        sum(side[:number]) >= number / 2 for side in found for number in {8, 16, len(side)} if number <= len(side)
    )


def hashes(signature: str) -> list[int]:
    return [int(signature[start : start + 16], 16) for start in range(0, len(signature), 16)]


def mirrored(value: int) -> int:
    """Bit by bit: a picture's bits lie row by row, and a mirror turns those of the odd columns."""
    bits = f"{value:064b}"
    return int("".join(bit if place % 2 == 0 else str(1 - int(bit)) for place, bit in enumerate(bits)), 2)


def text(values: list[int]) -> str:
    return "".join(f"{value:016x}" for value in values)


@st.composite
def related(draw: st.DrawFn, number: int = 2) -> list[str]:
    """Signatures that share hashes with up to 20 bits changed, in any order, some of them mirrored."""
    source = random.Random(draw(st.integers(0, 2**32)))
    pool = [source.getrandbits(64) for _ in range(source.randint(1, 40))]
    signatures = []
    for _ in range(number):
        values = [source.choice(pool) for _ in range(source.choice((0, 1, 2, 7, 8, 9, 15, 16, 17, 32)))]
        most = source.choice((0, 3, 8, 12, 20))
        values = [value ^ flips(source, source.randint(0, most)) for value in values]
        values = [value if source.random() < 0.7 else source.getrandbits(64) for value in values]
        signatures.append(text([mirrored(value) for value in values] if source.random() < 0.3 else values))
    return signatures


def flips(source: random.Random, number: int) -> int:
    return sum(1 << place for place in source.sample(range(64), number))


@settings(max_examples=200, deadline=None)
@given(related(), BITS)
def test_the_rule_is_that_of_the_slow_reference(signatures: list[str], bits: int) -> None:
    assert alike(*signatures, bits) == slowly_alike(*signatures, bits)


@settings(max_examples=25, deadline=None)
@given(related(number=12), BITS, st.integers(0, 12))
def test_the_search_finds_every_pair_once(signatures: list[str], bits: int, start: int) -> None:
    found = list(near_duplicates(signatures, start, bits))
    expected = {
        (first, second)
        for first, second in combinations(range(12), 2)
        if second >= start and slowly_alike(signatures[first], signatures[second], bits)
    }
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_blocks_of_any_size_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    source = random.Random(5)
    pool = [source.getrandbits(64) for _ in range(60)]
    signatures = [text([source.choice(pool) for _ in range(source.randint(0, 20))]) for _ in range(80)]
    expected = set(near_duplicates(signatures, 10, 10))
    assert len(expected) > 100
    for name, size in (("_OWNERS", 7), ("_BLOCK", 13), ("_PAIRS", 5)):
        monkeypatch.setattr(tasks.shard.duplicates, name, size)
    found = list(near_duplicates(signatures, 10, 10))
    assert len(found) == len(set(found))
    assert set(found) == expected


@pytest.mark.parametrize("bits", [0, 5, 9, 10, 14])
def test_the_farthest_near_hash_is_found_wherever_its_bits_lie(bits: int) -> None:
    """A band that differs in more bits than it may would hide a pair: the changed bits are dealt out in many ways."""
    source = random.Random(bits)
    originals = [source.getrandbits(64) for _ in range(200)]
    even = sum(1 << (16 * (number % 4) + number // 4) for number in range(near(bits)))
    copies = [value ^ (even if number % 2 else flips(source, near(bits))) for number, value in enumerate(originals)]
    copies = [mirrored(value) if number % 3 else value for number, value in enumerate(copies)]
    found = near_duplicates([text([value]) for value in originals + copies], 200, bits)
    assert set(found) == {(number, number + 200) for number in range(200)}


@given(related(), BITS)
@settings(deadline=None)
def test_alike_is_symmetric(signatures: list[str], bits: int) -> None:
    first, second = signatures
    assert alike(first, second, bits) == alike(second, first, bits)


@given(related(number=1), BITS)
@settings(deadline=None)
def test_a_video_is_alike_itself_and_its_mirrored_self(signatures: list[str], bits: int) -> None:
    (signature,) = signatures
    other = text([mirrored(value) for value in hashes(signature)])
    assert alike(signature, signature, bits) == alike(signature, other, bits) == bool(signature)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=32, unique=True), st.data(), BITS)
@settings(deadline=None)
def test_a_part_is_alike_the_whole_and_a_wider_radius_loses_nothing(
    values: list[int], data: st.DataObject, bits: int
) -> None:
    part = data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=32, unique=True))
    assert alike(text(part), text(values), bits)
    other = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=32))
    assert alike(text(values), text(other), bits) <= alike(text(values), text(other), bits + 1)


def test_nothing_is_alike_a_video_that_shows_nothing() -> None:
    assert not alike("", text([1]), 15)
    assert not alike("", "", 15)
    assert list(near_duplicates(["", "", text([1]), ""], 0, 15)) == []
    assert list(near_duplicates([], 0, 10)) == []


def test_what_two_channels_share_is_not_enough() -> None:
    """An opening of three pictures that stand out most, before ten of their own."""
    source = random.Random(0)
    opening, one, other = ([source.getrandbits(64) for _ in range(number)] for number in (3, 10, 10))
    assert not alike(text(opening + one), text(opening + other), 10)
    assert alike(text(opening), text(opening + other), 10)
