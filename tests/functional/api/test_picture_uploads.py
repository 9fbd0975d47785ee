from __future__ import annotations

import pytest
import webtest
from support.pictures.pictures import FORMATS_IN, decoded, encode, in_format, png_bomb, quadrants
from support.servers.applications import application

from persona_profile.images.formats import SIZES

EMAIL = "alice@example.com"
PROFILE = f"/v1/profiles/{EMAIL}"
PICTURE = f"{PROFILE}/picture"
FORM = "multipart/form-data; boundary=xyz"
JPEG = encode(quadrants(64, 64))


@pytest.fixture
def headers(sign_in) -> dict[str, str]:
    """The headers of a session of Alice and Carol."""
    return sign_in(EMAIL, "carol@example.com")


@pytest.fixture
def put(app, headers):
    """Uploads a body; returns the response of any status."""

    def put(body=JPEG, media_type="image/jpeg", query="", **more) -> webtest.TestResponse:
        given = {**headers, "Content-Type": media_type, **more}
        return app.put(PICTURE + query, body, headers=given, expect_errors=True)

    return put


def part(disposition, content, more=b"") -> bytes:
    """Return a part of a form."""
    head = b"--xyz\r\nContent-Disposition: form-data; " + disposition + b"\r\n" + more
    return head + b"\r\n" + content + b"\r\n"


def form(*parts) -> bytes:
    """Return the body of a form."""
    return b"".join(parts) + b"--xyz--\r\n"


FILE = part(b'name="picture"; filename="me.jpg"', JPEG, b"Content-Type: image/jpeg\r\n")


@pytest.mark.parametrize(
    "media_type", ["image/jpeg", "image/png", "Image/JPEG", "application/octet-stream", ""]
)
def test_raw(put, media_type):
    """The bytes of a picture are accepted with any media type of a picture, or none."""
    answer = put(media_type=media_type)
    assert answer.status_code == 200
    assert set(answer.json["picture"]["urls"]) == set(map(str, SIZES))
    assert answer.headers["ETag"] == answer.json["etag"]


@pytest.mark.parametrize("name", FORMATS_IN)
def test_formats(put, name):
    """Each accepted format makes a picture."""
    assert put(in_format(name, quadrants(64, 64))).json["picture"] is not None


@pytest.mark.parametrize(
    "body",
    [
        form(FILE),
        form(part(b'name="a"', b"x"), FILE, part(b'name="other"; filename="b"', b"y" * 9000)),
        form(part(b'name="a"', b"\xff\xfe"), FILE),
        form(part(b'name="a"', b"x" * 60_000), FILE),
        b"preamble\r\n" + form(FILE) + b"epilogue",
    ],
    ids=["alone", "others", "not-text", "large-other", "surrounded"],
)
@pytest.mark.parametrize(
    "media_type", [FORM, FORM.title().replace("Xyz", "xyz"), FORM + "; charset=hex"]
)
def test_form(put, body, media_type):
    """The field `picture` of a form is read; other fields are skipped."""
    assert put(body, media_type).status_code == 200


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        (form(), "validation_failed", "Required"),
        (form(part(b'name="a"', b"x")), "validation_failed", "Required"),
        (form(part(b'name="picture"', b"me.jpg")), "validation_failed", "must be a file"),
        (form(part(b'name="picture"; filename=""', b"")), "validation_failed", "must be a file"),
        (form(FILE, FILE), "validation_failed", "may be given once"),
        (form(FILE).replace(b"xyz", b"abc"), "malformed_request", None),
        (form(FILE)[:-9], "malformed_request", None),
        (form(FILE)[:200], "malformed_request", None),
        (b"", "malformed_request", None),
        (JPEG, "malformed_request", None),
        (form(*[part(b'name="a"', b"x")] * 500, FILE), "malformed_request", None),
        (form(part(b'name="a"', b"x", b"X: y\r\n" * 100), FILE), "malformed_request", None),
        (
            form(part(b'name="a"; filename="' + b"x" * 40_000 + b'"', b"x"), FILE),
            "malformed_request",
            None,
        ),
        (
            form(*[part(b'name="a"', b"x", b"X: y" + b"\r\n y" * 900 + b"\r\n")] * 40, FILE),
            "malformed_request",
            None,
        ),
    ],
)
def test_unusable_form(put, body, code, reason):
    """A form that is broken, or has not exactly one file as its picture, is rejected with a reason."""
    answer = put(body, FORM)
    assert (answer.status_code, answer.json["code"]) == (400, code)
    expected = [{"location": "body", "name": "picture", "description": reason}]
    assert answer.json.get("errors", [{}]) == (expected if reason else [{}])


FILE_NAMES = {
    "utf-8": 'filename="Zoë 🙂.jpg"'.encode(),
    "latin-1": 'filename="Zoë.jpg"'.encode("latin-1"),
    "windows-1252": "filename=“Zoë”.jpg".encode("cp1252"),
    "shift-jis": 'filename="表"'.encode("shift-jis"),
    "iso-2022-jp": 'filename="◆せ◇.jpg"'.encode("iso-2022-jp"),
    "gb18030": 'filename="头像.jpg"'.encode("gb18030"),
    "utf-16": b'filename="' + "Zoë.jpg".encode("utf-16") + b'"',
    "no encoding": b'filename="\xff\xfe\xc3\x28\xed\xa0\x80.jpg"',
    "controls": b'filename="\0\x01\x1b\x7f\t\x0b.jpg"',
    "newline": b'filename="me\nyou.jpg"',
    "rfc 5987": b"filename*=UTF-8''Zo%C3%AB.jpg",
    "rfc 5987, both": b"filename=\"me.jpg\"; filename*=iso-8859-1'en'Zo%EB.jpg",
    "rfc 5987, broken": b"filename*=nonsense''%ZZ%F",
    "rfc 2231": b'filename*0="me"; filename*1*=%FF.jpg',
    "rfc 2047": b'filename="=?iso-8859-1?Q?Zo=EB?="',
    "percent": b'filename="%00%zz%22.jpg"',
    "without quotes": b"filename=my picture.jpg",
    "without quotes, latin-1": b"filename=\xeb.jpg",
    "quotes within": b'filename="the "new" one.jpg"',
    "one quote": b'filename="me.jpg',
    "backslash at its end": b'filename="C:\\"',
    "escaped": b'filename="a \\"b\\" \\\\.jpg"',
    "semicolons": b'filename="a; b=c; d.jpg"',
    "path": b'filename="../../../etc/passwd"',
    "long": b'filename="' + b"x" * 30_000 + b'.jpg"',
    "empty": b'filename=""',
    "without value": b"filename=",
}


@pytest.mark.parametrize("name", FILE_NAMES.values(), ids=FILE_NAMES)
@pytest.mark.parametrize("order", ["field first", "file first"])
def test_name_of_a_file(put, name, order):
    """The name of a file is not read: each encoding and each damage of it is accepted."""
    field = [b'name="picture"', name]
    disposition = b"; ".join(field if order == "field first" else reversed(field))
    answer = put(form(part(disposition, JPEG, b"Content-Type: image/jpeg\r\n")), FORM)
    assert answer.status_code == 200, answer.text


def test_file_without_a_name(put):
    """A picture in a form needs no file name; names of other fields are not read either."""
    assert put(form(part(b'name="picture"', JPEG)), FORM).status_code == 200
    assert put(form(part(b'name="\xff"; filename="\xff"', b"x"), FILE), FORM).status_code == 200


@pytest.mark.parametrize("more", [b"", b"Content-Type: image/jpeg\r\n"])
def test_empty_file(put, more):
    """An empty file in a form is reported as empty, with a detail for people."""
    answer = put(form(part(b'name="picture"; filename="me.jpg"', b"", more)), FORM)
    assert (answer.status_code, answer.json["code"]) == (422, "picture_empty")
    assert answer.json["detail"] == "The file is empty: it has 0 bytes."


@pytest.mark.parametrize("media_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_form_without_boundary(put, media_type):
    """A form without a boundary is malformed."""
    answer = put(form(FILE), media_type)
    assert (answer.status_code, answer.json["code"]) == (400, "malformed_request")


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json5", "junk", "video/mp4"],
)
def test_other_media_types(put, media_type):
    """A body with another media type is not read."""
    answer = put(media_type=media_type)
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("body", [b"junk", b"<svg/>", b"\xff\xd8"])
def test_no_picture(put, body):
    """A file that is no picture is rejected under any media type."""
    assert put(body).json["code"] == "unsupported_media_type"
    assert put(body).status_code == 415


@pytest.mark.parametrize(
    ("body", "code", "members"),
    [
        (b"", "picture_empty", {}),
        (JPEG[:700], "picture_broken", {}),
        (b"\xff\xd8\xff<html></html>", "picture_broken", {}),
        (
            png_bomb(12_000, 12_000),
            "picture_too_many_pixels",
            {"pixels": 144_000_000, "limit": 50_000_000},
        ),
    ],
)
def test_unusable_picture(put, body, code, members):
    """A rejected picture gets the reason, with numbers if there are any."""
    answer = put(body)
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
    assert answer.json["code"] == code
    assert members.items() <= answer.json.items()


def test_crop(app, put):
    """A crop of a quarter shows that quarter."""
    url = put(encode(quadrants()), query="?crop=200,0,200").json["picture"]["urls"]["64"]
    assert decoded(app.get(url).body).resize((1, 1)).getpixel((0, 0)) == pytest.approx(
        (30, 180, 30), abs=6
    )


@pytest.mark.parametrize(
    "crop", ["", "0", "0,0", "0,0,", "a,b,c", "-1,0,3", "1.5,0,5", "0,0,0", "0,0,9,9", "0,0,9%0a",
             "%20 0,0,9", "%d9%a0,0,9", "0,0,9999999", "9" * 400 + ",0,1", "0,0,9&crop=0,0,9"],
)  # fmt: skip
def test_malformed_crop(put, crop):
    """A crop is three whole numbers, given once."""
    answer = put(query=f"?crop={crop}")
    assert (answer.status_code, answer.json["code"]) == (400, "validation_failed")
    assert answer.json["errors"][0]["name"] == "crop"


@pytest.mark.parametrize(
    "of", ["", "64", "64x", "x64", "64,64", "64x64x64", "0x64", "64x0", "-1x64", "1e2x64", "64X64",
           "64x64%0a", "%d9%a6x64", "9999999x64", "9" * 400 + "x1", "64x64&of=64x64"],
)  # fmt: skip
def test_malformed_size_of_a_crop(put, of):
    """The size of the picture that a person saw is two whole numbers, given once."""
    answer = put(query=f"?crop=0,0,9&of={of}")
    assert (answer.status_code, answer.json["code"]) == (400, "validation_failed")
    assert answer.json["errors"][0]["name"] == "of"


def test_size_without_a_crop(put):
    """A size without a crop has no meaning."""
    answer = put(query="?of=64x64")
    assert (answer.status_code, answer.json["code"]) == (400, "validation_failed")
    assert answer.json["errors"][0]["name"] == "of"


def test_crop_of_a_preview(app, put):
    """A crop of a smaller copy shows the same part of the picture."""
    url = put(encode(quadrants()), query="?crop=50,0,50&of=100x100").json["picture"]["urls"]["64"]
    assert decoded(app.get(url).body).resize((1, 1)).getpixel((0, 0)) == pytest.approx(
        (30, 180, 30), abs=6
    )


def test_crop_of_another_picture(put):
    """A crop of a picture of another shape gets both sizes."""
    answer = put(encode(quadrants(300, 200)), query="?crop=0,0,9&of=100x70")
    assert (answer.status_code, answer.json["code"]) == (422, "crop_of_other_picture")
    sizes = [answer.json[name] for name in ("width", "height", "of_width", "of_height")]
    assert sizes == [300, 200, 100, 70]


def test_crop_outside_of_a_preview(put):
    """A crop outside of a smaller copy gets the size of the copy."""
    answer = put(encode(quadrants(300, 200)), query="?crop=51,0,100&of=150x100")
    assert (answer.status_code, answer.json["code"]) == (422, "crop_outside_picture")
    assert (answer.json["width"], answer.json["height"]) == (150, 100)


def test_query_that_is_no_text(put):
    """A query that is not UTF-8 is malformed."""
    assert put(query="?crop=%ff").status_code == 400


@pytest.mark.parametrize("crop", ["0,0,65", "1,0,64", "999999,999999,1", "0,64,1"])
def test_crop_outside(put, crop):
    """A crop outside of the picture gets the size of the picture."""
    answer = put(query=f"?crop={crop}")
    assert (answer.status_code, answer.json["code"]) == (422, "crop_outside_picture")
    assert (answer.json["width"], answer.json["height"]) == (64, 64)


def test_too_large(development_folder):
    """A body over the limit is rejected with the limit; a body of exactly the limit is accepted."""
    app = webtest.TestApp(application(development_folder, pictures__max_bytes="2048"))
    proof = app.app.development.identity_provider.bundle(EMAIL, "http://localhost")
    token = app.post_json("/v1/sessions", {"proofs": [{"assertion": proof}]}).json["token"]
    app.authorization = ("Bearer", token)
    exact = JPEG + bytes(2048 - len(JPEG))
    raw = {"Content-Type": "image/jpeg"}
    app.put(PICTURE, exact, headers=raw, status=200)
    answer = app.put(PICTURE, exact + b"x", headers=raw, status=413)
    assert (answer.json["code"], answer.json["limit"]) == ("body_too_large", 2048)
    named = b'name="picture"; filename="a"'
    app.put(PICTURE, form(part(named, exact)), headers={"Content-Type": FORM}, status=200)
    answer = app.put(
        PICTURE, form(part(named, exact + b"x")), headers={"Content-Type": FORM}, status=413
    )
    assert answer.json["limit"] == 2048


def test_who_may(app, put, headers):
    """Only a session that has proved an email may change or delete its picture."""
    raw = {"Content-Type": "image/jpeg"}
    for call in (lambda url, more, status: app.put(url, JPEG, headers=more | raw, status=status),
                 lambda url, more, status: app.delete(url, headers=more, status=status)):  # fmt: skip
        assert (
            call("/v1/profiles/bob@example.com/picture", headers, 403).json["code"]
            == "email_not_proved"
        )
        assert "WWW-Authenticate" in call(PICTURE, {}, 401).headers
        call(PICTURE, {"Authorization": "Bearer junk"}, 401)


def test_failed_upload_changes_nothing(app, put, headers):
    """A failed upload changes neither the picture nor the profile."""
    before = put().json
    for body, query in ((b"junk", ""), (JPEG[:500], ""), (JPEG, "?crop=0,0,999")):
        assert put(body, query=query).status_code >= 400
    assert app.get(PROFILE, headers=headers).json == before


def test_claims_stay(app, put, headers):
    """A picture changes no claim, and a claim changes no picture."""
    app.put_json(PROFILE, {"name": "Alice", "picture_alt": "Me"}, headers=headers)
    uploaded = put().json
    assert (uploaded["name"], uploaded["picture_alt"]) == ("Alice", "Me")
    patched = app.patch_json(PROFILE, {"name": "Al"}, headers=headers).json
    assert patched["picture"] == uploaded["picture"]


def test_if_match(app, put, headers):
    """A stale If-Match rejects an upload before it is rendered; a current one accepts it."""
    stale = put().headers["ETag"]
    fresh = put(encode(quadrants(32, 32))).headers["ETag"]
    assert put(b"junk", **{"If-Match": stale}).status_code == 412
    assert put(b"junk", **{"If-None-Match": "*"}).status_code == 412
    assert put(b"junk", **{"If-Match": fresh}).status_code == 415
    assert put(**{"If-Match": fresh}).status_code == 200
    app.delete(PICTURE, headers=headers | {"If-Match": fresh}, status=412)
    assert app.get(PROFILE, headers=headers).json["picture"] is not None


def test_delete(app, put, headers):
    """Deleting a picture is idempotent, also if there never was one."""
    app.delete(PICTURE, headers=headers, status=204)
    put()
    for _ in range(2):
        app.delete(PICTURE, headers=headers, status=204)
    assert app.get(PROFILE, headers=headers).json["picture"] is None


def _items(app) -> set[str]:
    """Return the names of all items of all partitions."""
    backend = app.app.backend
    items = {item.name for owner in backend.scan(None, 100) for item in backend.list(owner)}
    return items - {"used"}  # the mark of a proof


def test_no_orphans(app, put, headers):
    """Replaced and deleted pictures leave no items in the store."""
    for side in (300, 8, 200):
        picture = put(encode(quadrants(side, side))).json["picture"]["id"]
        stored = {name for name in _items(app) if name.startswith("picture/")}
        assert {name.split("/")[1] for name in stored} == {picture}
        assert {f"picture/{picture}/{size}.jpeg" for size in (64, 128, 256, 512)} <= stored
    app.delete(PICTURE, headers=headers)
    assert _items(app) == {"key", "profile"}
    put()
    app.delete(PROFILE, headers=headers)
    assert _items(app) == set()
