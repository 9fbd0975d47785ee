"""The session's emails as FedCM accounts, and the guide's example that forwards them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import webtest
from support import ROOT
from support.forgeries.independent_keys import account_id_of
from support.pictures.pictures import encode, quadrants
from support.servers.applications import application, running

from persona_profile.keys.keyring import KeyKind, Keyring
from persona_profile.keys.wrapping import KeyWrapper

ALICE, BOB = "alice@example.com", "bob@example.org"
ACCOUNTS = "/v1/fedcm/accounts"
GUIDE = ROOT / "docs/how-to/fedcm.md"
CHOOSER = {
    "Sec-Fetch-Dest": "webidentity",
    "Sec-Fetch-Site": "cross-site",
    "Accept": "application/json",
}


def set_claims(app, headers, email=ALICE, **claims):
    """Replace the claims of a profile."""
    app.put_json(f"/v1/profiles/{email}", claims, headers=headers)


class TestAccounts:
    def test_of_blank_profiles(self, app, sign_in):
        """Each email is an account with a non-empty name, in the order of the proofs."""
        first, second = app.get(ACCOUNTS, headers=sign_in(BOB, ALICE)).json["accounts"]
        assert first["id"] != second["id"]
        assert second == {
            "id": second["id"],
            "name": "alice",
            "email": ALICE,
            "login_hints": [ALICE],
            "domain_hints": ["example.com"],
        }
        assert (first["name"], first["email"]) == ("bob", BOB)

    def test_names(self, app, sign_in):
        """The name is the best that the person has written; nothing else is disclosed."""
        headers = sign_in(ALICE)
        known = {"id", "name", "given_name", "email", "login_hints", "domain_hints"}
        for claims, name, given_name in (
            ({"name": "Alice Example", "nickname": "Al"}, "Alice Example", "Al"),
            ({"given_name": "Alice", "family_name": "Example"}, "Alice Example", "Alice"),
            ({"given_name": "Alice", "nickname": "Al"}, "Alice", "Alice"),
            ({"family_name": "Example"}, "Example", None),
            ({"nickname": "Al"}, "Al", "Al"),
            ({"label": "Work", "pronouns": "she/her"}, "alice", None),
        ):
            set_claims(app, headers, **claims)
            [account] = app.get(ACCOUNTS, headers=headers).json["accounts"]
            assert (account["name"], account.get("given_name")) == (name, given_name)
            assert account.keys() <= known

    def test_picture(self, app, sign_in):
        """The browser's account chooser may fetch the picture, and a page may not."""
        headers = sign_in(ALICE)
        upload = headers | {"Content-Type": "image/jpeg"}
        urls = app.put(f"/v1/profiles/{ALICE}/picture", encode(quadrants()), headers=upload).json[
            "picture"
        ]["urls"]
        [account] = app.get(ACCOUNTS, headers=headers).json["accounts"]
        assert account["picture"] == urls["128"]
        answer = app.get(account["picture"], headers=CHOOSER)
        assert answer.content_type == "image/jpeg"
        assert "Sec-Fetch-Dest" in ", ".join(answer.headers.getall("Vary"))
        page = CHOOSER | {"Sec-Fetch-Dest": "image", "Accept": "image/*"}
        assert app.get(account["picture"], headers=page, status=403).json["code"] == "origin_refused"

    def test_protected_profile(self, app, assertion, sign_in):
        """Without the person's own key an account has only its email; with the key, everything."""
        headers, key = sign_in(ALICE), "A" * 43
        set_claims(app, headers, name="Alice Example")
        changed = app.put_json(
            f"/v1/profiles/{ALICE}/profile-key", {"profile_key": key}, headers=headers
        ).json
        [closed] = app.get(ACCOUNTS, headers=sign_in(ALICE)).json["accounts"]
        assert closed["name"] == "alice"
        opened = {"Authorization": f"Bearer {changed['token']}"}
        [account] = app.get(ACCOUNTS, headers=opened).json["accounts"]
        assert (account["name"], account["id"]) == ("Alice Example", closed["id"])

    def test_not_modified(self, app, sign_in):
        """A client that has the response gets 304, until something changes."""
        headers = sign_in(ALICE)
        etag = app.get(ACCOUNTS, headers=headers).headers["ETag"]
        known = headers | {"If-None-Match": etag}
        app.get(ACCOUNTS, headers=known, status=304)
        set_claims(app, headers, name="Alice")
        app.get(ACCOUNTS, headers=known, status=200)

    def test_browser_that_asks_by_itself(self, app, sign_in):
        """A browser's direct call is rejected, with and without a token."""
        for headers in ({}, sign_in(ALICE)):
            answer = app.get(ACCOUNTS, headers=headers | CHOOSER, status=403)
            assert answer.json["code"] == "fedcm_direct_call"
            assert "provider's server calls this address" in answer.json["detail"]


class TestIdentifiers:
    @staticmethod
    def test_last():
        """An identifier survives key rotations until the older index key is destroyed."""
        now, keyring = datetime.now(UTC), Keyring.generate()
        found = KeyWrapper(keyring).account_id(ALICE)
        assert re.fullmatch("[A-Za-z0-9_-]{22}", found)
        for kind in KeyKind:
            keyring = keyring.adding(kind, now)
            assert KeyWrapper(keyring).account_id(ALICE) == found
            keyring = keyring.promoting(kind, now)
            assert KeyWrapper(keyring).account_id(ALICE) == found
        keyring = keyring.destroying(KeyKind.ENCRYPTION, 1, now)
        assert KeyWrapper(keyring).account_id(ALICE) == found
        keyring = keyring.destroying(KeyKind.INDEX, 1, now)
        assert KeyWrapper(keyring).account_id(ALICE) != found

    @staticmethod
    def test_are_as_the_page_on_keys_says():
        """The index key and the documented formula give the same identifier."""
        keyring = Keyring.generate()
        expected = account_id_of(keyring.primary(KeyKind.INDEX).secret, ALICE)
        assert KeyWrapper(keyring).account_id(ALICE) == expected

    @staticmethod
    def test_are_keyed():
        """Another server has other identifiers, and none reveals the partition."""
        one, another = KeyWrapper(Keyring.generate()), KeyWrapper(Keyring.generate())
        assert one.account_id(ALICE) != another.account_id(ALICE)
        assert one.account_id(ALICE) != one.account_id(BOB)
        assert one.account_id(ALICE) not in str(one.partition(ALICE))


def guide():
    """Return the names that the guide's example defines."""
    [example] = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, str(GUIDE), "exec"), names)
    return names


def test_guide(development_folder):
    """The example serves accounts to browsers only, also while the profile server is down."""
    example = guide()
    app = application(development_folder)
    direct = webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"})
    bundle = app.development.identity_provider.bundle(ALICE, "http://localhost")
    token = direct.post_json("/v1/sessions", {"proofs": [{"assertion": bundle}]}).json["token"]
    example["SESSIONS"]["cookie-1"] = token
    provider = webtest.TestApp(example["accounts"])
    browser = CHOOSER | {"Cookie": "other=1; session=cookie-1"}
    with running(app) as origin:
        example["PROFILES"] = origin
        found = provider.get("/accounts", headers=browser)
        assert provider.get("/accounts", headers=browser | {"Sec-Fetch-Dest": "empty"}, status=403)
        provider.get("/accounts", headers=browser | {"Cookie": "session=another"}, status=401)
        provider.get("/accounts", headers=CHOOSER, status=401)
    [account] = found.json["accounts"]
    assert (account["email"], account["approved_clients"]) == (ALICE, [])
    example["APPROVED"][account["id"]] = ["website"]
    down = provider.get("/accounts", headers=browser)
    assert down.json["accounts"] == [account | {"approved_clients": ["website"]}]
    with running(app) as origin:
        example["PROFILES"] = origin
        direct.delete("/v1/sessions", headers={"Authorization": f"Bearer {token}"}, status=204)
        provider.get("/accounts", headers=browser, status=401)
    app.close()
