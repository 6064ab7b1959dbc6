"""The table of failures: what yt-dlp, the sites behind it, HTTP and FFmpeg say, and what each text means.

Texts are those of yt-dlp 2026.8.19, of sites as its users report them, and of libavutil's error.c. `permanent`: gone
for good or needs the user; `transient`: the next run tries again; `poison`: bytes that no tool reads as a video.
"""

from __future__ import annotations

from collections.abc import Mapping

from storage.versions import FailureClass

Row = tuple[str, FailureClass, str]
"""A regular expression (case aside), the class and the counted reason. The first row that matches decides, so the
narrower text stands first."""

_SITE: tuple[Row, ...] = (
    (r"^Unsupported URL: ", "permanent", "unsupported_url"),  # the rest of it is the URL, which may hold any text
    # The site wants no more requests from us now.
    (r"not a bot\b|unusual traffic|suspected as a bot", "transient", "bot_check"),
    (r"(asks you to solve|requiring) a captcha|anti-bot challenge|its TLS fingerprint", "transient", "bot_check"),
    (r"HTTP Error (420|429|509)|Too Many Requests", "transient", "rate_limited"),
    (r"rate.limited|(exceeded|reached|hit) (the|a) rate.limit|rate.limit reached", "transient", "rate_limited"),
    (r"content isn't available, try again later", "transient", "rate_limited"),
    (r"IP is likely being blocked|your IP may be blocked|IP address is unable to", "transient", "address_blocked"),
    (r"(blocked|rejected) by server \(\d+\)|HTTP Error 412", "transient", "address_blocked"),  # BiliBili's risk control
    (r"IP address is blocked from accessing this post", "transient", "address_refused"),
    # The tool cannot read the site: for want of something on this machine, or until a newer one does.
    (r"No supported JavaScript runtime|No usable challenge solver", "transient", "no_javascript_runtime"),
    (r"challenge solving failed|solve JS challenge|Error running \w+ process", "transient", "challenge_failed"),
    (r"require a (GVS )?PO Token which was not|\bSABR\b", "transient", "missing_token"),
    (r"not available on this app|page needs to be reloaded|any player response", "transient", "tool_outdated"),
    (
        r"token: HTTP Error 4\d\d|API page: HTTP Error 400|JSON metadata: HTTP Error 400|bad guest token",
        "transient",
        "tool_outdated",
    ),
    (r"(ffmpeg|pycryptodomex) (could )?not (be )?found|RTMP download|WebSocket support", "permanent", "tool_missing"),
    (r"Impersonate target", "permanent", "tool_missing"),
    (r"sent an empty media response", "transient", "empty_answer"),
    # Not now, but later.
    (r"available yet|yet available|will be available|available after \d|\bafter \d\d:\d\d", "transient", "not_yet"),
    (r"is processing\b|processing this video|uploading or processing|downloadable yet", "transient", "not_yet"),
    (r"replay is disabled|VOD is not available|no (archive for|video for download)", "permanent", "unavailable"),
    (r"\blive ?(event|stream)? (will|is scheduled|has)\b|\bevent will|scheduled to start", "transient", "live"),
    (r"Premieres in|not (currently |yet )?(live|started)\b|\boffline\b(?! because)|Live DASH", "transient", "live"),
    # Who may see the video.
    (r"embed-only|Setting a Referer header", "permanent", "embed_only"),
    (r"\bDRM\b", "permanent", "drm"),
    (r"in your (current )?(country|region|location)|from your (country|region|location)", "permanent", "geo_blocked"),
    (r"geo.?(restrict|block)|HTTP Error 451|VPN or a proxy", "permanent", "geo_blocked"),
    (r"Video restricted to|in \w+ only\b|blocked in this region", "permanent", "geo_blocked"),
    (r"only (available|licensed)( to users)? in \w+", "permanent", "geo_blocked"),
    (r"blocked by (Websense|Indian censorship|decision of)", "permanent", "censored"),
    (r"copyright (claim|grounds|infring|reasons|issues)|who has blocked it", "permanent", "copyright"),
    (r"members.only|Join this channel|channel's members|Music Premium", "permanent", "members_only"),
    (r"(available|only) (for|to) (\w+ ){0,4}(members|subscribers|supporters)", "permanent", "members_only"),
    (r"(supporter|subscriber|subscribers).only|premium users", "permanent", "members_only"),
    (r"\bsubscription\b|not subscribed|subscribe to|TV providers", "permanent", "members_only"),
    (r"requires payment|\bpurchase|HTTP Error 402|have to pay\b|is not free\b", "permanent", "paid"),
    (r"private (video|post|playlist|subreddit|account|favorites)|\bis (a )?private\b", "permanent", "private"),
    (r"are private\b|protected tweet|who follow this account", "permanent", "private"),
    (r"do not have permission to view", "permanent", "private"),
    (r"--video-password|(wrong|invalid|incorrect) (video )?password", "permanent", "password"),
    (r"confirm your age|\bage.(restricted|verif)|inappropriate for some users", "permanent", "age_restricted"),
    (r"\bNSFW\b|Adult verification|years old|only users older|some audiences", "permanent", "age_restricted"),
    # Whether there is one.
    (
        r"\b(video|clip|account|channel|user|post|tweet|track|content|uploader)\b.{0,80}"
        r"\b(removed|deleted|terminated|suspended|closed their)\b",
        "permanent",
        "removed",
    ),
    (r"account that no longer exists|broadcast no longer exists", "permanent", "removed"),
    (r"\b(stream|link|content|it) (has|is) (most likely )?expired|rights expired", "permanent", "removed"),
    (r"\blog(ged)?[ -]?in(to)?\b|\bsign in\b|not authorized", "permanent", "login_required"),
    (r"registered users|HTTP Error 401|cookies .{0,30}(needed|required)", "permanent", "login_required"),
    (r"Use --(cookies|username)|not have access|account is needed", "permanent", "login_required"),
    (r"no videos? (could be|in this|found|on the)|not a (video|media file)\b|plain image", "permanent", "no_video"),
    (
        r"(not|n't) (contain|have) (a|any) video|no media found|no (embedded )?video\S*( content)? (was )?found",
        "permanent",
        "no_video",
    ),
    (
        r"\b(video|content|clip|media|page|post|tweet|program|playlist|channel|livestream|recording)( \S+)? (is |in )?"
        r"(currently )?(unavailable|not available|no longer available|isn't available)\b",
        "permanent",
        "unavailable",
    ),
    (r"\b(video|track)( \S+)? is (locked|unplayable|inaccessible)", "permanent", "unavailable"),
    (r"does(n't| not) exist|does the playlist exist|does not have a \w+ tab", "permanent", "unavailable"),
    (r"\b(channel|video|content|track|space|playlist) (\S+ )?not found\b(?! in)", "permanent", "unavailable"),
    # The URL and its formats.
    (r"No suitable extractor|website is not supported|used for piracy", "permanent", "unsupported_url"),
    (r"Unsupported (page|embed|player|playback|media|entity|manifest) type", "permanent", "unsupported_url"),
    (r"is not a valid URL|^Invalid URL|unsupported url scheme|URLs are disabled", "permanent", "bad_url"),
    (r"no host given|unknown url type|blob URL|Incomplete YouTube ID", "permanent", "bad_url"),
    (r"Invalid IPv6 URL|control characters|nonnumeric port|Port out of range", "permanent", "bad_url"),
    (r"label (empty or )?too long|^Failed to parse: ", "permanent", "bad_url"),
    (r"Requested format is not available", "permanent", "no_format"),
    (r"No video formats found|no (supported )?formats|any video formats", "transient", "no_formats_found"),
    (r"larger than max-filesize|File too large", "permanent", "too_large"),
    (r"page of more than \d+ bytes", "permanent", "page_too_large"),
    (r"skipped for safety reasons", "permanent", "unsafe_name"),
    (r"The downloaded file is empty", "transient", "no_data"),  # of fragments: all were refused
    (r"Did not get any data blocks", "poison", "empty"),
)

_NETWORK: tuple[Row, ...] = (
    (r"connect to proxy|Tunnel connection failed|HTTP Error 407|\bsocks", "transient", "proxy"),
    (r"(invalid|unsupported) proxy|Proxy '' missing scheme|HTTPS proxy", "transient", "proxy"),
    (r"HTTP Error (404|410)", "permanent", "not_found"),
    (r"HTTP Error (403|405|406)", "transient", "forbidden"),
    (r"HTTP Error (408|504|522|524)|timed.?out", "transient", "timeout"),
    (r"HTTP Error 5\d\d|temporarily unavailable|error on server-side", "transient", "server_error"),
    (r"HTTP Error 416", "transient", "bad_range"),  # of a download that was to go on
    (r"HTTP Error 4\d\d", "permanent", "http_refused"),
    (r"HTTP Error 3\d\d|redirect (loop|error)|infinite loop", "permanent", "bad_redirect"),
    (r"Name or service not known|No address associated", "permanent", "unknown_host"),
    (r"name resolution|getaddrinfo failed|nodename nor servname", "transient", "name_resolution"),
    (r"certificate.verify.failed|hostname mismatch", "transient", "bad_certificate"),  # renewed, as a rule
    (r"\bSSL|EOF occurred in violation|handshake", "transient", "tls"),
    (
        r"Connection reset|Broken pipe|Connection abort|connection abort|closed connection",
        "transient",
        "connection_reset",
    ),
    (r"got more than \d+ bytes", "transient", "connection_reset"),
    (r"Connection refused|unreachable|No route to host", "transient", "unreachable"),
    (r"assign requested address", "transient", "unreachable"),
    (r"IncompleteRead|content too short|more expected|Downloaded \d+ bytes, expected", "transient", "cut_short"),
    (r"while decompressing|Not a gzipped file|Compressed file ended|\bbrotli\b", "transient", "bad_encoding"),
    (r"fragment \d+ not found|Unable to open fragment", "transient", "fragment_missing"),
    (r"Initialization fragment|Failed to update fragments", "transient", "fragment_missing"),
)

_MACHINE: tuple[Row, ...] = (
    (r"No space left on device|Disk quota exceeded", "transient", "disk_full"),
    (r"Too many open files", "transient", "too_many_files"),
    (r"\[Errno (5|30)\]|unable to open for writing: \[Errno 13\]", "transient", "disk_error"),
    (r"Cannot allocate memory", "poison", "memory_limit"),  # a worker's own limit
    (r"Permission denied", "permanent", "unreadable"),
    (
        r"embedded null|File name too long|Not a directory|Is a directory|Too many levels of symbolic links",
        "permanent",
        "bad_path",
    ),
    (r"failed to load cookies|Netscape format", "transient", "bad_cookies"),
)

# What yt-dlp did not expect: the site has changed, and a newer yt-dlp may read it.
_UNEXPECTED: tuple[Row, ...] = (
    (r"please report this issue|Unable to extract|extractor error has occurred", "transient", "extractor_broken"),
)

# FFmpeg, through PyAV, on the bytes.
_BYTES: tuple[Row, ...] = (
    (r"file begins with", "poison", "web_page"),
    (r"the file is empty", "poison", "empty"),
    (r"truncated: packet", "poison", "truncated"),
    (r"moov atom not found", "poison", "moov_missing"),
    (r"Format not on whitelist|Protocol .{0,20}not on whitelist|Protocol not found", "poison", "not_a_video"),
    (r"Decoder not found|not implemented|Not yet implemented|Unknown codec", "poison", "unknown_codec"),
    (r"no video stream", "poison", "no_video_stream"),
    (r"no decodable frame|no frame decodes", "poison", "no_frame"),
    (r"Invalid data found|Error number -?\d+ occurred|Unknown error occurred", "poison", "unreadable_container"),
    (r"End of file|Invalid argument|Input/output error|should not have happened", "poison", "unreadable_container"),
    (r"out of range|too large for defined data type|Operation not permitted", "poison", "unreadable_container"),
)

FAILURES: tuple[Row, ...] = (*_SITE, *_NETWORK, *_MACHINE, *_BYTES, *_UNEXPECTED)
DECODING: tuple[Row, ...] = (*_MACHINE, *_BYTES)
"""The rows for what FFmpeg says of a file."""

SETTINGS: Mapping[str, tuple[str, ...]] = {
    "no_format": ("format", "max_height_px"),
    "private_address": ("allow_hosts",),
    "too_large": ("max_bytes",),
    "too_many_pixels": ("max_pixels",),
    "unsupported_scheme": ("allow_stores",),
}
"""Fields of the configuration that a verdict rests on, by reason."""
