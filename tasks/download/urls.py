"""Normal forms of URLs and searches: one spelling for what no site tells apart, so that a list names it once.

Whatever changes here changes ids of sources, and what has such an id is fetched again: widen it with care.
"""

from __future__ import annotations

import functools
import re

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
# The searches of yt-dlp 2026.8 that find videos. None, a number, or `all` of the results; one where nothing is said.
_SEARCH = re.compile(
    r"(ytsearch|ytsearchdate|bilisearch|gvsearch|nicosearch|nicosearchdate|rkfnsearch|yvsearch)(all|[1-9][0-9]*|):(.+)",
    re.IGNORECASE | re.DOTALL,
)
# What yt-dlp's extractors hand to each other inside a URL (`smuggle_url`); from outside it would be an order to them.
_SMUGGLED = "#__youtubedl_smuggle"

# A URL that is normal as it stands, but for the sites below: most lists hold little else.
_NORMAL = re.compile(r"https?://([a-z0-9-]+(?:\.[a-z0-9-]+)*)/[A-Za-z0-9._~!$'()*+,;=:@/-]*")
_PARTS = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]+)(:[0-9]*)?")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_ROUTE = re.compile(r"[/!][^#]*")
# Fields that say where a visitor came from, and that no site uses for anything else.
_TRACKING = re.compile(
    r"utm_\w+|_ga|_gl|_hsenc|_hsmi|dclid|fbclid|gbraid|gclid|gclsrc|igsh|igshid|li_fat_id|mc_cid|mc_eid|mkt_tok|msclkid"
    r"|oly_anon_id|oly_enc_id|ttclid|twclid|vero_id|wbraid|yclid|ysclid",
    re.IGNORECASE,
)
# A query that is signed as a whole (S3, CloudFront, Google, Azure) is void once a field is missing.
_SIGNED = re.compile(r"(?:^|&)(?:x-amz-signature|x-goog-signature|signature|sig|hmac|key-pair-id)=", re.IGNORECASE)

_YOUTUBE = frozenset(
    {"youtube.com", "www.youtube.com", "m.youtube.com", "youtube-nocookie.com", "www.youtube-nocookie.com"}
)
_YOUTUBE_MUSIC = "music.youtube.com"  # its playlists are albums too, which the main site does not list alike
_YOUTUBE_SHORT = frozenset({"youtu.be", "www.youtu.be"})
_YOUTUBE_ID = re.compile(r"[0-9A-Za-z_-]{11}")
_YOUTUBE_LIST = re.compile(r"[0-9A-Za-z_-]+")
_YOUTUBE_PLAYERS = frozenset({"shorts", "embed", "live", "v", "e"})
_YOUTUBE_PAGES = frozenset({"videoseries", "live_stream"})  # of 11 characters too, and no ids
_YOUTUBE_TRACKING = frozenset({"si", "feature", "pp", "ab_channel", "app"})
_VIMEO = frozenset({"vimeo.com", "www.vimeo.com"})
_VIMEO_VIDEO = re.compile(r"/(?:channels/[^/]+/|groups/[^/]+/videos/)?([0-9]+)(?:/([0-9a-f]{10}))?/?")
_VIMEO_HASH = re.compile(r"[0-9a-f]{10}")  # without it an unlisted video is not shown
_SITES = _YOUTUBE | _YOUTUBE_SHORT | _VIMEO | {_YOUTUBE_MUSIC}


def normal_url(url: str) -> str:
    """The normal form of a URL, which is what is fetched; a URL that cannot be taken apart keeps its spelling.

    http(s): scheme and host in lower case, international hosts in Punycode, no default port, no empty path,
    percent-encoding in upper case, no tracking fields (the others keep their order, and a signed query all of its
    fields), no fragment, unless it is a route of a single-page site (`#/video/3`, `#!video`). A YouTube video is
    `https://www.youtube.com/watch?v=ID` however it was linked, a playlist stays one; likewise Vimeo, but for its
    player, which shows videos that their page does not. Other schemes: in lower case.
    """
    if (plain := _NORMAL.fullmatch(url)) and plain[1] not in _SITES:
        return url
    url = url.partition(_SMUGGLED)[0]
    found = _PARTS.fullmatch(url)
    if found is None:  # such as https:example.com, or another scheme: the fetch will say so
        scheme, colon, rest = url.partition(":")
        return scheme.lower() + colon + rest
    scheme, netloc, path, query, fragment = (part or "" for part in found.groups())
    scheme = scheme.lower()
    netloc = _normal_netloc(scheme, netloc)
    if netloc in _SITES:
        return _youtube(netloc, path, query) or _vimeo(netloc, path, query) or _tidied(scheme, netloc, path, query)
    return _tidied(scheme, netloc, path, query, fragment)


def normal_search(text: str) -> str | None:
    """The normal form of a search such as `ytsearch20:cats playing`; None where the text is none."""
    found = _SEARCH.fullmatch(text.partition(_SMUGGLED)[0])
    query = " ".join(found[3].split()) if found else ""
    if not found or not query:
        return None
    number = found[2].lower()
    return f"{found[1].lower()}{'' if number == '1' else number}:{query}"


def _tidied(
    scheme: str, netloc: str, path: str, query: str, fragment: str = "", tracking: frozenset[str] = frozenset()
) -> str:
    """Any http(s) URL whose host is in normal form. `tracking`: fields that are dropped on its site alone."""
    if query and not _SIGNED.search(query):
        query = "&".join([field for field in query.split("&") if not _is_tracking(field, tracking)])
    tail = f"#{fragment}" if _ROUTE.fullmatch(fragment) else ""
    return f"{scheme}://{netloc}{_upper_escapes(path) or '/'}{'?' if query else ''}{_upper_escapes(query)}{tail}"


def _is_tracking(field: str, more: frozenset[str]) -> bool:
    name = field.partition("=")[0]
    return name in more or _TRACKING.fullmatch(name) is not None


def _upper_escapes(text: str) -> str:
    return _ESCAPE.sub(lambda found: found[0].upper(), text) if "%" in text else text


@functools.lru_cache(maxsize=4096)
def _normal_netloc(scheme: str, netloc: str) -> str:
    user, at, host = netloc.rpartition("@")
    found = _HOST.fullmatch(host.lower())
    if found is None:  # no server's address
        return f"{user}{at}{host.lower()}"
    name, port = found[1], found[2] or ""
    shown_port = "" if port in (":", _DEFAULT_PORTS[scheme]) else port
    return f"{user}{at}{name if name.isascii() else _punycode(name)}{shown_port}"


def _punycode(name: str) -> str:
    """An international host as it is asked for; as it stands where the way there loses letters, such as ß as ss."""
    try:
        coded = name.encode("idna").decode("ascii")
        return coded if coded.encode("ascii").decode("idna") == name else name
    except UnicodeError:
        return name


def _youtube(host: str, path: str, query: str) -> str | None:
    """A URL of YouTube in its one form; None for any other."""
    if host not in _YOUTUBE and host not in _YOUTUBE_SHORT and host != _YOUTUBE_MUSIC:
        return None
    page, _, rest = path.strip("/").partition("/")
    if host in _YOUTUBE_SHORT:
        video = page if not rest else ""
    elif page == "watch" and not rest:
        video = _field(query, "v")
    else:
        video = rest if page in _YOUTUBE_PLAYERS else ""
    if _YOUTUBE_ID.fullmatch(video) and video not in _YOUTUBE_PAGES:
        return f"https://www.youtube.com/watch?v={video}"
    if host in _YOUTUBE:
        host = "www.youtube.com"
        names_list = (page, rest) in (("playlist", ""), ("embed", "videoseries")) or (page == "watch" and not video)
        listed = _field(query, "list")
        if names_list and _YOUTUBE_LIST.fullmatch(listed):
            return f"https://www.youtube.com/playlist?list={listed}"
    return _tidied("https", host, path.rstrip("/"), query, tracking=_YOUTUBE_TRACKING)


def _vimeo(host: str, path: str, query: str) -> str | None:
    """A video of Vimeo in its one form; None for any other URL."""
    found = _VIMEO_VIDEO.fullmatch(path) if host in _VIMEO else None
    if found is None:
        return None
    secret = found[2] or _field(query, "h")
    if secret and not _VIMEO_HASH.fullmatch(secret):
        return None
    return f"https://vimeo.com/{found[1]}" + (f"/{secret}" if secret else "")


def _field(query: str, name: str) -> str:
    """The first value of a query's field as it is written, or nothing."""
    for field in query.split("&"):
        key, _, value = field.partition("=")
        if key == name:
            return value
    return ""
