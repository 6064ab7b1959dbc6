"""Near-duplicate videos among many, by their signatures: which are alike, and an exact search for all such pairs.

A signature lists 64-bit hashes of a video's frames, those that stand out longest first, 16 hex digits each. What the
constants are worth is measured by `python -m tests.bench.duplicates`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

_MIRROR = np.uint64(0x5555_5555_5555_5555)  # a mirrored picture differs in the odd frequencies across: these bits
_FIRST = (8, 16)  # so many of the first hashes may speak for the whole: a trim holds more of its own besides
_BANDS, _BAND_BITS = 4, 16
_OWNERS = 1 << 10  # second signatures looked up together
_BLOCK = 1 << 20  # candidates compared together: some 40 MB
_PAIRS = 1 << 10  # pairs judged together: 32 x 32 distances each


def near_duplicates(signatures: Sequence[str], start: int, bits: int) -> Iterator[tuple[int, int]]:
    """All pairs (first, second) of `alike` signatures with first < second and second >= `start`, in no order.

    Exact: no pair is missed. Candidates have two hashes that are `near`. Of the four 16-bit bands of such hashes one
    differs in a quarter of those bits at most, so that looking up a band's few neighbours finds them all. 100,000
    signatures against each other take a minute, 1,000 against as many two seconds.
    """
    hashes = _Hashes(signatures)
    for block in _blocks(hashes, start, bits):
        for part in np.array_split(block, math.ceil(len(block) / _PAIRS)):
            yield from map(tuple, part[_alike(hashes, part, bits)].tolist())


def alike(first: str, second: str, bits: int) -> bool:
    """Whether two signatures are of one video, or one of them of a part of the other, mirrored or not.

    True where one hash is `near` one of the other's, and half of one's hashes (or of its first 8 or 16) differ from
    one of the other's in at most `bits`.
    """
    return bool(_alike(_Hashes([first, second]), np.array([[0, 1]]), bits)[0])


def near(bits: int) -> int:
    """How many bits the nearest two hashes of alike signatures may differ in: three quarters of `bits`.

    Of 13 million pairs of unrelated pictures 7 differed in at most 10 bits, none in at most 7.
    """
    return bits * 3 // 4


class _Hashes:
    """The hashes of many signatures in one array, signature by signature: `values` (N,) uint64, `owners` (N,) int32.

    `starts` (V + 1,) says where each signature's begin.
    """

    def __init__(self, signatures: Sequence[str]) -> None:
        lengths = [len(signature) // 16 for signature in signatures]
        self.starts = np.cumsum([0, *lengths])
        self.values = np.frombuffer(bytes.fromhex("".join(signatures)), ">u8").astype(np.uint64)
        self.owners = np.repeat(np.arange(len(signatures), dtype=np.int32), lengths)

    def padded(self, owners: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Signatures (P,) as (P, length) uint64, and which of them are (P, length) bool."""
        places = self.starts[owners][:, None] + np.arange(length)
        present = places < self.starts[owners + 1][:, None]
        return self.values[np.where(present, places, 0)], present


def _alike(hashes: _Hashes, pairs: np.ndarray, bits: int) -> np.ndarray:
    """Which pairs (P, 2) are of one video: (P,) bool."""
    lengths = np.diff(hashes.starts)[pairs]
    if not lengths.size or not lengths.max():
        return np.zeros(len(pairs), bool)
    left, is_left = hashes.padded(pairs[:, 0], lengths[:, 0].max())
    right, is_right = hashes.padded(pairs[:, 1], lengths[:, 1].max())
    outside = ~(is_left[:, :, None] & is_right[:, None, :])
    found = np.zeros(len(pairs), bool)
    for seen in (left, left ^ _MIRROR):
        distances = np.bitwise_count(seen[:, :, None] ^ right[:, None, :])
        distances[outside] = 255
        nearest_left, nearest_right = distances.min(2, initial=255), distances.min(1, initial=255)
        enough = _half(nearest_left <= bits, lengths[:, 0]) | _half(nearest_right <= bits, lengths[:, 1])
        found |= enough & (nearest_left.min(1, initial=255) <= near(bits))
    return found


def _half(found: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Whether half of the first 8, of the first 16 or of all `lengths` (P,) hashes are found (P, N): (P,) bool."""
    counts = np.pad(found.cumsum(1), ((0, 0), (1, 0)))
    enough = (lengths > 0) & (2 * counts[:, -1] >= lengths)
    for number in _FIRST:
        enough |= (lengths >= number) & (2 * counts[:, min(number, found.shape[1])] >= number)
    return enough


def _blocks(hashes: _Hashes, start: int, bits: int) -> Iterator[np.ndarray]:
    """Candidates (P, 2), a block of second signatures after the other, each pair once."""
    tables = [_Table(hashes.values, band, int(hashes.starts[start])) for band in range(_BANDS)]
    for begin in range(start, len(hashes.starts) - 1, _OWNERS):
        end = min(begin + _OWNERS, len(hashes.starts) - 1)
        block = slice(hashes.starts[begin], hashes.starts[end])
        found = [np.zeros(0, np.int64), *_near_owners(hashes, block, tables, near(bits))]
        codes = np.unique(np.concatenate(found))
        if len(codes):
            yield np.stack([codes & 0xFFFF_FFFF, codes >> 32], axis=1)


def _near_owners(hashes: _Hashes, block: slice, tables: Sequence[_Table], limit: int) -> Iterator[np.ndarray]:
    """Arrays of second << 32 | first, the owners of two hashes with at most `limit` bits between them."""
    values, owners = hashes.values[block], hashes.owners[block]
    for table in tables:
        table.admit(values)
    for table, mask, mirror in itertools.product(tables, _masks(limit // _BANDS), (np.uint64(0), _MIRROR)):
        queries = values ^ mirror
        for query, place in table.lookup(queries, mask):
            is_near = np.bitwise_count(queries[query] ^ hashes.values[place]) <= limit
            seconds, firsts = owners[query[is_near]], hashes.owners[place[is_near]]
            yield (seconds.astype(np.int64) << 32 | firsts)[firsts < seconds]


class _Table:
    """The places of hashes by the value of one band. Of those from `admitted` on only what is admitted is found."""

    def __init__(self, values: np.ndarray, band: int, admitted: int) -> None:
        self._shift = np.uint64(band * _BAND_BITS)
        bands = self._of(values)
        self._places = np.argsort(bands, kind="stable").astype(np.int32)
        counts = np.bincount(bands, minlength=1 << _BAND_BITS)
        self._starts = counts.cumsum() - counts
        self._ends = self._starts + np.bincount(bands[:admitted], minlength=1 << _BAND_BITS)

    def admit(self, values: np.ndarray) -> None:
        """Find the next hashes too."""
        self._ends += np.bincount(self._of(values), minlength=1 << _BAND_BITS)

    def lookup(self, queries: np.ndarray, mask: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Places of queries (C,), and of hashes (C,) whose band is that query's with the bits of `mask` flipped."""
        bands = self._of(queries) ^ np.uint16(mask)
        starts, lengths = self._starts[bands], (self._ends - self._starts)[bands]
        totals = lengths.cumsum()
        begin = 0
        while begin < len(queries):
            before = totals[begin - 1] if begin else 0
            end = max(begin + 1, int(np.searchsorted(totals, before + _BLOCK, side="right")))
            part = lengths[begin:end]
            query = np.repeat(np.arange(begin, end), part)
            offsets = np.repeat(starts[begin:end] - (totals[begin:end] - part - before), part)
            yield query, self._places[offsets + np.arange(len(query))]
            begin = end

    def _of(self, values: np.ndarray) -> np.ndarray:
        return (values >> self._shift).astype(np.uint16)


def _masks(radius: int) -> list[int]:
    """Every 16-bit number with at most so many bits set."""
    chosen = (bits for number in range(radius + 1) for bits in itertools.combinations(range(_BAND_BITS), number))
    return [sum(1 << bit for bit in bits) for bits in chosen]
