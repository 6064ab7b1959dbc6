"""Pages, feeds and playlists that lie to the tool that reads them: what they name must not be asked or expanded."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

from tests.hostile.answers import by_name, computed, endless, head_bytes, redirect, respond
from tests.hostile.clips import clip
from tests.hostile.records import Place, Specimen
from tests.hostile.server import Answer, Visit

_ANY = frozenset({"permanent", "transient", "poison"})
_LISTED = _ANY | {"listed"}
_EITHER = _LISTED | {"kept"}
_HLS = "application/vnd.apple.mpegurl"
_DASH = "application/dash+xml"
_MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n"


def hostile_pages(place: Place) -> Iterator[Specimen]:
    for name, body in _embeds(place):
        yield Specimen(f"page/{name}", _LISTED, answer=_page(body))
    for name, body in _large(place):
        # The tool's patterns take time quadratic in the length of some: the worker's limit ends that.
        yield Specimen(f"page/{name}", _LISTED | {"poison cpu_limit"}, answer=_page(body))
    for name, body in _feeds(place):
        yield Specimen(f"feed/{name}", _LISTED, answer=respond(body, "application/xml"))
    for name, answer in _streams(place):
        yield Specimen(f"stream/{name}", _ANY, answer=answer, file_name="list.m3u8")
    for name, body in _manifests(place):
        limits = {"poison memory_limit", "poison cpu_limit"} if "million" in name else set()
        yield Specimen(f"manifest/{name}", _ANY | limits, answer=respond(body, _DASH), file_name="list.mpd")
    yield from _good()


def _page(body: str) -> Answer:
    return respond(f"<!DOCTYPE html><html><head><title>x</title></head><body>{body}</body></html>", "text/html")


def _embeds(place: Place) -> Iterator[tuple[str, str]]:
    trap, file = f"{place.trap}/clip.mp4", f"file://{place.secret}"
    for name, target in (("the trap", trap), ("a file", file), ("the neighbour", f"{place.neighbour}/clip.mp4")):
        yield f"a video of {name}", f'<video src="{target}"></video>'
        yield f"a source of {name}", f'<video><source src="{target}" type="video/mp4"></video>'
        yield f"a frame of {name}", f'<iframe src="{target}"></iframe>'
        yield f"a refresh to {name}", f'<meta http-equiv="refresh" content="0; url={target}">'
        yield (
            f"Open Graph of {name}",
            f'<meta property="og:video" content="{target}"><meta property="og:title" content="x">',
        )
        yield f"a player of {name}", f"<script>jwplayer('x').setup({{file: '{target}', type: 'mp4'}});</script>"
        yield f"JSON-LD of {name}", _json_ld({"contentUrl": target, "name": "x", "duration": "PT1S"})
        yield f"an HLS list of {name}", f'<video src="{target.replace(".mp4", ".m3u8")}"></video>'
    yield "a refresh to itself", '<meta http-equiv="refresh" content="0; url=?">'
    yield "a refresh to a script", '<meta http-equiv="refresh" content="0; url=javascript:alert(1)">'


def _large(place: Place) -> Iterator[tuple[str, str]]:
    lie = {"contentUrl": "clip.mp4", "duration": "P99999999Y", "uploadDate": "not a day", "name": {"@value": [1]}}
    yield "JSON-LD that lies", _json_ld(lie | {"interactionStatistic": [[{}]], "width": "wide", "thumbnailUrl": 7})
    yield "JSON-LD of a hundred thousand levels", _json_ld_text("[" * 100_000)
    yield "JSON-LD of no JSON", _json_ld_text('{"@type": "VideoObject", "contentUrl": ')
    yield "three thousand videos", "".join(f'<video src="{place.trap}/{each}.mp4"></video>' for each in range(3_000))
    yield "tags that never end", "<iframe src='" * 20_000
    yield "a megabyte of open tags", "<" * 1_000_000
    yield "a megabyte of white space", "<meta" + " " * 1_000_000
    yield "a megabyte in quotes", '<video src="' + "x" * 1_000_000
    yield (
        "a title of a megabyte",
        f'<meta property="og:title" content="{"x" * 1_000_000}"><video src="{place.trap}/a.mp4">',
    )
    yield "references of references", "&" + "amp;" * 200_000
    yield "words of other sites", "youtube.com/embed/ vimeo.com/ brightcove kaltura jwplayer " * 2_000


def _feeds(place: Place) -> Iterator[tuple[str, str]]:
    laugh = "".join(f'<!ENTITY l{each} "{f"&l{each - 1};" * 10}">' for each in range(1, 10))
    yield (
        "a billion laughs",
        f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY l0 "ha">{laugh}]><rss><channel>&l9;</channel></rss>',
    )
    blow = "<!ENTITY a '" + "x" * 60_000 + "'>"
    yield (
        "a quadratic blow-up",
        f'<?xml version="1.0"?><!DOCTYPE rss [{blow}]><rss><channel>{"&a;" * 20_000}</channel></rss>',
    )
    for name, target in (("a file", f"file://{place.secret}"), ("the trap", f"{place.trap}/clip.mp4")):
        entity = f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY x SYSTEM "{target}">]>'
        yield (
            f"an entity of {name}",
            f"{entity}<rss><channel><title>&x;</title><item><link>&x;</link></item></channel></rss>",
        )
        yield f"a definition of {name}", f'<?xml version="1.0"?><!DOCTYPE rss SYSTEM "{target}"><rss><channel/></rss>'
        item = f"<item><title>x</title><link>{target}</link><enclosure url='{target}' type='video/mp4'/></item>"
        yield (
            f"an item of {name}",
            f'<?xml version="1.0"?><rss version="2.0"><channel><title>x</title>{item}</channel></rss>',
        )
    items = "".join(
        f"<item><title>{each}</title><link>{place.trap}/{each}.mp4</link></item>" for each in range(100_000)
    )
    yield (
        "a hundred thousand items",
        f'<?xml version="1.0"?><rss version="2.0"><channel><title>x</title>{items}</channel></rss>',
    )
    yield "fifty thousand levels", '<?xml version="1.0"?><rss>' + "<channel>" * 50_000
    yield "no end", '<?xml version="1.0"?><rss><channel><item><title>x'


def _streams(place: Place) -> Iterator[tuple[str, Answer]]:
    def media(*lines: str, end: str = "#EXT-X-ENDLIST\n") -> Answer:
        return respond("#EXTM3U\n#EXT-X-TARGETDURATION:1\n" + "\n".join(lines) + f"\n{end}", _HLS)

    for name, target in (
        ("the trap", f"{place.trap}/clip.ts"),
        ("the neighbour", f"{place.neighbour}/clip.ts"),
        ("a file", f"file://{place.secret}"),
        ("a path", place.secret),
        ("data", "data:video/mp4;base64,AAAA"),
    ):
        yield f"segments of {name}", media("#EXTINF:1,", target)
        yield f"a key of {name}", media(f'#EXT-X-KEY:METHOD=AES-128,URI="{target}"', "#EXTINF:1,", "a.ts")
        yield f"a first part of {name}", media(f'#EXT-X-MAP:URI="{target}"', "#EXTINF:1,", "a.ts")
        yield f"another list of {name}", respond(f"{_MASTER}{target}\n", _HLS)
    own = media("#EXTINF:1,", "a.ts")
    yield "segments that are not there", by_name({"list.m3u8": own}, respond(b"", status="404 Not Found"))
    yield "an endless segment", by_name({"a.ts": endless(head_bytes(headers=[("Content-Type", "video/mp2t")]))}, own)
    yield "a segment that leads to the trap", by_name({"a.ts": redirect(f"{place.trap}/clip.ts")}, own)
    yield "a segment that is a page", by_name({"a.ts": _page("hello")}, own)
    yield "itself", computed(lambda visit: respond(f"{_MASTER}{visit.target}\n#EXT-X-ENDLIST\n", _HLS))
    yield "lists of lists without an end", computed(_deeper)
    yield "no end", media("#EXTINF:1,", "a.ts", end="")
    yield "ten thousand segments", media(*itertools.chain.from_iterable([("#EXTINF:1,", "a.ts")] * 10_000))
    yield (
        "a range of 2^63 bytes",
        media("#EXT-X-BYTERANGE:9223372036854775807@9223372036854775807", "#EXTINF:1,", "a.ts"),
    )
    yield "a key of a kind that is none", media('#EXT-X-KEY:METHOD=HOSTILE,URI="a"', "#EXTINF:1,", "a.ts")
    yield "numbers that are none", media("#EXT-X-MEDIA-SEQUENCE:many", "#EXTINF:long,", "a.ts")
    yield "a list without lines", respond("#EXTM3U", _HLS)
    yield "a line of a megabyte", media("#EXTINF:1,", "x" * 1_000_000)


def _deeper(visit: Visit) -> Answer:
    number = int(visit.name.removesuffix(".m3u8")) if visit.name[:1].isdecimal() else 0
    return respond(f"{_MASTER}{number + 1}.m3u8\n#EXT-X-ENDLIST\n", _HLS)


def _manifests(place: Place) -> Iterator[tuple[str, str]]:
    laugh = "".join(f'<!ENTITY l{each} "{f"&l{each - 1};" * 10}">' for each in range(1, 10))
    for name, target in (("the trap", f"{place.trap}/clip.mp4"), ("a file", f"file://{place.secret}")):
        yield f"a base of {name}", _mpd(f"<BaseURL>{target}</BaseURL>")
        entity = f'<!DOCTYPE MPD [<!ENTITY x SYSTEM "{target}">]>'
        yield f"an entity of {name}", entity + _mpd("<BaseURL>&x;</BaseURL>")
    yield "a billion laughs", f'<!DOCTYPE MPD [<!ENTITY l0 "ha">{laugh}]>' + _mpd("<BaseURL>&l9;</BaseURL>")
    # Ever fewer bytes for ever more segments: the tool lists them all before it fetches one.
    template = 'media="$Number$.m4s" initialization="i.mp4" timescale="1"'
    yield "a hundred million segments by duration", _mpd(f'<SegmentTemplate {template} duration="1"/>', "PT100000000S")
    timeline = '<SegmentTimeline><S t="0" d="1" r="100000000"/></SegmentTimeline>'
    yield "a hundred million segments by repetition", _mpd(f"<SegmentTemplate {template}>{timeline}</SegmentTemplate>")
    yield "a scale of 0", _mpd('<SegmentTemplate media="$Number$.m4s" timescale="0" duration="0"/>')
    yield (
        "a number of a million digits",
        _mpd('<SegmentTemplate media="$Number%01000000d$.m4s" timescale="1" duration="1"/>'),
    )
    yield "no period", '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>'
    yield (
        "protected",
        _mpd("<ContentProtection schemeIdUri='urn:mpeg:dash:mp4protection:2011'/><BaseURL>a.mp4</BaseURL>"),
    )


def _mpd(inside: str, duration: str = "PT10S") -> str:
    return (
        f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="{duration}"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1" width="64" height="48" codecs="avc1">'
        f"{inside}</Representation></AdaptationSet></Period></MPD>"
    )


def _good() -> Iterator[Specimen]:
    """What these pages are the twins of, and must be kept: else everything above would pass by being refused."""
    film = respond(clip("mp4", "mpeg4"))
    pages = {
        "a video": _page('<video src="clip.mp4"></video>'),
        "a refresh": _page('<meta http-equiv="refresh" content="0; url=clip.mp4">'),
    }
    for name, page in pages.items():
        yield Specimen(
            f"good/{name}", frozenset({"kept", "listed"}), answer=by_name({"clip.mp4": film}, page), file_name="a"
        )
    segment = respond(clip("mpegts", "libx264"), "video/mp2t")
    hls = respond("#EXTM3U\n#EXT-X-TARGETDURATION:1\n" + "#EXTINF:0.48,\na.ts\n" * 3 + "#EXT-X-ENDLIST\n", _HLS)
    kept = frozenset({"kept"})
    yield Specimen("good/HLS", kept, answer=by_name({"a.ts": segment}, hls), file_name="list.m3u8")
    dash = respond(_mpd("<BaseURL>clip.mp4</BaseURL>"), _DASH)
    yield Specimen("good/DASH", kept, answer=by_name({"clip.mp4": film}, dash), file_name="list.mpd")
    yield Specimen("good/a file", kept, clip("mp4", "mpeg4"))
    yield Specimen("good/a served file", kept, answer=film)


def _json_ld(fields: dict[str, object]) -> str:
    return _json_ld_text(json.dumps({"@context": "https://schema.org", "@type": "VideoObject"} | fields))


def _json_ld_text(text: str) -> str:
    return f'<script type="application/ld+json">{text}</script>'
