"""Normal forms: what folds to one source, what must not, and yt-dlp's own opinion of YouTube's URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.download.urls import normal_search, normal_url

VIDEO = "https://www.youtube.com/watch?v=BaW_jenozKc"
LIST = "https://www.youtube.com/playlist?list=PL4lCao7KL_QFVb7Iudeipvc2BCavECqzc"
VIDEO_FORMS = [
    VIDEO,
    "http://youtube.com/watch?v=BaW_jenozKc&t=12s&pp=abc",
    "https://m.youtube.com/watch?app=desktop&v=BaW_jenozKc&list=PL4lCao7KL_QFVb7Iudeipvc2BCavECqzc&index=3",
    "https://music.youtube.com/watch?v=BaW_jenozKc&si=xyz",
    "https://www.youtube.com/shorts/BaW_jenozKc?feature=share",
    "https://www.youtube.com/live/BaW_jenozKc/",
    "https://www.youtube.com/embed/BaW_jenozKc?rel=0",
    "https://www.youtube-nocookie.com/embed/BaW_jenozKc",
    "https://youtu.be/BaW_jenozKc?si=xyz&t=3",
    "HTTPS://YouTu.be:443/BaW_jenozKc#t=3",
]
LIST_FORMS = [
    LIST,
    "https://m.youtube.com/playlist?list=PL4lCao7KL_QFVb7Iudeipvc2BCavECqzc&si=x",
    "https://www.youtube.com/watch?list=PL4lCao7KL_QFVb7Iudeipvc2BCavECqzc",
    "https://www.youtube.com/embed/videoseries?list=PL4lCao7KL_QFVb7Iudeipvc2BCavECqzc",
]


def forms(*urls: str) -> int:
    return len({normal_url(url) for url in urls})


def test_every_link_to_a_video_of_youtube_is_one() -> None:
    assert {normal_url(url) for url in VIDEO_FORMS} == {VIDEO}


def test_a_playlist_stays_a_playlist() -> None:
    assert {normal_url(url) for url in LIST_FORMS} == {LIST}


def test_yt_dlp_reads_the_normal_forms_as_it_reads_the_links() -> None:
    from yt_dlp.extractor.youtube import YoutubeIE, YoutubePlaylistIE, YoutubeTabIE

    for url in VIDEO_FORMS[1:-1]:  # it knows no upper-case host
        plain = url.partition("&list")[0]  # with a list it asks another extractor, which hands the video on
        assert YoutubeIE.get_temp_id(plain) == YoutubeIE.get_temp_id(VIDEO) == "BaW_jenozKc", url
    for url in LIST_FORMS:
        assert not YoutubeIE.suitable(normal_url(url))
        assert YoutubeTabIE.suitable(url) or YoutubePlaylistIE.suitable(url), url


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://m.youtube.com/@Name/videos/?si=x", "https://www.youtube.com/@Name/videos"),
        ("https://www.youtube.com/embed/live_stream?channel=UCx", None),
        ("https://www.youtube.com/clip/UgytZKpehg-hEMBSn3F4AaABCQ", None),
        ("https://music.youtube.com/playlist?list=OLAK5uy_x", None),
        ("https://www.youtube.com/watch?v=short", None),
        ("https://youtube.com.example/watch?v=BaW_jenozKc&t=3", None),
        ("https://www.youtube.com:8080/watch?v=BaW_jenozKc&t=3", None),
        ("https://u@www.youtube.com/watch?v=BaW_jenozKc&t=3", None),
        ("http://www.vimeo.com/76979871?share=copy#t=3", "https://vimeo.com/76979871"),
        ("https://vimeo.com/channels/staffpicks/76979871", "https://vimeo.com/76979871"),
        ("https://vimeo.com/groups/travelhd/videos/22439234", "https://vimeo.com/22439234"),
        ("https://vimeo.com/392479337?h=a52724358e", "https://vimeo.com/392479337/a52724358e"),
        ("https://vimeo.com/channels/staffpicks", None),
        ("https://vimeo.com/showcase/3253534", None),
        ("https://player.vimeo.com/video/76979871?h=a52724358e", None),  # some videos are shown there alone
    ],
)
def test_other_pages_of_these_sites(url: str, normal: str | None) -> None:
    assert normal_url(url) == (normal or url)


def test_what_no_server_tells_apart_is_one() -> None:
    assert (
        forms("https://Example.com", "https://example.com/", "HTTPS://example.com:443/", "https://example.com/?") == 1
    )
    assert forms("http://example.com:80/a", "http://EXAMPLE.com/a", "http://example.com:/a#top") == 1
    assert forms("https://bücher.example/ä", "https://BÜCHER.example/ä", "https://xn--bcher-kva.example/ä") == 1
    assert forms("https://example.com/%c3%a4?q=%2f", "https://example.com/%C3%A4?q=%2F") == 1
    assert forms("https://e.com/?b=1&utm_source=x&a=2&fbclid=y", "https://e.com/?gclid=z&b=1&a=2&utm_medium=q") == 1


def test_what_a_server_may_tell_apart_is_not() -> None:
    assert forms("https://e.com/a", "https://e.com/A", "http://e.com/a", "https://e.com/a?b", "https://e.com/a/") == 5
    assert forms("https://e.com/?a=1&b=2", "https://e.com/?b=2&a=1", "https://e.com/?a=1&b=2&si=3&feature=4") == 3
    assert forms("https://u:P@example.com/", "https://u:p@example.com/", "https://example.com/") == 3
    assert forms("https://straße.example/", "https://strasse.example/") == 2  # one name only in the older IDNA
    assert forms("https://e.com/#/video/1", "https://e.com/#/video/2", "https://e.com/#!video", "https://e.com/#t") == 4


def test_a_signed_query_keeps_every_field() -> None:
    url = "https://bucket.s3.amazonaws.com/a.mp4?utm_source=x&X-Amz-Signature=abc"
    assert normal_url(url) == url


@pytest.mark.parametrize(
    "url", ["http://[::1/x", "https:e.com", "http:///x", "https://", "ftp://HOST/x", "javascript:1"]
)
def test_what_cannot_be_taken_apart_is_left_to_the_fetch(url: str) -> None:
    assert normal_url(normal_url(url)) == normal_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://e.com/v#__youtubedl_smuggle=%7B%22a%22%3A1%7D",
        "https://e.com/v#/route#__youtubedl_smuggle=%7B%7D",
        "https://e.com/v#!x#y#__youtubedl_smuggle=%7B%7D",
        "https:e.com#__youtubedl_smuggle=%7B%7D",
        "ftp://e.com/v#__youtubedl_smuggle=%7B%7D",
        "http://[::1/x#__youtubedl_smuggle=%7B%7D",
        "https://youtu.be/BaW_jenozKc#__youtubedl_smuggle=%7B%7D",
    ],
)
def test_nothing_is_smuggled_to_an_extractor(url: str) -> None:
    assert "__youtubedl_smuggle" not in normal_url(url)


def test_searches() -> None:
    assert normal_search("YTSearch20:  cats   playing ") == "ytsearch20:cats playing"
    assert normal_search("ytsearch1:cats") == normal_search("ytsearch:cats") == "ytsearch:cats"
    assert normal_search("ytsearchdateall:cats: two#__youtubedl_smuggle=1") == "ytsearchdateall:cats: two"
    for text in ("ytsearch20", "ytsearch0:cats", "ytsearch5: ", "websearch5:cats", "https://e.com/ytsearch5:cats"):
        assert normal_search(text) is None


def test_yt_dlp_knows_the_searches() -> None:
    from yt_dlp.extractor import gen_extractor_classes

    known = {one._SEARCH_KEY for one in gen_extractor_classes() if getattr(one, "_SEARCH_KEY", None)}
    videos = known - {"scsearch", "prxseries", "prxstories"}  # sound alone
    assert videos == {key for key in known if normal_search(f"{key}5:cats")}


PIECES = (
    "http HTTPS : // www.youtube.com youtu.be vimeo.com E.com ü.example :80 :443 @ / ? & # #/ #! %2f % [ ] \\ ; = a "
    "watch v= BaW_jenozKc list=PL1 embed/ /123 utm_source=1 #__youtubedl_smuggle="
)
URLS = st.lists(st.sampled_from([*PIECES.split(), " "]), max_size=14).map("".join)


@given(URLS)
def test_a_normal_form_is_its_own_and_smuggles_nothing(url: str) -> None:
    for prefix in ("", "https://"):
        normal = normal_url(prefix + url)
        assert normal_url(normal) == normal
        assert "#__youtubedl_smuggle" not in normal
