"""Image files: what is found, what is seen of each, and what is refused before a pixel is decoded."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.networks import IMAGE_ENDINGS
from tasks.networks.pictures import Picture, Unreadable, find_images, header_size, read_picture
from tests.tasks.networks.conftest import Encode, encoded, picture

PLENTY = 10**6
KINDS = (".jpg", ".png", ".webp", ".bmp")


@given(st.sampled_from(KINDS), st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_headers_say_what_decodes(ending: str, width: int, height: int) -> None:
    assert header_size(io.BytesIO(encoded(ending, picture(width, height)))) == (width, height)


@pytest.mark.parametrize("ending", KINDS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_damaged_files_are_unreadable_or_images_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, ending: str, data: st.DataObject
) -> None:
    whole = bytearray(encoded(ending, picture(40, 30)))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged{ending}"
    path.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    found = _read(path)
    if isinstance(found, str):
        assert len(found.splitlines()) == 1
    else:
        assert found.pixels.shape == (32, 32, 3)
        assert found.width * found.height <= PLENTY


def _read(path: Path) -> Picture | str:
    try:
        return read_picture(str(path), 32, PLENTY)
    except Unreadable as error:
        return str(error)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".bmp"])
def test_the_middle_square_is_what_the_network_sees(tmp_path: Path, ending: str) -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, 16:80] = (200, 100, 50)  # the middle square; black beside it
    path = tmp_path / f"image{ending}"
    path.write_bytes(encoded(ending, image))
    found = read_picture(str(path), 32, PLENTY)
    assert (found.path, found.width, found.height) == (str(path), 96, 64)
    assert found.pixels.dtype == np.uint8
    middle = found.pixels[:, 4:28].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(middle, (200, 100, 50), atol=3)
    edges = found.pixels[:, [0, -1]].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(edges, (200, 100, 50), atol=40)


def test_a_turned_photograph_is_seen_upright(tmp_path: Path, encode: Encode) -> None:
    plain = encode(".jpg", 60, 40)
    # An EXIF segment that says orientation 6: turn by 90 degrees clockwise.
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    segment = b"Exif\0\0" + tiff
    turned = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]
    for name, data in (("plain.jpg", plain), ("turned.jpg", turned)):
        (tmp_path / name).write_bytes(data)
    assert header_size(io.BytesIO(turned)) == (60, 40)
    first, second = (read_picture(str(tmp_path / name), 32, PLENTY) for name in ("plain.jpg", "turned.jpg"))
    assert (second.width, second.height) == (40, 60)
    np.testing.assert_allclose(second.pixels.astype(int), np.rot90(first.pixels, -1).astype(int), atol=2)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (np.full((20, 30), 90, np.uint8), "grey.png"),
        (np.full((20, 30, 4), 90, np.uint8), "alpha.png"),
        (np.full((20, 30, 3), 90 * 257, np.uint16), "deep.png"),
    ],
)
def test_grey_alpha_and_16_bits_become_rgb(tmp_path: Path, image: np.ndarray, name: str) -> None:  # type: ignore[type-arg]
    (tmp_path / name).write_bytes(encoded(".png", image))
    pixels = read_picture(str(tmp_path / name), 32, PLENTY).pixels
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels.astype(int) - 90).max() <= 1


def _png_head(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0" * 40


BOMBS = {
    "png": _png_head(60_000, 60_000),
    "jpeg": b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, 65_535, 65_535, 3) + b"\0" * 40,
    "jpeg with fill bytes and bare markers": b"\xff\xd8\xff\xd0\xff\xff\xff\xc2"
    + struct.pack(">HBHHB", 17, 8, 65_535, 65_535, 3)
    + b"\0" * 40,
    "webp, extended": b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\xff" * 2 + b"\0" * 8,
    "webp, lossless": b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + struct.pack("<I", (1 << 28) - 1) + b"\0" * 8,
    "webp, lossy": b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 10 + struct.pack("<HH", 16_383, 16_383) + b"\0" * 8,
    "bmp": b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, 50_000, -50_000) + b"\0" * 40,
    "bmp of OS/2": b"BM" + b"\0" * 12 + struct.pack("<IHH", 12, 60_000, 60_000) + b"\0" * 40,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_known_by_its_header(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(BOMBS[kind])
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: pytest.fail("decoded"))
    with pytest.raises(Unreadable, match=r"too large, \d{5,8} x \d{5,8} px is over 67,108,864"):
        read_picture(str(path), 32, 67_108_864)


def test_a_file_too_long_for_its_pixels_is_not_read(tmp_path: Path, encode: Encode) -> None:
    path = tmp_path / "long.png"
    path.write_bytes(encode(".png", 10, 10))
    os.truncate(path, 10**9)  # sparse
    with pytest.raises(Unreadable, match=r"too large, 1,000,000,000 bytes"):
        read_picture(str(path), 32, PLENTY)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"GIF89a" + b"\0" * 50, "no JPEG, PNG, WebP or BMP image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "no JPEG, PNG, WebP or BMP image"),
        (b"\xff\xd8\xff", "ends inside its header"),
        (b"\xff\xd8\xff\xe0\0\1" + b"\0" * 40, "it has no frame header"),
        (b"\xff\xd8\xff\xe0\xff\xff", "it has no frame header"),
        (b"BM1234", "ends inside its header"),
        (b"RIFF\0\0\0\0WEBPEVIL" + b"\0" * 20, "it has no frame header"),
        (_png_head(0, 7), "has no pixels, its header says 0 x 7"),
        (_png_head(7, 7), "does not decode: damaged, or cut short"),
    ],
)
def test_what_is_no_image_says_why(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(data)
    with pytest.raises(Unreadable, match=words):
        read_picture(str(path), 32, PLENTY)


def test_a_name_that_is_no_text_is_unreadable(tmp_path: Path, encode: Encode) -> None:
    path = os.fsencode(tmp_path) + b"/na\xffme.png"
    with open(path, "wb") as file:
        file.write(encode(".png", 9, 9))
    with pytest.raises(Unreadable, match="its name is no UTF-8"):
        read_picture(os.fsdecode(path), 32, PLENTY)


def test_a_file_that_vanished_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="cannot be read: No such file or directory"):
        read_picture(str(tmp_path / "gone.png"), 32, PLENTY)


def test_images_are_found_in_order_and_once(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/a/1.png", "b/notes.txt", "b/z.jpeg", "a.webp", "odd.dat", "b/c.bmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "b/loop").symlink_to(tmp_path / "b")
    os.mkfifo(tmp_path / "b/pipe.jpg")
    odd, folder = str(tmp_path / "odd.dat"), str(tmp_path / "b")
    inside = [f"{folder}/{name}" for name in ("2.JPG", "a/1.png", "c.bmp", "z.jpeg")]
    assert find_images([odd, folder, folder, inside[2]]) == [odd, *inside]
    assert find_images([inside[3], folder]) == [inside[3], *inside[:3]]


def test_places_without_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, words in (
        ("gone.jpg", "does not exist; give image files or folders"),
        ("dangling.jpg", "is no file and no folder"),
        ("pipe.jpg", "is no file and no folder"),
        ("empty", "holds no " + ", ".join(IMAGE_ENDINGS)),
    ):
        with pytest.raises(ValueError, match=rf"images: .*{name}' {words}"):
            find_images([tmp_path / name])
