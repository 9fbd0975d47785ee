"""Suggestions of ID tokens for blank profiles, and the pictures behind them on real hosts."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import webtest
from support.clients.metrics import Exposition
from support.pictures.pictures import encode, png_bomb, quadrants
from support.servers.applications import wait_for
from support.servers.openid import (
    ACCOUNTS,
    EMAIL,
    GONE,
    ISSUERS,
    claims,
    fresh_nonce,
    providers,
    public,
    rsa,
    sign_in,
    token,
    trusting_app,
)
from support.servers.tls import (
    answer,
    answering,
    dripping,
    fetcher,
    flooding,
    server_context,
    serving,
    silent,
)

from persona_profile.keys.tokens import SuggestedPicture
from persona_profile.profiles.removals import PictureRemovals

HOST = "pictures.test"
URL = f"https://{HOST}/alice.jpg?size=400"
PICTURE = encode(quadrants())
WORDS = {
    "name": "Alice Example",
    "given_name": "Alice",
    "family_name": "Example",
    "nickname": "Ali",
    "locale": "en_GB",
    "zoneinfo": "Europe/Paris",
    "website": "https://Alice.example/me",
}
TAKEN = WORDS | {"locale": "en-GB", "website": "https://alice.example/me"}


@pytest.fixture(scope="module")
def provider():
    """Providers, and a host of pictures, behind one TLS server."""
    with providers(HOST, "private.test") as provider:
        yield provider


@pytest.fixture(scope="module")
def app(tmp_path_factory, provider):
    """An application that trusts them."""
    app = trusting_app(tmp_path_factory.mktemp("suggestions"), Hosts(provider))
    yield app
    app.close()


@pytest.fixture
def site(app, provider):
    """A client of the application; Alice's profile is blank before and after."""
    provider.put(URL, PICTURE, kind="image/jpeg")
    site = client(app)
    erase(site)
    yield site
    erase(site)


@pytest.fixture(scope="module")
def small_app(tmp_path_factory, provider):
    """An application that accepts small pictures."""
    folder = tmp_path_factory.mktemp("small")
    app = trusting_app(folder, Hosts(provider), pictures__max_bytes="100000")
    yield app
    app.close()


class Hosts:
    """A provider whose host `private.test` has a private address, and whose fetches end soon."""

    def __init__(self, provider, deadline=0.5):
        self._provider = provider
        self._deadline = deadline

    def fetcher(self):
        """Return a fetcher that connects to 127.0.0.1 alone."""
        return fetcher(
            self._provider.port,
            resolve=lambda name: ["10.0.0.1" if name == "private.test" else "127.0.0.1"],
            is_allowed=lambda address: address == "127.0.0.1",
            deadline=self._deadline,
        )


def client(app):
    """Return what calls an application."""
    return webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"})


def erase(site):
    """Erase Alice's profile."""
    site.delete(f"/v1/profiles/{EMAIL}", headers=opened(site)[1])


def opened(site, **suggested):
    """Return Alice's profile of a new session with such claims, and the headers of its calls."""
    document = sign_in(site, token(fresh_nonce(site), **suggested)).json
    [profile] = document["profiles"]
    return profile, {"Authorization": f"Bearer {document['token']}"}


def take(site, reference, headers, status=200, query="", email=EMAIL):
    """Take a suggested picture."""
    path = f"/v1/profiles/{email}/picture{query}"
    return site.put_json(path, {"suggestion": reference}, headers=headers, status=status)


def suggested(site, url=URL):
    """Return the reference to a picture that Alice's provider suggests, and the headers of calls."""
    profile, headers = opened(site, picture=url)
    return profile["suggestions"]["picture"], headers


def lookups(app, **labels):
    """Return the number of lookups."""
    found = Exposition(app.services.metrics.exposition())
    return found.value("persona_provider_lookups_total", **labels)


def sealed(app, **changes):
    """Return a reference as the service seals it, with changes."""
    good = SuggestedPicture(EMAIL, "id_token", ACCOUNTS, URL, 2**42)
    return app.services.suggested_picture_tokens.seal(replace(good, **changes))


class TestOffers:
    def test_claims(self, site, provider):
        """A blank profile gets the claims as the profile would store them; nothing is fetched."""
        before = len(provider.requests)
        profile, headers = opened(site, **WORDS, picture=URL)
        assert profile["suggestions"]["claims"] == TAKEN
        assert URL not in str(profile)
        assert profile["name"] is None
        assert len(provider.requests) - before <= 2  # keys at most
        assert URL not in provider.requests
        listed = site.get("/v1/profiles", headers=headers).json["profiles"][0]
        assert listed["version"] == 0
        assert "suggestions" not in listed

    @pytest.mark.parametrize(
        "said",
        [
            {"name": "A\u202elice"},
            {"name": "x" * 101},
            {"name": {"given": "Alice"}},
            {"name": ["Alice"]},
            {"name": " "},
            {"name": ""},
            {"nickname": None},
            {"locale": "English!"},
            {"zoneinfo": "Mars/Olympus"},
            {"website": "http://alice.example"},
            {"website": "javascript:alert(1)"},
            {"website": f"https://alice.example/{'x' * 2000}"},
            {"pronouns": "she", "label": "Work", "picture_alt": "Me", "email": EMAIL, "phone": "1"},
            {"picture": "http://pictures.test/alice.jpg"},
            {"picture": "https://127.0.0.1/alice.jpg"},
            {"picture": "https://[::1]/alice.jpg"},
            {"picture": "https://localhost/alice.jpg"},
            {"picture": "https://me@pictures.test/alice.jpg"},
            {"picture": "https://pictures.test/alice.jpg#me"},
            {"picture": "https://pictures.test/bell\u0007"},
            {"picture": f"https://pictures.test/{'x' * 1024}"},
            {"picture": "data:image/png;base64,AAAA"},
            {"picture": "file:///etc/passwd"},
            {"picture": ["https://pictures.test/alice.jpg"]},
        ],
        ids=str,
    )
    def test_what_does_not_fit_is_left_out(self, site, said):
        """Values that no profile would store, and addresses that no fetch would call, are no offers."""
        assert "suggestions" not in opened(site, **said)[0]

    def test_bad_beside_good(self, site):
        """One bad claim leaves the others."""
        profile, _ = opened(site, name="Alice", website="ftp://x", picture="x")
        assert profile["suggestions"] == {"claims": {"name": "Alice"}}

    def test_blank_profiles_alone(self, site):
        """A profile that was written gets no offers; erased, it is blank again."""
        _, headers = opened(site)
        site.put_json(f"/v1/profiles/{EMAIL}", {"label": "Work"}, headers=headers)
        assert "suggestions" not in opened(site, **WORDS)[0]
        erase(site)
        assert "suggestions" in opened(site, **WORDS)[0]

    def test_newly_proved_emails_alone(self, site):
        """An email of the older session gets no offers, nor an email of another kind of proof."""
        _, headers = opened(site, **WORDS)
        bundle = site.app.development.identity_provider.bundle("bob@example.com", "http://localhost")
        body = {"proofs": [{"assertion": bundle}]}
        document = site.post_json("/v1/sessions", body, headers=headers, status=201).json
        assert [profile["email"] for profile in document["profiles"]] == [EMAIL, "bob@example.com"]
        assert "suggestions" not in str(document)

    def test_several_emails(self, site):
        """Each profile gets the words of its own token, of several the last."""
        said = [("alice@mail.test", "A"), ("bob@mail.test", "B"), ("alice@mail.test", "C")]
        tokens = [token(fresh_nonce(site), email=email, name=name) for email, name in said]
        found = sign_in(site, *tokens).json["profiles"]
        assert [each["suggestions"]["claims"]["name"] for each in found] == ["C", "B"]

    def test_userinfo(self, tmp_path, provider):
        """UserInfo adds to the token, if the service asks it; the token comes first."""
        endpoint = f"{ACCOUNTS}/me"
        provider.publish(ACCOUNTS, [public(rsa("rsa"), "rsa")], userinfo_endpoint=endpoint)
        said = {"sub": claims("")["sub"], "email": EMAIL, "email_verified": True}
        provider.put(endpoint, said | {"name": "Of UserInfo", "nickname": "Ali", "picture": URL})
        app = trusting_app(tmp_path, provider, [ISSUERS[0] | {"userinfo": True}])
        site = client(app)
        bare = token(fresh_nonce(site), email=GONE, email_verified=GONE, name="Of the token")
        body = {"proofs": [{"id_token": bare, "access_token": "opaque"}]}
        [profile] = site.post_json("/v1/sessions", body, status=201).json["profiles"]
        assert profile["suggestions"]["claims"] == {"name": "Of the token", "nickname": "Ali"}
        assert "picture" in profile["suggestions"]
        app.close()


class TestTaking:
    def test_claims_and_picture(self, site, provider):
        """Both are taken by the usual calls; the picture is fetched once, and read like others."""
        profile, headers = opened(site, **WORDS, picture=URL)
        offers, before = profile["suggestions"], provider.asked_for(URL)
        path = f"/v1/profiles/{EMAIL}"
        match = headers | {"If-Match": profile["etag"]}
        written = site.put_json(path, offers["claims"], headers=match).json
        assert {name: written[name] for name in TAKEN} == TAKEN
        taken = take(site, offers["picture"], headers | {"If-Match": written["etag"]}).json
        assert provider.asked_for(URL) == before + 1
        assert site.get(taken["picture"]["urls"]["64"]).content_type == "image/jpeg"
        assert taken["name"] == "Alice Example"
        assert "suggestions" not in taken

    def test_reference_until_it_expires(self, site):
        """A reference works again: an answer may be lost."""
        reference, headers = suggested(site)
        for version in (1, 2):
            assert take(site, reference, headers).json["version"] == version

    def test_crop(self, site):
        """The square of a crop is taken; one outside of the picture is rejected."""
        reference, headers = suggested(site)
        assert take(site, reference, headers, query="?crop=0,0,200&of=400x400").json["picture"]
        problem = take(site, reference, headers, 422, "?crop=0,0,500&of=400x400").json
        assert problem["code"] == "crop_outside_picture"

    def test_precondition_comes_first(self, site, provider):
        """A write that would be rejected fetches nothing."""
        reference, headers = suggested(site)
        before = provider.asked_for(URL)
        take(site, reference, headers | {"If-Match": '"1.0"'}, 412)
        take(site, reference, {}, 401)
        assert provider.asked_for(URL) == before

    def test_unnamed_media_type(self, site, provider):
        """A file of no named type is a picture by its content."""
        reference, headers = suggested(site)
        for kind in ("application/octet-stream", "binary/octet-stream", "IMAGE/x; q=1"):
            provider.put(URL, PICTURE, kind=kind)
            take(site, reference, headers)

    def test_secrecy(self, site, caplog):
        """No log, metric or problem has the address of a picture, its host or a name."""
        caplog.set_level(logging.DEBUG)
        for url in (URL, "https://gone.test/secret.jpg", f"https://{HOST}/missing"):
            erase(site)
            profile, headers = opened(site, **WORDS, picture=url)
            answer = take(site, profile["suggestions"]["picture"], headers, "*")
            texts = caplog.text + answer.text + site.app.services.metrics.exposition()
            for secret in (HOST, "gone.test", "secret", "Alice", EMAIL):
                assert secret not in texts.replace(f'"email":"{EMAIL}"', "")


class TestHosts:
    @pytest.mark.parametrize(
        ("document", "status", "kind", "code"),
        [
            (b"", 404, "image/jpeg", "picture_unreachable"),
            (b"", 302, "image/jpeg", "picture_unreachable"),
            (PICTURE, 206, "image/jpeg", "picture_unreachable"),
            (PICTURE, 500, "image/jpeg", "picture_unreachable"),
            (b"<p>Sign in</p>", 200, "text/html", "unsupported_media_type"),
            (PICTURE, 200, "application/json", "unsupported_media_type"),
            (
                b"<svg xmlns='http://www.w3.org/2000/svg'/>",
                200,
                "image/svg+xml",
                "unsupported_media_type",
            ),
            (b"", 200, "image/jpeg", "picture_empty"),
            (PICTURE[:2000], 200, "image/jpeg", "picture_broken"),
            (png_bomb(40_000, 40_000), 200, "image/png", "picture_too_many_pixels"),
        ],
        ids=str,
    )
    def test_bad_files(self, site, provider, document, status, kind, code):
        """Each answer without a good picture has a code of its own; nothing is stored."""
        provider.put(URL, document, status, kind)
        reference, headers = suggested(site)
        problem = take(site, reference, headers, "*")
        assert problem.status_int in (415, 422)
        assert problem.json["code"] == code
        assert site.get(f"/v1/profiles/{EMAIL}", headers=headers).json["version"] == 0

    def test_redirects(self, site, provider):
        """A redirect is not followed."""
        provider.put(URL, b"", 302, "image/jpeg")
        reference, headers = suggested(site)
        before = len(provider.requests)
        take(site, reference, headers, 422)
        assert provider.requests[before:] == [URL]

    @pytest.mark.parametrize("host", ["private.test", "10.0.0.1", "127.0.0.1", "localhost"])
    def test_private_addresses(self, site, app, provider, host):
        """Neither a name with a private address nor an address is called."""
        _, headers = opened(site)
        before = len(provider.requests)
        url = f"https://{host}/alice.jpg"
        problem = take(site, sealed(app, url=url), headers, 422).json
        assert problem["code"] in ("picture_unreachable", "suggestion_invalid")
        assert len(provider.requests) == before

    @pytest.mark.parametrize(
        ("handler", "code"),
        [
            (silent, "picture_unreachable"),
            (answering(b""), "picture_unreachable"),
            (answering(b"\0" * 100), "picture_unreachable"),
            (dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x"), "picture_unreachable"),
            (
                dripping(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n", b"x"),
                "picture_unreachable",
            ),
            (
                flooding(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n", b"x" * 50),
                "picture_too_large",
            ),
            (flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "picture_too_large"),
            (
                answering(answer(PICTURE[:2000], length=9000, content_type="image/png")),
                "picture_broken",
            ),
        ],
        ids=[
            *(
                "silent",
                "hangs up",
                "no http",
                "slow header",
                "slow body",
                "endless",
                "interim",
                "liar",
            ),
        ],
    )
    def test_hostile_hosts(self, small_app, handler, code):
        """A host that stalls or never ends is left by the deadline or the limit."""
        site = client(small_app)
        labels = {"kind": "picture", "outcome": "found" if code == "picture_broken" else code}
        before = lookups(small_app, **labels)
        with serving(handler, server_context(HOST)) as server:
            reference, headers = suggested(site, f"https://{HOST}:{server.port}/alice.jpg")
            problem = take(site, reference, headers, 422).json
        assert problem["code"] == code
        assert problem.get("limit") == (100_000 if code == "picture_too_large" else None)
        assert lookups(small_app, **labels) == before + 1

    def test_slow_host(self, tmp_path, provider):
        """A network waits for one picture at once; another takes one meanwhile, and people sign in."""
        app = trusting_app(tmp_path, Hosts(provider, deadline=30))
        provider.put(URL, PICTURE, kind="image/jpeg")
        here, there = client(app), client(app)
        there.extra_environ["REMOTE_ADDR"] = "192.0.2.7"
        with serving(silent, server_context(HOST)) as server, ThreadPoolExecutor(1) as pool:
            slow = f"https://{HOST}:{server.port}"
            first, headers = suggested(here, f"{slow}/1.jpg")
            waiting = pool.submit(take, here, first, headers, 422)
            wait_for(lambda: server.connections)
            second, headers = suggested(here, f"{slow}/2.jpg")
            busy = take(here, second, headers, 503)
            assert int(busy.headers["Retry-After"]) > 0
            reference, headers = suggested(there, "https://accounts.test/alice.jpg")
            provider.put("https://accounts.test/alice.jpg", PICTURE, kind="image/jpeg")
            take(there, reference, headers)
            server.close()
            assert waiting.result(30).json["code"] == "picture_unreachable"
        app.close()

    def test_size(self, tmp_path, provider):
        """A picture of the limit's size is taken; one of a byte more is not."""
        app = trusting_app(tmp_path, provider, pictures__max_bytes=str(len(PICTURE)))
        site = client(app)
        provider.put(URL, PICTURE, kind="image/jpeg")
        reference, headers = suggested(site)
        take(site, reference, headers)
        provider.put(URL, PICTURE + b"\0", kind="image/jpeg")
        problem = take(site, reference, headers, 422).json
        assert (problem["code"], problem["limit"]) == ("picture_too_large", len(PICTURE))
        app.close()

    def test_named_hosts(self, tmp_path, provider):
        """A host in a private network is called for the issuer whose operator named it."""
        provider.put("https://private.test/a.jpg", PICTURE, kind="image/jpeg")
        named = {"allow_private_addresses": True, "hosts": ["private.test"]}
        app = trusting_app(tmp_path, PrivateHosts(provider), [ISSUERS[0] | named, *ISSUERS[1:]])
        site = client(app)
        reference, headers = suggested(site, "https://private.test/a.jpg")
        take(site, reference, headers)
        changed = sealed(app, issuer=ISSUERS[1]["issuer"], url="https://private.test/a.jpg")
        assert take(site, changed, headers, 422).json["code"] == "picture_unreachable"
        app.close()


class PrivateHosts(Hosts):
    """A provider, all of whose hosts are on loopback, which only named hosts may be."""

    def fetcher(self):
        """Return a fetcher that allows a loopback address for `accounts.test` by its route alone."""
        return fetcher(self._provider.port, is_allowed=lambda _address: False)


class TestReferences:
    def test_of_another_email(self, site):
        """A reference is of one email."""
        reference, headers = suggested(site)
        tokens = [token(fresh_nonce(site)), token(fresh_nonce(site), email="bob@mail.test")]
        headers = {"Authorization": f"Bearer {sign_in(site, *tokens).json['token']}"}
        problem = take(site, reference, headers, 422, email="bob@mail.test").json
        assert problem["code"] == "suggestion_invalid"
        take(site, reference, headers)

    def test_forgeries(self, site, app, provider):
        """A text that the service has not sealed for this use, or not lately, is no reference."""
        reference, headers = suggested(site)
        keys = app.services.tokens._keys
        middle = len(reference) // 2
        altered = "A" if reference[middle] != "A" else "B"
        forged = {
            "empty": "",
            "text": "x" * 100,
            "altered": reference[:middle] + altered + reference[middle + 1 :],
            "cut": reference[:-4],
            "longer": reference + "AAAA",
            "too long": "A" * 12_001,
            "unicode": "ä" * 50,
            "session": headers["Authorization"].removeprefix("Bearer "),
            "nonce": fresh_nonce(site),
            "other purpose": keys.seal_token("picture", keys.open_token("suggestion", reference)),
            "expired": sealed(app, expires_at=1),
            "other email": sealed(app, email="bob@mail.test"),
            "other kind": sealed(app, member="assertion"),
            "unknown kind": sealed(app, member="none"),
            "unknown issuer": sealed(app, issuer="https://evil.test"),
            "http": sealed(app, url=URL.replace("https", "http")),
            "file": sealed(app, url="file:///etc/passwd"),
            "own address": sealed(app, url="https://127.0.0.1/x"),
        }
        before = len(provider.requests)
        for name, text in forged.items():
            assert take(site, text, headers, 422).json["code"] == "suggestion_invalid", name
        assert len(provider.requests) == before

    def test_expiry(self, site, app):
        """A reference lives as long as the session that it came with."""
        document = sign_in(site, token(fresh_nonce(site), picture=URL)).json
        session = app.services.tokens.open(document["token"])
        reference = document["profiles"][0]["suggestions"]["picture"]
        opened = app.services.suggested_picture_tokens.open(reference)
        assert opened == SuggestedPicture(EMAIL, "id_token", ACCOUNTS, URL, session.expires_at)

    @pytest.mark.parametrize(
        "body",
        [
            *("", "{", "[]", "null", '{"suggestion": 5}', '{"suggestion": null}', "{}"),
            *('{"url": "https://pictures.test/"}', '{"suggestion": "x", "url": "y"}', "x" * 20_000),
        ],
        ids=lambda body: body[:20],
    )
    def test_malformed_bodies(self, site, body):
        """A body of another form is rejected as every body."""
        _, headers = opened(site)
        headers |= {"Content-Type": "application/json"}
        problem = site.put(f"/v1/profiles/{EMAIL}/picture", body, headers=headers, status="*")
        assert problem.status_int in (400, 413)

    def test_charges(self, tmp_path, provider):
        """Each try counts as a write of the email, and its pixels and time as those of an upload."""
        limits = {"ratelimit__url": "memory://", "ratelimit__writes_per_email": "2/hour"}
        app = trusting_app(tmp_path, provider, **limits)
        site = client(app)
        provider.put(URL, PICTURE, kind="image/jpeg")
        reference, headers = suggested(site)
        take(site, reference, headers)
        take(site, "x", headers, 422)
        problem = take(site, reference, headers, 429)
        assert problem.json["policy"] == "writes-per-email"
        app.close()


def test_locked_for_pictures(app, site, provider):
    """A locked email is offered claims alone, and an earlier reference is not fetched."""
    reference, headers = suggested(site)
    before = provider.asked_for(URL)
    profiles = app.services.profiles
    operator = PictureRemovals(app.backend, profiles._homes, profiles._keys, ledger=app.ledger)
    operator.remove(EMAIL, 3600, "")
    try:
        profile, _ = opened(site, **WORDS, picture=URL)
        assert set(profile["suggestions"]) == {"claims"}
        assert take(site, reference, headers, 403).json["code"] == "picture_locked"
        assert provider.asked_for(URL) == before
    finally:
        operator.unlock(EMAIL)
