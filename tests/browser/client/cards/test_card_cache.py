from __future__ import annotations

from support.clients.cards import profile

ALICE, BOB = "alice@example.com", "bob@example.org"


class TestCache:
    def put(self, page, *profiles):
        """Store profiles; return the stored text."""
        return page.run(
            "new CardCache().put(arguments[0]); return localStorage['persona-cards']", profiles
        )

    def test_what_is_kept(self, page, thumbnail):
        """Claims and thumbnails are cached; URLs, entity tags and unknown members are not."""
        picture = {"id": "1", "urls": {"64": "https://secret.example/cap"}, "thumbnail": thumbnail}
        kept = self.put(
            page,
            profile("Alice@Example.com", name="Alice", picture=picture, token="secret"),
            profile(BOB),
        )
        assert "secret" not in kept
        assert page.run("return new CardCache().emails") == ["Alice@Example.com", BOB]
        got = page.run("return new CardCache().get(arguments[0])", ALICE)
        assert (got["name"], got["etag"], got["protected"]) == ("Alice", "", False)
        assert got["picture"] == {"id": "1", "urls": {}, "thumbnail": thumbnail}

    def test_protected_profiles(self, page, thumbnail):
        """Only the email of a protected profile is cached, even if its claims were cached before."""
        picture = {"id": "1", "urls": {}, "thumbnail": thumbnail}
        self.put(page, profile(ALICE, name="Hidden", picture=picture))
        kept = self.put(page, profile(ALICE, name="Hidden", picture=picture, protected=True))
        assert "Hidden" not in kept
        assert "base64" not in kept
        assert page.run(
            "const cache = new CardCache(); return [cache.emails, cache.get(cache.emails[0])]"
        ) == [
            [ALICE],
            None,
        ]

    def test_unreadable_profile(self, page):
        """The cached claims of an unreadable profile stay."""
        self.put(page, profile(ALICE, name="Alice"))
        self.put(page, profile(ALICE, error="profile_unreadable"))
        assert page.run("return new CardCache().get(arguments[0]).name", ALICE) == "Alice"

    def test_limits(self, page):
        """The cache holds 20 emails and about a megabyte; the last thumbnails are dropped first."""
        length = page.run(
            """
            const thumbnail = "data:image/png;base64," + "A".repeat(300000);
            const emails = Array.from({ length: 25 }, (_, number) => `p${number}@example.com`);
            const picture = { id: "1", urls: {}, thumbnail };
            new CardCache().put(emails.map((email) => ({ email, picture })));
            return localStorage["persona-cards"].length;
            """
        )
        assert length <= 1_000_000
        pictures = page.run(
            "const cache = new CardCache();"
            "return cache.emails.map((email) => cache.get(email).picture !== null)"
        )
        assert pictures == [True] * 3 + [False] * 17

    def test_foreign_content(self, page):
        """Malformed content counts as an empty cache."""
        contents = [
            "",
            "{",
            "null",
            "7",
            "[]",
            '{"version":2,"cards":[{"email":"a@example.com"}]}',
            '{"version":1,"cards":7}',
            '{"version":1,"cards":[null,7,{"email":7},{"email":""}]}',
        ]
        found = page.run(
            """
            return arguments[0].map((content) => {
              localStorage["persona-cards"] = content;
              const cache = new CardCache();
              return [cache.emails, cache.get("a@example.com")];
            });
            """,
            contents,
        )
        assert found == [[[], None]] * len(contents)

    def test_foreign_values(self, page):
        """Claims and pictures of wrong types are not returned."""
        page.run(
            "localStorage['persona-cards'] = JSON.stringify({version: 1, cards: [{email: arguments[0],"
            " claims: {name: 7, label: 'Work', token: 'x'}, id: '1', thumbnail: 'https://evil.example/'}]})",
            ALICE,
        )
        got = page.run("return new CardCache().get(arguments[0])", ALICE)
        assert (got["name"], got["label"], got["picture"]) == (None, "Work", None)
        assert "token" not in got

    def test_quota(self, page, thumbnail):
        """Without room thumbnails are dropped, then all profiles; no error is thrown."""
        names = page.run(
            """
            const [profile] = arguments;
            const cache = new CardCache();
            cache.put([profile]);
            const genuine = Storage.prototype.setItem;
            const results = [];
            for (const room of [400, 10]) {
              Storage.prototype.setItem = function (name, value) {
                if (value.length > room) throw new DOMException("full", "QuotaExceededError");
                genuine.call(this, name, value);
              };
              cache.put([{ ...profile, name: `Room ${room}` }]);
              const kept = cache.get(profile.email);
              results.push(kept && [kept.name, kept.picture]);
            }
            Storage.prototype.setItem = genuine;
            return results;
            """,
            profile(ALICE, picture={"id": "1", "urls": {}, "thumbnail": thumbnail}),
        )
        assert names == [["Room 400", None], None]

    def test_storage_that_is_switched_off(self, page):
        """Without storage the cache is empty and silently accepts all calls."""
        page.run(
            "const get = () => { throw new DOMException('no', 'SecurityError'); };"
            "Object.defineProperty(window, 'localStorage', { get });"
        )
        assert page.run(
            "const cache = new CardCache(); cache.put([arguments[0]]); cache.forget();"
            "cache.forget('x'); return [cache.emails, cache.get(arguments[0].email)]",
            profile(ALICE),
        ) == [[], None]

    def test_forgetting(self, page):
        """A single email or all emails can be forgotten."""
        self.put(page, profile(ALICE), profile(BOB))
        assert page.run(
            "const cache = new CardCache(); cache.forget('ALICE@example.com'); return cache.emails"
        ) == [BOB]
        page.run("new CardCache().forget()")
        assert page.run("return localStorage.length") == 0
