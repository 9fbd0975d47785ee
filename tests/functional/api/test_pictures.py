from __future__ import annotations

import base64
import io
import json
import re
import zipfile

import pytest
import webtest
from support.clients.sessions import session_of
from support.pictures.pictures import decoded, encode, exif_orientation, photo, quadrants
from support.servers.applications import Clock, application

EMAIL = "alice@example.com"
PROFILE = f"/v1/profiles/{EMAIL}"
PICTURE = f"{PROFILE}/picture"
RAW = {"Content-Type": "application/octet-stream"}
BROWSER = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
DAY = 24 * 3600


def scene() -> bytes:
    """Return a photo for which every format is kept."""
    return photo(700, 560)


@pytest.fixture
def headers(sign_in) -> dict[str, str]:
    """The headers of Alice's session."""
    return sign_in(EMAIL)


@pytest.fixture
def urls(app, headers) -> dict[str, str]:
    """The URLs of Alice's picture, by size."""
    return app.put(PICTURE, scene(), headers=headers | RAW).json["picture"]["urls"]


@pytest.mark.parametrize("size", [64, 128, 256, 512])
def test_sizes(app, urls, size):
    """Each size is at its URL, without a session."""
    picture = decoded(app.get(urls[str(size)]).body)
    assert (picture.format, picture.size) == ("JPEG", (size, size))


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (BROWSER, "webp"),
        ("image/avif,image/webp,*/*", "webp"),
        ("image/webp", "webp"),
        ("IMAGE/WEBP", "webp"),
        ("image/webp;q=0.5, image/jpeg;q=0.9", "webp"),
        ("image/webp;q=0, */*", "jpeg"),
        ("image/jpeg", "jpeg"),
        ("image/*", "jpeg"),
        ("*/*", "jpeg"),
        (None, "jpeg"),
        ("image/webp" + ",text/html" * 200, "jpeg"),
    ],
)
def test_formats(app, urls, accept, expected):
    """A client gets the smallest of the formats in Accept, or JPEG."""
    answer = app.get(urls["512"], headers={"Accept": accept} if accept else {})
    assert answer.content_type == f"image/{expected}"
    assert decoded(answer.body).format.lower() == expected
    assert len(answer.body) == answer.content_length


def test_avif(app, headers):
    """AVIF is served where it is the smallest."""
    blobs = quadrants(60, 60).effect_spread(20).resize((512, 512), 3)
    url = app.put(PICTURE, encode(blobs, "PNG"), headers=headers | RAW).json["picture"]["urls"]["512"]
    answer = app.get(url, headers={"Accept": BROWSER})
    assert (answer.content_type, decoded(answer.body).format) == ("image/avif", "AVIF")
    others = [app.get(url, headers={"Accept": accept}).body for accept in ("image/webp", "*/*")]
    assert len(answer.body) < min(map(len, others))


@pytest.mark.parametrize("accept", ["text/html", "application/json", "image/png", "*/*;q=0"])
def test_not_acceptable(app, urls, accept):
    """A client that accepts no format of pictures gets 406."""
    answer = app.get(urls["64"], headers={"Accept": accept}, status=406)
    assert answer.json["code"] == "not_acceptable"


def test_headers(app, urls):
    """Browsers cache a picture until its URL expires, and can only show it."""
    answer = app.get(urls["64"])
    lifetime = re.fullmatch(r"private, max-age=([0-9]+), immutable", answer.headers["Cache-Control"])
    assert DAY <= int(lifetime[1]) <= 2 * DAY
    assert {"Accept", "Origin"} <= set(re.split(", *", ", ".join(answer.headers.getall("Vary"))))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert "Set-Cookie" not in answer.headers


def test_not_modified(app, urls):
    """A cached picture is not sent again; another format of it is."""
    etag = app.get(urls["64"]).headers["ETag"]
    for known in (etag, f"W/{etag}", f'"x", {etag}'):
        answer = app.get(urls["64"], headers={"If-None-Match": known}, status=304)
        assert answer.body == b""
        assert answer.headers["ETag"] == etag
        assert "max-age" in answer.headers["Cache-Control"]
    app.get(urls["64"], headers={"If-None-Match": etag, "Accept": "image/webp"}, status=200)
    app.get(urls["128"], headers={"If-None-Match": etag}, status=200)


def test_head(app, urls):
    """HEAD has the headers of GET."""
    answer = app.head(urls["64"])
    assert (answer.content_type, answer.body) == ("image/jpeg", b"")


def test_upright_and_without_secrets(app, headers):
    """A rendition is upright and does not reveal where the photo was taken."""
    sideways = encode(quadrants(), exif=exif_orientation(6))
    url = app.put(PICTURE, sideways, headers=headers | RAW).json["picture"]["urls"]["256"]
    answer = app.get(url)
    assert b"SECRET-CAMERA" not in answer.body
    assert decoded(answer.body).getpixel((20, 20)) == pytest.approx((30, 30, 220), abs=6)


def test_altered_capability(app, urls):
    """Every altered character makes a capability invalid."""
    prefix, _, capability = urls["64"].rpartition("/")
    for at, character in enumerate(capability):
        altered = capability[:at] + ("A" if character != "A" else "B") + capability[at + 1 :]
        app.get(f"{prefix}/{altered}", status=404)


@pytest.mark.parametrize(
    "capability", ["A", "-", "AAAA", "A" * 20_000, "%00", "%ff", "%F0%9F%98%80", "a b", "=" * 9]
)
def test_no_capability(app, capability):
    """An invalid capability gets 404."""
    answer = app.get(f"/v1/pictures/{capability}", expect_errors=True)
    assert answer.status_code in (400, 404)


def test_shortened_and_lengthened_capability(app, urls):
    """A capability is valid only unchanged, not shorter, longer or padded."""
    for altered in (
        urls["64"][:-1],
        urls["64"] + "A",
        urls["64"] + "=",
        urls["64"] + "/",
        urls["64"] + "%0A",
    ):
        app.get(altered, status=404)


def test_replaced(app, headers, urls):
    """The URLs of a replaced picture get 404; the URLs of the new picture work."""
    fresh = app.put(PICTURE, encode(quadrants()), headers=headers | RAW).json["picture"]["urls"]
    for size, url in urls.items():
        assert fresh[size] != url
        app.get(url, status=404)
        app.get(fresh[size], status=200)


def test_same_picture_twice(app, headers, urls):
    """A second upload of the same file has different URLs."""
    again = app.put(PICTURE, scene(), headers=headers | RAW).json["picture"]["urls"]
    assert not set(again.values()) & set(urls.values())


@pytest.mark.parametrize("path", [PICTURE, PROFILE])
def test_removed(app, headers, urls, path):
    """The URLs of a deleted picture or profile get 404."""
    app.delete(path, headers=headers, status=204)
    for url in urls.values():
        answer = app.get(url, status=404)
        assert answer.json["code"] == "not_found"
        assert "max-age" not in answer.headers.get("Cache-Control", "")


def test_pictures_of_two_people(app, headers, urls, sign_in):
    """Deleting a person's picture does not change another's."""
    bob = sign_in("bob@example.com")
    theirs = app.put("/v1/profiles/bob@example.com/picture", scene(), headers=bob | RAW).json["picture"]
    app.delete(PICTURE, headers=headers)
    app.get(urls["64"], status=404)
    app.get(theirs["urls"]["64"], status=200)


def test_life_of_a_url(development_folder):
    """A URL is the same for a window, works to the end of the next window, and then gets 404."""
    clock = Clock(1_800_000_000)
    app = webtest.TestApp(application(development_folder, clock=clock))

    def sign_in() -> dict[str, str]:
        # The identity provider signs with the real time only.
        now = int(clock.now * 1000)
        session = session_of(EMAIL, proved_at=now, expires_at=now + 1000)
        token = app.app.services.tokens.seal(session)
        return {"Authorization": f"Bearer {token}"}

    app.put(PICTURE, encode(quadrants(64, 64)), headers=sign_in() | RAW)
    seen = {}
    for _ in range(50):
        url = app.get(PROFILE, headers=sign_in()).json["picture"]["urls"]["64"]
        seen.setdefault(url, clock.now)
        for known, since in seen.items():
            alive = app.get(known, expect_errors=True).status_code == 200
            assert alive or clock.now - since >= DAY
            assert not alive or clock.now - since <= 2 * DAY
        assert app.get(url).status_code == 200
        clock.now += 2 * 3600
    assert len(seen) in (5, 6)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://dialog.example"}, 200),
        ({"Referer": "https://dialog.example/"}, 200),
        ({"Referer": "https://dialog.example/sign-in?x=/y", "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Referer": "http://localhost/demo"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Referer": "https://evil.example/"}, 403),
        ({"Referer": "https://dialog.example.evil.example/"}, 403),
        ({"Referer": "https://evil.example/https://dialog.example/"}, 403),
        ({"Referer": "https://dialog.example@evil.example/"}, 403),
        ({"Referer": "http://dialog.example/"}, 403),
        ({"Referer": "https://dialog.example:8443/"}, 403),
        ({"Referer": "junk"}, 403),
        ({"Origin": "https://evil.example", "Referer": "https://dialog.example/"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_pages_that_may_show_pictures(app, urls, sent, status):
    """Only pages of the configured origins show pictures."""
    answer = app.get(urls["64"], headers=sent, status=status)
    assert status == 200 or answer.json["code"] == "origin_refused"


def shown(picture):
    """Return the picture of a data URI."""
    media_type, data = re.fullmatch("data:(image/[a-z]+);base64,(.+)", picture["thumbnail"]).groups()
    found = decoded(base64.b64decode(data, validate=True))
    assert f"image/{found.format.lower()}" == media_type
    return found


@pytest.mark.parametrize("size", [64, 256])
def test_thumbnails(app, headers, urls, assertion, size):
    """The response to a sign-in has thumbnails on request."""
    body = {"proofs": [{"assertion": assertion(EMAIL)}], "thumbnails": size}
    [profile] = app.post_json("/v1/sessions", body).json["profiles"]
    assert shown(profile["picture"]).size == (size, size)
    [listed] = app.get(f"/v1/profiles?thumbnails={size}", headers=headers).json["profiles"]
    assert shown(listed["picture"]).size == (size, size)
    [plain] = app.get("/v1/profiles", headers=headers).json["profiles"]
    assert "thumbnail" not in plain["picture"]


@pytest.mark.parametrize("size", ["0", "65", "512", "64,128", "", "x", "64&thumbnails=64", "%ff"])
def test_unknown_thumbnails(app, headers, size):
    """A request may name one of the thumbnail sizes."""
    app.get(f"/v1/profiles?thumbnails={size}", headers=headers, status=400)


def test_export(app, headers, urls):
    """The export has every rendition, as it is served."""
    app.patch_json(PROFILE, {"name": "Zoë"}, headers=headers)
    archive = zipfile.ZipFile(io.BytesIO(app.get(f"{PROFILE}/export", headers=headers).body))
    assert archive.testzip() is None
    document = json.loads(archive.read("profile.json"))
    assert (document["email"], document["name"]) == (EMAIL, "Zoë")
    for size, url in urls.items():
        assert archive.read(f"picture/{size}.jpeg") == app.get(url).body
        assert archive.read(f"picture/{size}.webp") == app.get(url, headers={"Accept": BROWSER}).body
    assert all(
        decoded(archive.read(name)) for name in archive.namelist() if name.startswith("picture/")
    )
