"""What is no video and is named like one: documents, programs, archives, and lists that name other files."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import wave
import zipfile
from collections.abc import Iterator

import numpy as np

from tests.hostile.answers import respond
from tests.hostile.clips import clip, packets
from tests.hostile.records import Place, Specimen

_POISON = frozenset({"poison"})
_PAGE = frozenset({"poison web_page"})
_PASSWORDS = "file:///etc/passwd"


def posing_files(place: Place) -> Iterator[Specimen]:
    yield from _documents()
    yield from _renamed()
    for (name, suffix), text in _lists(place).items():
        yield Specimen(f"lists/{name}, as a file", _POISON, text.encode(), file_name=f"clip{suffix}")
        # Over HTTP the fetching tool may take a list for one, and then each of its items is refused.
        served = frozenset({"poison", "permanent", "transient"})
        yield Specimen(f"lists/{name}, served", served, answer=respond(text))


def _documents() -> Iterator[Specimen]:
    page = "<!DOCTYPE html><html><body>Sign up to watch</body></html>"
    noise = np.random.default_rng(1).bytes(50_000)
    for name, allowed, data in (
        ("nothing", frozenset({"poison empty"}), b""),
        ("one byte", _POISON, b"\0"),
        ("zeros", _POISON, bytes(50_000)),
        ("ones", _POISON, b"\xff" * 50_000),
        ("noise", _POISON, noise),
        ("a web page", _PAGE, page.encode()),
        ("a web page of a check for bots", _PAGE, b"<html>HTTP Error 429 confirm you're not a bot captcha</html>"),
        ("a web page after white space", _PAGE, b"\n \n" + page.encode()),
        ("a web page in UTF-16", _POISON, page.encode("utf-16")),
        ("a web page of 5 MB", _PAGE, page.encode() * 18_000),
        ("XML", _PAGE, b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"),
        ("SVG", _PAGE, b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
        ("JSON", _POISON, json.dumps({"error": "not found", "status": 404}).encode()),
        ("text", _POISON, b"404 not found\n" * 100),
        ("CSV", _POISON, b"url,title\nhttp://127.0.0.1/,x\n"),
        ("a shell script", _POISON, b"#!/bin/sh\ntouch /tmp/tritrack-was-here\n"),
        ("Python", _POISON, b"import os\nos.system('touch /tmp/tritrack-was-here')\n"),
        ("a pickle", _POISON, b"cos\nsystem\n(S'touch /tmp/tritrack-was-here'\ntR."),
        ("PDF", _POISON, b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"),
        ("a program for Linux", _POISON, b"\x7fELF\2\1\1" + noise[:8000]),
        ("a program for Windows", _POISON, b"MZ\x90\0" + noise[:8000]),
        ("zip", _POISON, _zipped(b"hello" * 99)),
        ("zip of a video", _POISON | {"kept"}, _zipped(clip("mp4", "mpeg4"))),
        ("tar", _POISON, _tarred()),
        ("gzip of a video", _POISON, gzip.compress(clip("mp4", "mpeg4"), mtime=0)),
        ("a JPEG picture", _POISON, packets("mjpeg", "yuvj420p", 1)[0][:-2]),
        ("a PNG picture", _POISON | {"kept"}, packets("png", "rgb24", 1)[0]),
        ("a cut PNG picture", _POISON, packets("png", "rgb24", 1)[0][:60]),
        ("sound", frozenset({"poison no_video_stream"}), _wav()),
    ):
        yield Specimen(f"posing/{name}", allowed, data)


def _renamed() -> Iterator[Specimen]:
    """A video under a false name is a video: FFmpeg looks at the bytes."""
    for container, codec, name in (
        ("matroska", "mpeg4", "a.mp4"),
        ("mp4", "mpeg4", "a.avi"),
        ("avi", "mpeg4", "a.txt"),
    ):
        yield Specimen(f"posing/{container} as {name}", frozenset({"kept"}), clip(container, codec), file_name=name)
    both = clip("mp4", "mpeg4") + _zipped(b"hello")
    yield Specimen("posing/a video that is a zip too", frozenset({"kept"}), both)
    noise = np.random.default_rng(2).bytes(3_000)
    yield Specimen("posing/noise, then a video", frozenset({"poison", "kept"}), noise + clip("mpegts", "libx264"))


def _lists(place: Place) -> dict[tuple[str, str], str]:
    """Lists that name a secret file and servers that must not be asked, in every format that FFmpeg could follow.

    By name and the end of the file's name.
    """
    files = (
        place.secret,
        f"file://{place.secret}",
        _PASSWORDS,
        f"{place.trap}/clip.mp4",
        f"{place.neighbour}/clip.mp4",
    )
    first = f"{place.trap}/clip.mp4"
    segments = "".join(f"#EXTINF:1,\n{each}\n" for each in files)
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n"
    end = "#EXT-X-ENDLIST\n"
    joined = "".join(f"file '{each}'\n" for each in files)
    representation = (
        f"<Representation id='1' bandwidth='1' mimeType='video/mp4'><BaseURL>{first}</BaseURL></Representation>"
    )
    period = f"<Period><AdaptationSet>{representation}</AdaptationSet></Period>"
    track = f"<trackList><track><location>{first}</location></track></trackList>"
    session = "v=0\no=- 0 0 IN IP4 127.0.0.2\ns=x\nc=IN IP4 127.0.0.2\nt=0 0\n"
    return {
        ("HLS", ".m3u8"): f"{hls}{segments}{end}",
        ("HLS with a key", ".m3u8"): f'{hls}#EXT-X-KEY:METHOD=AES-128,URI="file://{place.secret}"\n{segments}{end}',
        ("HLS of HLS", ".m3u8"): f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{place.trap}/list.m3u8\n",
        ("HLS with a part of a file", ".m3u8"): f"{hls}#EXTINF:1,\nsubfile,,start,0,end,99,,:{place.secret}\n{end}",
        ("HLS of joined files", ".m3u8"): f"{hls}#EXTINF:1,\nconcat:{place.secret}|/etc/passwd\n{end}",
        ("DASH", ".mpd"): f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">{period}</MPD>',
        ("a concat script", ".ffconcat"): f"ffconcat version 1.0\n{joined}",
        ("SDP", ".sdp"): f"{session}m=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        ("M3U", ".m3u"): "\n".join(files) + "\n",
        ("PLS", ".pls"): "[playlist]\n" + "".join(f"File{number}={each}\n" for number, each in enumerate(files, 1)),
        ("ASX", ".asx"): f"<asx version='3'><entry><ref href='{first}'/></entry></asx>",
        ("SMIL", ".smil"): f"<smil><body><video src='{first}'/></body></smil>",
        ("XSPF", ".xspf"): f'<playlist version="1" xmlns="http://xspf.org/ns/0/">{track}</playlist>',
        ("an Internet shortcut", ".url"): f"[InternetShortcut]\nURL=file://{place.secret}\n",
        ("subtitles", ".srt"): f"1\n00:00:00,000 --> 00:00:01,000\n<font src='file://{place.secret}'>hello</font>\n\n",
        ("FFmpeg's metadata", ".txt"): ";FFMETADATA1\ntitle=hello\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\n",
    }


def _zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("../../clip.mp4"), data)
    return buffer.getvalue()


def _tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("../../clip.mp4")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"hello"))
    return buffer.getvalue()


def _wav() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    return buffer.getvalue()
