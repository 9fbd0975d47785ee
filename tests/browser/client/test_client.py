from __future__ import annotations

import base64
import gzip
import itertools
import json
import subprocess
import threading
from contextlib import closing

import pytest
from support.browsers.abilities import SLOW_NETWORK, in_three_engines
from support.browsers.network import set_network
from support.clients.modules import CLIENT
from support.clients.scripts import ScriptError, Scripts
from support.pictures.pictures import decoded, encode, heic, photo, quadrants
from support.servers.answering import HANG_UP, Reply, answering
from support.servers.applications import application, running
from support.servers.services import Service

ALICE, BOB = "alice@example.com", "bob@example.org"
MODULES = (
    "persona-profile.js",
    "persona-profile-transport.js",
    "persona-profile-pictures.js",
    "persona-profile-reduction.js",
)
KEYS = ["A" * 43, "B" * 42 + "A"]

PROFILE = {
    "email": ALICE, "name": "Alice", "picture": None, "updated_at": None, "version": 1,
    "protected": False, "etag": '"1.0"',
}  # fmt: skip
SESSION = {"token": "t", "expires_at": "2999-01-01T00:00:00.000Z", "profiles": [PROFILE]}
BUSY = {"title": "Service Unavailable", "status": 503, "code": "overloaded", "request_id": "r1"}

# A signed-in client of the answering server `origin`; its plan begins with a session.
ELSEWHERE = """
const client = new module.ProfileClient({ origin, timeout: 3000, ...options });
await client.signIn(["assertion"]);
"""
UPLOAD = """
window.seen = [];
const controller = new AbortController();
const onProgress = (progress) => { seen.push(progress); stop?.(progress, controller); };
const profile = await client.uploadPicture(email, file, {
  onProgress, signal: controller.signal, ...options });
"""


@pytest.fixture
def scripts(engine, browser, server):
    """An empty page of the server's origin."""
    browser.set_script_timeout(60)
    made = Scripts(browser)
    made.open(f"{server}/v1/")
    yield made
    if engine.can(SLOW_NETWORK):
        set_network(made.browser)


@pytest.fixture
def answers():
    """A server of another origin with a plan; the first reply is a session."""
    with answering() as made:
        made.plan = [Reply(201, SESSION)]
        yield made


def rejection(scripts, body, **values):
    """Return the members of the error that a script must throw."""
    with pytest.raises(ScriptError) as caught:
        scripts.run(body, **values)
    assert caught.value.members["name"] == "ProfileError", caught.value
    return caught.value.members


class Gate:
    """Holds an answer back until it is opened."""

    def __init__(self):
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self):
        self.reached.set()
        assert self.opened.wait(30)


class TestPackage:
    def test_size(self):
        """All modules of the client together have less than 14.5 kB compressed."""
        sizes = [len(gzip.compress((CLIENT / name).read_bytes(), 9)) for name in MODULES]
        assert sum(sizes) < 14_500

    def test_contents(self):
        """The npm package has the modules and their types, and nothing of the demo."""
        packed = subprocess.run(
            ["npm", "pack", "--dry-run", "--json", "--offline"],
            cwd=CLIENT,
            capture_output=True,
            check=True,
            timeout=60,
        )
        [package] = json.loads(packed.stdout)
        names = {each["path"] for each in package["files"]}
        ours = {path.name for path in CLIENT.glob("persona-*")}
        assert names == ours | {"LICENSE", "README.md", "package.json"}
        assert names > {*MODULES, "persona-profile.d.ts"}
        assert package["name"] == "persona-profile-client"


class TestSession:
    @in_three_engines
    def test_signing_in(self, scripts):
        """A sign-in opens a session of two emails, returns both profiles, and survives a reload."""
        script = """
            const { origin } = location;
            const client = new module.ProfileClient({ origin, storage: sessionStorage });
            let events = 0;
            client.addEventListener("session", () => { events += 1; });
            const profiles = await client.signIn([await tools.mint(alice), await tools.mint(bob)]);
            return [profiles.map(({ email }) => email), client.session.emails, events];
        """
        assert scripts.run(script, alice=ALICE, bob=BOB) == [[ALICE, BOB], [ALICE, BOB], 1]
        scripts.browser.refresh()
        again = """
            const { origin } = location;
            const client = new module.ProfileClient({ origin, storage: sessionStorage });
            return [client.session.emails, (await client.profiles()).length];
        """
        assert scripts.run(again) == [[ALICE, BOB], 2]

    def test_one_more_email(self, scripts):
        """A further proof adds to the session, or replaces it."""
        script = """
            const client = await tools.signedIn(alice);
            await client.signIn([await tools.mint(bob)]);
            const both = client.session.emails;
            await client.signIn([await tools.mint(bob)], { keep: false });
            return [both, client.session.emails];
        """
        assert scripts.run(script, alice=ALICE, bob=BOB) == [[ALICE, BOB], [BOB]]

    def test_that_was_ended_elsewhere(self, scripts):
        """The next call drops an ended session, also from storage, with an event; sign-in works."""
        script = """
            const client = await tools.signedIn(alice, { storage: sessionStorage });
            const third = await tools.signedIn(alice);
            const headers = { Authorization: `Bearer ${third.session.token}` };
            await fetch("/v1/sessions", { method: "DELETE", headers }); // as on another device
            let events = 0;
            client.addEventListener("session", () => { events += 1; });
            const { code } = await client.profiles().catch((error) => error);
            const left = [client.session, sessionStorage.length, events];
            // The third client has not noticed the end of its session yet.
            const [profile] = await third.signIn([await tools.mint(alice)]);
            return [code, left, profile.email];
        """
        seen = scripts.run(script, alice=ALICE)
        assert seen == ["session_revoked", [None, 0, 1], ALICE]

    def test_that_expires(self, scripts, answers):
        """A session expires on its own without a call; later calls send nothing."""
        script = """
            expiring.expires_at = new Date(Date.now() + 1200).toISOString();
            sessionStorage.setItem(`persona-profile-session ${origin}`, JSON.stringify(expiring));
            const client = new module.ProfileClient({ origin, storage: sessionStorage });
            const before = client.session?.token;
            await new Promise((resolve) => client.addEventListener("session", resolve));
            const { code } = await client.profile("a@b.example").catch((error) => error);
            return [before, client.session, sessionStorage.length, code];
        """
        expiring = {"token": "t", "emails": [ALICE]}
        seen = scripts.run(script, origin=answers.origin, expiring=expiring)
        assert seen == ["t", None, 0, "session_missing"]
        assert not answers.asked

    def test_sign_out_while_signing_in(self, scripts, answers):
        """A sign-out aborts a pending sign-in, with or without an earlier session."""
        script = """
            const client = new module.ProfileClient({ origin, storage: sessionStorage });
            if (before) {
              await client.signIn(["first"]);
            }
            window.opening = client.signIn(["second"]).then(() => "opened", ({ code }) => code);
            window.client = client;
        """
        ending = """
            await client.signOut();
            return [await opening, client.session, sessionStorage.length];
        """
        for before in (False, True):
            gate = Gate()
            answers.plan = [
                *[Reply(201, SESSION)] * before,
                Reply(201, SESSION, before=gate),
                Reply(204),
            ]
            scripts.run(script, origin=answers.origin, before=before)
            assert gate.reached.wait(30)
            assert scripts.run(ending) == ["aborted", None, 0]
            gate.opened.set()
        assert [each.method for each in answers.asked] == ["POST", "POST", "POST", "DELETE"]

    def test_session_that_ends_while_an_address_is_added(self, scripts, answers):
        """A sign-out aborts the retry of a pending sign-in whose session was rejected."""
        revoked = {"code": "session_revoked", "status": 401}
        gate = Gate()

        answers.plan = [
            Reply(201, SESSION),
            Reply(401, revoked, before=gate),
            Reply(204, before=gate.opened.set),
            Reply(201, SESSION),
        ]
        script = """
            window.client = new module.ProfileClient({ origin });
            await client.signIn(["first"]);
            window.adding = client.signIn(["second"]).then(() => "opened", ({ code }) => code);
        """
        scripts.run(script, origin=answers.origin)
        assert gate.reached.wait(30)
        seen = scripts.run("await client.signOut(); return [await adding, client.session];")
        assert seen == ["aborted", None]
        assert [each.method for each in answers.asked] == ["POST", "POST", "DELETE"]

    def test_late_answer_of_an_older_sign_in(self, scripts, answers):
        """Only the latest sign-in opens a session, whatever the order of the answers."""
        gate = Gate()

        bob = {**SESSION, "token": "bob", "profiles": [{**PROFILE, "email": BOB}]}
        answers.plan = [Reply(201, SESSION, before=gate), Reply(201, bob)]
        script = """
            window.client = new module.ProfileClient({ origin });
            window.older = client.signIn(["alice"]).then(() => "opened", ({ code }) => code);
        """
        scripts.run(script, origin=answers.origin)
        assert gate.reached.wait(30)
        scripts.run("await client.signIn(['bob'], { keep: false });")
        gate.opened.set()
        assert scripts.run("return [await older, client.session.token];") == ["aborted", "bob"]

    @pytest.mark.parametrize(
        "work", ["client.profiles()", "client.profile(email)", "client.setProfileKey(email, null)"]
    )
    def test_late_answer_of_another_session(self, scripts, answers, work):
        """A late answer to an earlier session does not affect the next one."""
        gate = Gate()

        bob = {**SESSION, "token": "bob", "profiles": [{**PROFILE, "email": BOB}]}
        late = {**SESSION, "token": "late", "profile": PROFILE, **PROFILE}
        answers.plan = [Reply(201, SESSION), Reply(200, late, before=gate), Reply(201, bob)]
        script = f"""
            window.client = new module.ProfileClient({{ origin }});
            await client.signIn(["alice"]);
            window.asked = {work}.then(() => "answered", ({{ code }}) => code);
        """
        scripts.run(script, origin=answers.origin, email=ALICE)
        assert gate.reached.wait(30)
        scripts.run("await client.signIn(['bob'], { keep: false });")
        gate.opened.set()
        assert scripts.run("return [await asked, client.session.token];") == ["aborted", "bob"]

    def test_list_of_a_session_that_grew(self, scripts, answers):
        """Profiles requested before an email was added are requested again."""
        gate = Gate()

        both = [PROFILE, {**PROFILE, "email": BOB}]
        answers.plan = [
            Reply(201, SESSION),
            Reply(200, {"profiles": [PROFILE]}, before=gate),
            Reply(201, {**SESSION, "token": "both", "profiles": both}),
            Reply(200, {"profiles": both}),
        ]
        script = """
            window.client = new module.ProfileClient({ origin });
            await client.signIn(["alice"]);
            window.asked = client.profiles();
        """
        scripts.run(script, origin=answers.origin)
        assert gate.reached.wait(30)
        scripts.run("await client.signIn(['bob']);")
        gate.opened.set()
        assert scripts.run("return (await asked).map(({ email }) => email);") == [ALICE, BOB]

    @pytest.mark.parametrize("reply", [Reply(204), HANG_UP], ids=["taken", "lost"])
    def test_sign_out_reaches_other_tabs(self, scripts, answers, reply):
        """A sign-out ends sessions of the same emails in every tab, even without a server's answer."""
        answers.plan = [Reply(201, SESSION)] * 2
        answers.plan += [Reply(201, {**SESSION, "profiles": [{**PROFILE, "email": BOB}]}), reply]
        script = """
            const [here, there, bobs] = [1, 2, 3].map(() => new module.ProfileClient({ origin }));
            for (const client of [here, there, bobs]) {
              await client.signIn(["proof"]);
            }
            const ended = new Promise((resolve) => there.addEventListener("session", resolve));
            await here.signOut().catch(() => {});
            await ended;
            return [here.session, there.session, bobs.session.emails];
        """
        assert scripts.run(script, origin=answers.origin) == [None, None, [BOB]]

    def test_storage_that_throws(self, scripts):
        """A browser without storage causes no error."""
        script = """
            const fail = () => { throw new DOMException("no", "SecurityError"); };
            const storage = { getItem: fail, setItem: fail, removeItem: fail };
            const client = await tools.signedIn(alice, { storage });
            const { emails } = client.session;
            await client.signOut();
            return [emails, client.session];
        """
        assert scripts.run(script, alice=ALICE) == [[ALICE], None]

    def test_profile_key(self, scripts):
        """Two profiles get a key one after the other, then another; without it both stay closed."""
        script = """
            const client = new module.ProfileClient({ origin: location.origin });
            const assertions = () => Promise.all([alice, bob].map((email) => tools.mint(email)));
            await client.signIn(await assertions(), { profileKey: keys[0] });
            for (const key of keys) {
              for (const email of [alice, bob]) {
                const { protected: isProtected } = await client.setProfileKey(email, key);
                if (!isProtected) throw new Error("not protected");
              }
            }
            const opened = (await client.profiles()).map(({ error }) => error ?? null);
            const other = new module.ProfileClient({ origin: location.origin });
            const closed = await other.signIn(await assertions());
            const { code } = await other.update(alice, { name: "x" }).catch((error) => error);
            return [opened, closed.map(({ error }) => error), code];
        """
        seen = scripts.run(script, alice=ALICE, bob=BOB, keys=KEYS)
        assert seen == [[None, None], ["profile_key_required"] * 2, "profile_key_required"]

    def test_several_profile_keys(self, scripts):
        """A profile gets a second key, opens with it, and loses the first one; the last one stays."""
        script = """
            const origin = location.origin;
            const sessionWith = async (profileKey) => {
              const client = new module.ProfileClient({ origin });
              const [profile] = await client.signIn([await tools.mint(carol)], { profileKey });
              return { client, profile };
            };
            const code = (call) => call.then(() => null, (error) => error.code);
            const { client } = await sessionWith(keys[0]);
            const rejected = await code(client.addProfileKey(carol, keys[1]));
            const before = [await client.profileKeys(carol), rejected];
            await client.setProfileKey(carol, keys[0]);
            const added = await client.addProfileKey(carol, keys[1]);
            const again = await client.addProfileKey(carol, keys[1]);
            const { client: second, profile } = await sessionWith(keys[1]);
            const [first, own] = await second.profileKeys(carol);
            await second.removeProfileKey(carol, first.id);
            return [
              before, added, again, [first.current, own], profile.error ?? null,
              (await second.profileKeys(carol)).map(({ id }) => id),
              await code(second.removeProfileKey(carol, first.id)),
              await code(second.removeProfileKey(carol, own.id)),
              await code(client.profile(carol)),
            ];
        """
        before, added, again, [is_first_current, own], *rest = scripts.run(
            script, carol="carol@example.net", keys=KEYS
        )
        assert before == [[], "profile_not_protected"]
        assert added == again == own | {"current": False}
        assert (is_first_current, own["current"]) == (False, True)
        ended = ["not_found", "last_profile_key", "profile_key_wrong"]
        assert rest == [None, [added["id"]], *ended]


class TestProfiles:
    def test_life_of_one(self, scripts):
        """A profile is edited, gets a picture, is exported, loses the picture, and is erased."""
        script = """
            const client = await tools.signedIn(email);
            const named = await client.update(email, { name: " Alice ", label: "Work" });
            const image = new Blob([Uint8Array.from(atob(picture), (each) => each.charCodeAt(0))]);
            const pictured = await client.uploadPicture(email, image);
            const [{ picture: { thumbnail } }] = await client.profiles();
            const read = await client.profile(email);
            const zip = new Uint8Array(await (await client.export(email)).arrayBuffer());
            const bare = await client.removePicture(email);
            await client.remove(email);
            const { name, version } = await client.profile(email);
            const { name: service } = await client.service();
            return {
              named: [named.name, named.label, named.nickname],
              sizes: Object.keys(pictured.picture.urls),
              thumbnails: [thumbnail.slice(0, 16), read.picture.thumbnail === thumbnail],
              zip: String.fromCharCode(...zip.slice(0, 2)),
              bare: bare.picture,
              erased: [name, version],
              service,
            };
        """
        seen = scripts.run(script, email=ALICE, picture=_base64(encode(quadrants())))
        assert seen["named"] == ["Alice", "Work", None]
        assert seen["sizes"] == ["64", "128", "256", "512"]
        assert seen["thumbnails"] == ["data:image/webp;", True]
        assert seen["zip"] == "PK"
        assert seen["bare"] is None
        assert seen["erased"] == [None, 0]
        assert seen["service"]

    def test_claim_that_is_refused(self, scripts):
        """The error names the invalid member and the reason."""
        script = "await (await tools.signedIn(email)).update(email, { name: 'x'.repeat(101) })"
        error = rejection(scripts, script, email=ALICE)
        assert (error["code"], error["status"], error["isTemporary"]) == (
            "validation_failed",
            400,
            False,
        )
        assert [each["name"] for each in error["errors"]] == ["name"]
        assert error["requestId"]

    def test_of_somebody_else(self, scripts):
        """The error has the server's own code."""
        script = "await (await tools.signedIn(alice)).profile(bob)"
        assert rejection(scripts, script, alice=ALICE, bob=BOB)["code"] == "email_not_proved"

    def test_from_a_page_of_another_origin(self, scripts, answers, development_folder):
        """A configured origin may make all calls; other origins can read no answer."""
        scripts.open(answers.origin)
        with running(
            application(
                development_folder, public_origins="http://localhost:1", dialog_origins=answers.origin
            )
        ) as api:
            script = "return (await new module.ProfileClient({ origin: api }).service()).name"
            assert scripts.run(script, api=api)
        with running(application(development_folder)) as api:
            assert rejection(scripts, script, api=api)["code"] == "no_answer"


class TestTwoWriters:
    BOTH = "const [here, there] = [await tools.signedIn(email), await tools.signedIn(email)];"

    def test_of_different_claims(self, scripts):
        """Changes of different claims merge, even from stale states."""
        script = """
            const { etag } = await here.profile(email); // as a form was opened
            await there.update(email, { label: "Work" });
            await there.update(email, { nickname: "Al" });
            await here.profile(email);
            const made = await here.update(email, { name: "Alice" }, { etag });
            return [made.name, made.label, made.nickname];
        """
        assert scripts.run(self.BOTH + script, email=ALICE) == ["Alice", "Work", "Al"]

    def test_of_the_same_claim(self, scripts):
        """The later writer gets the current profile with the conflict, and may overwrite it."""
        script = """
            await there.update(email, { name: "There", label: "Work" });
            const error = await here.update(email, { name: "Here" }).catch((error) => error);
            const agreed = await there.update(email, { name: "There " });
            const insisted = await here.update(email, { name: "Here" }, { etag: null });
            const { code, status, current } = error;
            return [code, status, current.name, agreed.name, insisted.name, insisted.label];
        """
        seen = scripts.run(self.BOTH + script, email=ALICE)
        assert seen == ["precondition_failed", 412, "There", "There", "Here", "Work"]

    def test_that_never_end(self, scripts, answers):
        """After some rounds the caller gets the conflict."""
        conflict = {"code": "precondition_failed", "status": 412}
        rounds = [Reply(412, conflict), Reply(200, PROFILE)] * 20
        answers.plan = [Reply(201, SESSION), *rounds]
        script = ELSEWHERE + "await client.update(email, { label: 'x' })"
        error = rejection(scripts, script, origin=answers.origin, email=ALICE, options={})
        assert error["current"]["name"] == "Alice"
        assert len(answers.asked) < 12

    def test_answer_that_was_lost(self, scripts, answers):
        """A retry after a lost answer is no conflict with its own change."""
        changed = {**PROFILE, "name": "Ann", "etag": '"2.0"'}
        conflict = {"code": "precondition_failed", "status": 412}
        answers.plan = [
            Reply(201, SESSION), HANG_UP, Reply(412, conflict), Reply(200, changed), Reply(200, changed)
        ]  # fmt: skip
        script = ELSEWHERE + "return (await client.update(email, { name: 'Ann' })).name"
        assert scripts.run(script, origin=answers.origin, email=ALICE, options={}) == "Ann"
        matches = [each.headers["If-Match"] for each in answers.asked if each.method == "PATCH"]
        assert matches == ['"1.0"', '"1.0"', '"2.0"']


PICTURE = {"id": "p", "urls": {}}
BLANK = PROFILE | {"name": None, "version": 0, "etag": '"0.0"'}
OFFER = BLANK | {"suggestions": {"claims": {"name": "Alice"}, "picture": "ref"}}
CHANGED = Reply(412, {"code": "precondition_failed", "status": 412})
UNREACHABLE = Reply(422, {"code": "picture_unreachable", "status": 422})


class TestSuggestions:
    TAKE = """
        const client = new module.ProfileClient({ origin, timeout: 3000 });
        const [offered] = await client.signIn(["assertion"]);
        const taken = await client.takeSuggestions(offered);
        return [taken.name, taken.picture?.id ?? null];
    """

    def take(self, scripts, answers, *plan, offer=OFFER):
        """Take an offer of a server with a plan; return the name and the picture, or the error."""
        answers.plan = [Reply(201, SESSION | {"profiles": [offer]}), *plan]
        return scripts.run(self.TAKE, origin=answers.origin)

    def test_both(self, scripts, answers):
        """Claims go first, then the picture, each to the state before it."""
        named = Reply(200, PROFILE)
        whole = Reply(200, PROFILE | {"picture": PICTURE, "etag": '"2.0"'})
        assert self.take(scripts, answers, named, whole) == ["Alice", "p"]
        _, claims, picture = answers.asked
        assert (claims.method, json.loads(claims.body)) == ("PATCH", {"name": "Alice"})
        assert (picture.method, json.loads(picture.body)) == ("PUT", {"suggestion": "ref"})
        assert picture.path.endswith("/picture")
        assert picture.headers["Content-Type"] == "application/json"
        assert [each.headers["If-Match"] for each in (claims, picture)] == ['"0.0"', '"1.0"']

    @pytest.mark.parametrize(
        ("suggestions", "paths"),
        [({"picture": "ref"}, ["/picture"]), ({"claims": {"name": "A"}}, [""])],
    )
    def test_one_of_both(self, scripts, answers, suggestions, paths):
        """Without claims or without a picture there is one call."""
        offer = BLANK | {"suggestions": suggestions}
        self.take(scripts, answers, Reply(200, PROFILE | {"picture": PICTURE}), offer=offer)
        assert [each.path.partition("alice%40example.com")[2] for each in answers.asked[1:]] == paths
        assert answers.asked[1].headers["If-Match"] == '"0.0"'

    def test_picture_that_fails(self, scripts, answers):
        """The claims stay, and the error has the profile."""
        with pytest.raises(ScriptError) as caught:
            self.take(scripts, answers, Reply(200, PROFILE), UNREACHABLE)
        assert caught.value.code == "picture_unreachable"
        assert caught.value.members["current"]["name"] == "Alice"
        assert not caught.value.members["isTemporary"]

    def test_answer_that_was_lost(self, scripts, answers):
        """A retry after a lost answer is no conflict with the picture that it has taken."""
        whole = Reply(200, PROFILE | {"picture": PICTURE, "etag": '"2.0"'})
        plan = (Reply(200, PROFILE), HANG_UP, CHANGED, whole)
        assert self.take(scripts, answers, *plan) == ["Alice", "p"]

    def test_changed_meanwhile(self, scripts, answers):
        """A profile that was changed meanwhile keeps its changes."""
        other = Reply(200, PROFILE | {"name": "Other", "etag": '"3.0"'})
        for plan in ((CHANGED, other), (Reply(200, PROFILE), CHANGED, other)):
            with pytest.raises(ScriptError) as caught:
                self.take(scripts, answers, *plan)
            assert caught.value.code == "precondition_failed"
            assert caught.value.members["current"]["name"] == "Other"

    def test_wrong_shape(self, scripts, answers):
        """An answer with other suggestions is none of this API."""
        offer = BLANK | {"suggestions": {"claims": {"name": 5}}}
        with pytest.raises(ScriptError) as caught:
            self.take(scripts, answers, Reply(200, PROFILE), offer=offer)
        assert caught.value.code == "answer_invalid"


class TestServerInTrouble:
    def call(self, scripts, answers, **options):
        script = ELSEWHERE + "return (await client.profile(email)).name"
        return scripts.run(script, origin=answers.origin, email=ALICE, options=options)

    def test_busy(self, scripts, answers):
        """A rejection with Retry-After is retried after that time, with jitter."""
        answers.plan = [
            Reply(201, SESSION), Reply(503, BUSY, {"Retry-After": "1"}),
            Reply(429, "busy", {"Retry-After": "0"}), Reply(200, PROFILE),
        ]  # fmt: skip
        assert self.call(scripts, answers) == "Alice"
        times = [each.at for each in answers.asked]
        assert times[2] - times[1] >= 1
        assert times[3] - times[2] >= 0.2

    def test_busy_for_long(self, scripts, answers):
        """A Retry-After beyond the call's timeout is an error at once."""
        answers.plan += [Reply(503, BUSY, {"Retry-After": "600"})]
        error = rejection_of(self.call, scripts, answers)
        assert (error["code"], error["retryAfter"], error["isTemporary"]) == ("overloaded", 600, True)
        assert error["requestId"] == "r1"
        assert len(answers.asked) == 2

    def test_assertion_is_sent_again(self, scripts, answers):
        """A sign-in is retried too; a replay shows that the first attempt had succeeded."""
        replayed = {"code": "proof_replayed", "status": 401}
        answers.plan = [Reply(503, BUSY, {"Retry-After": "0"}), HANG_UP, Reply(401, replayed)]
        assert rejection_of(self.call, scripts, answers)["code"] == "proof_replayed"
        assert len(answers.asked) == 3

    def test_connection_that_breaks(self, scripts, answers):
        """A broken connection is retried once, and then is an error."""
        answers.plan = [Reply(201, SESSION), HANG_UP, Reply(200, PROFILE)]
        assert self.call(scripts, answers) == "Alice"
        answers.plan = [Reply(201, SESSION), HANG_UP]
        error = rejection_of(self.call, scripts, answers)
        assert (error["code"], error["status"], error["isTemporary"]) == ("no_answer", None, True)

    def test_profile_key_is_sent_once(self, scripts, answers):
        """A profile key is sent once, because after a lost answer the current key is unknown."""
        answers.plan += [HANG_UP]
        script = ELSEWHERE + "await client.setProfileKey(email, key)"
        error = rejection(scripts, script, origin=answers.origin, email=ALICE, key=KEYS[0], options={})
        assert error["code"] == "no_answer"
        assert len(answers.asked) == 2

    def test_slow(self, scripts, answers):
        """A timeout and an abort are different errors."""
        goes_on = threading.Event()
        answers.plan += [Reply(200, PROFILE, before=lambda: goes_on.wait(30))]
        error = rejection_of(self.call, scripts, answers, timeout=500)
        assert (error["code"], error["isTemporary"]) == ("timeout", True)
        answers.plan = [Reply(201, SESSION), *answers.plan]
        script = """
            const controller = new AbortController();
            setTimeout(() => controller.abort(), 300);
            await client.profile(email, { signal: controller.signal });
        """
        values = {"origin": answers.origin, "email": ALICE, "options": {}}
        assert rejection(scripts, ELSEWHERE + script, **values)["code"] == "aborted"
        goes_on.set()

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(200, "<p>Sign in to the café's network</p>"),
            Reply(200, {}),
            Reply(200, None),
            Reply(200, {**PROFILE, "name": 5}),
            Reply(200, {**PROFILE, "picture": {"id": "x", "urls": [5]}}),
            Reply(502, "<p>Bad Gateway</p>"),
        ],
        ids=["page", "nothing", "null", "claim", "picture", "gateway"],
    )
    def test_answer_of_something_else(self, scripts, answers, reply):
        """An answer that is not the API's is an error, never a profile."""
        answers.plan += [reply]
        error = rejection_of(self.call, scripts, answers)
        assert (error["code"], error["status"]) == ("answer_invalid", reply.status)

    def test_offline(self, scripts):
        """Calls fail soon while the browser is offline, and work again online."""
        script = """
            window.client ??= await tools.signedIn(email, { timeout: 2 ** 31 - 1 });
            const { code, isTemporary } = await client.profiles().catch((error) => error);
            return [code ?? null, isTemporary ?? null];
        """
        assert scripts.run(script, email=ALICE) == [None, None]
        set_network(scripts.browser, offline=True)
        assert scripts.run(script, email=ALICE) == ["offline", True]
        set_network(scripts.browser)
        assert scripts.run(script, email=ALICE)[0] is None

    def test_killed_and_back(self, scripts, tmp_path):
        """A killed server gives no answer; once it is back, the session continues."""
        with closing(Service(tmp_path)) as service:
            service.start()
            scripts.open(f"{service.origin}/v1/")
            scripts.run("window.client = await tools.signedIn(email)", email=ALICE)
            service.kill()
            script = "return (await client.update(email, { name: 'Alice' })).name"
            assert rejection(scripts, script, email=ALICE)["code"] == "no_answer"
            service.start()
            assert scripts.run(script, email=ALICE) == "Alice"


class TestUpload:
    SERVER = "const client = await tools.signedIn(email, { timeout: 20000 });"

    def upload(self, scripts, client, source, stop="null", **values):
        """Upload; return the profile and the reported progress, or raise ScriptError."""
        script = (
            f"{client} const file = {source}; const stop = {stop}; {UPLOAD} return [profile, seen];"
        )
        return scripts.run(script, email=ALICE, **{"options": {}, **values})

    def test_progress(self, scripts, tmp_path):
        """Progress reports the sent bytes in order, then the server's work."""
        (tmp_path / "photo.jpg").write_bytes(photo())
        scripts.choose(tmp_path / "photo.jpg")
        set_network(scripts.browser, upload=200_000)
        profile, seen = self.upload(scripts, self.SERVER, "tools.file()")
        assert profile["picture"]["urls"]["512"]
        phases = [phase for phase, _ in itertools.groupby(each["phase"] for each in seen)]
        assert phases == ["reducing", "uploading", "processing"]
        sent = [each["sent"] for each in seen]
        total = seen[-1]["total"]
        assert sent == sorted(sent)
        assert sent[-1] == total < 300_000
        assert any(0 < each < total for each in sent)

    def test_ended_in_each_phase(self, scripts, answers, tmp_path):
        """An abort ends the upload in each phase: reduction, transfer, and the server's work."""
        (tmp_path / "photo.jpg").write_bytes(photo())
        scripts.choose(tmp_path / "photo.jpg")
        goes_on = threading.Event()
        for phase in ("reducing", "uploading", "processing"):
            slow = Reply(200, PROFILE, before=lambda: goes_on.wait(30))
            answers.plan = [Reply(201, SESSION), slow]
            answers.asked.clear()
            set_network(scripts.browser, upload=300_000 if phase == "uploading" else -1)
            stop = f"""({{ phase, sent }}, controller) => {{
                if (phase === "{phase}" && (sent || phase === "reducing")) {{ controller.abort(); }}
            }}"""
            values = {"origin": answers.origin, "options": {"reduce": phase == "reducing"}}
            client = ELSEWHERE.replace("...options", "timeout: 20000")
            with pytest.raises(ScriptError) as caught:
                self.upload(scripts, client, "tools.file()", stop, **values)
            assert caught.value.code == "aborted"
            assert scripts.run("return seen.at(-1).phase") == phase
            assert len(answers.asked) == (2 if phase == "processing" else 1)
        goes_on.set()

    def test_line_that_stalls(self, scripts, answers):
        """A stalled transfer times out."""
        goes_on = threading.Event()
        stalled = Reply(200, PROFILE, before=lambda: goes_on.wait(30), reads_body=False)
        answers.plan += [stalled]
        source = "new Blob([new Uint8Array(16_000_000)], { type: 'image/jpeg' })"
        options = {"reduce": False, "timeout": 400, "stallAfter": 700}
        values = {"origin": answers.origin, "options": options}
        with pytest.raises(ScriptError) as caught:
            self.upload(scripts, ELSEWHERE, source, **values)
        goes_on.set()
        assert (caught.value.code, caught.value.members["isTemporary"]) == ("timeout", True)
        last = scripts.run("return seen.at(-1)")
        assert (last["phase"], last["stalled"]) == ("uploading", True)
        assert last["sent"] < last["total"]

    def test_line_that_goes_on(self, scripts, answers):
        """A transfer that has stalled for a while goes on, and reports both."""
        pause = threading.Timer(2, lambda: None)
        pause.start()
        slow = Reply(200, PROFILE, before=pause.join, reads_last=True)
        answers.plan += [slow]
        source = "new Blob([new Uint8Array(16_000_000)], { type: 'image/jpeg' })"
        options = {"reduce": False, "timeout": 1000, "stallAfter": 500}
        _, seen = self.upload(scripts, ELSEWHERE, source, origin=answers.origin, options=options)
        stalled = [at for at, each in enumerate(seen) if each.get("stalled")]
        assert stalled
        assert {"phase": "processing", "sent": 16_000_000, "total": 16_000_000} in seen[stalled[0] :]
        sent = [each["sent"] for each in seen]
        assert sent == sorted(sent)
        assert len(answers.asked) == 2

    def test_server_that_takes_its_time(self, scripts, answers):
        """While the server works for long, progress reports that no byte moves."""
        gate = Gate()
        answers.plan += [Reply(200, PROFILE, before=gate)]
        threading.Timer(2, gate.opened.set).start()
        source = "new Blob([new Uint8Array(1000)], { type: 'image/jpeg' })"
        options = {"reduce": False, "stallAfter": 500}
        _, seen = self.upload(scripts, ELSEWHERE, source, origin=answers.origin, options=options)
        assert {"phase": "processing", "sent": 1000, "total": 1000, "stalled": True} in seen

    def test_busy_server(self, scripts, answers):
        """A busy server gets the whole upload again."""
        pictured = {**PROFILE, "picture": {"id": "p", "urls": {"64": "https://x.example/"}}}
        answers.plan += [Reply(503, BUSY, {"Retry-After": "1"}), Reply(200, pictured)]
        source = "new Blob([new Uint8Array(1000)], { type: 'text/plain' })"
        crop = {"left": 0.4, "top": 7, "side": 99.7, "of": {"width": 300, "height": 200}}
        values = {"origin": answers.origin, "options": {"crop": crop}}
        profile, seen = self.upload(scripts, ELSEWHERE, source, **values)
        assert profile["picture"]["id"] == "p"
        assert seen[-1] == {"phase": "processing", "sent": 1000, "total": 1000}
        [first, second] = answers.asked[1:]
        assert first.path == second.path
        assert first.path == "/v1/profiles/alice%40example.com/picture?crop=0,7,99&of=300x200"
        assert first.body == second.body == bytes(1000)
        assert first.headers["Content-Type"] == "application/octet-stream"

    def test_file_that_is_gone(self, scripts, tmp_path):
        """A deleted file has an error of its own."""
        path = tmp_path / "photo.jpg"
        path.write_bytes(photo(800, 600))
        scripts.choose(path)
        path.unlink()
        for options in ({}, {"reduce": False}):
            with pytest.raises(ScriptError) as caught:
                self.upload(scripts, self.SERVER, "tools.file()", options=options)
            assert caught.value.code == "file_unreadable"

    def test_file_over_the_limit(self, scripts, tmp_path):
        """The limit applies to sent bytes: a larger file is accepted if it can be reduced."""
        data = encode(decoded(photo()).resize((3000, 2400)), "PNG", compress_level=0)
        (tmp_path / "large.png").write_bytes(data)
        scripts.choose(tmp_path / "large.png")
        profile, seen = self.upload(scripts, self.SERVER, "tools.file()")
        assert profile["picture"]
        assert seen[-1]["total"] < 300_000
        with pytest.raises(ScriptError) as caught:
            self.upload(scripts, self.SERVER, "tools.file()", options={"reduce": False})
        assert caught.value.code == "body_too_large"
        assert caught.value.members["limit"] == 20 * 1024 * 1024 < len(data)

    def test_what_the_server_refuses(self, scripts, tmp_path):
        """Broken files, other files and crops outside have the server's own codes and details."""
        whole = photo(1600, 1200)
        other = {"left": 0, "top": 0, "side": 99, "of": {"width": 300, "height": 200}}
        for name, data, crop, code in (
            ("cut.jpg", whole[: len(whole) // 2], None, "picture_broken"),
            ("text.jpg", b"text " * 20_000, None, "unsupported_media_type"),
            ("whole.jpg", whole, other, "crop_of_other_picture"),
            ("whole.jpg", whole, {"left": 900, "top": 0, "side": 1200}, "crop_outside_picture"),
        ):
            (tmp_path / name).write_bytes(data)
            scripts.choose(tmp_path / name)
            with pytest.raises(ScriptError) as caught:
                self.upload(scripts, self.SERVER, "tools.file()", options={"crop": crop})
            assert caught.value.code == code
        assert caught.value.members["details"] == {"width": 1600, "height": 1200}


class TestPreview:
    LOOK = """
    window.seen = [];
    const blob = await client.previewPicture(email, file, {
      onProgress: (progress) => seen.push(progress), ...options });
    """

    def look(self, scripts, client, source, more="return seen;", **values):
        """Request a preview; return the result of a script with `blob`, or raise ScriptError."""
        script = f"{client} const file = {source}; {self.LOOK} {more}"
        return scripts.run(script, email=ALICE, **{"options": {}, **values})

    def test_picture_that_the_browser_cannot_decode(self, scripts, tmp_path):
        """The whole picture comes back as an image that the browser shows; nothing is stored."""
        data = heic(quadrants(1500, 1000), quality=95)
        (tmp_path / "phone.heic").write_bytes(data)
        scripts.choose(tmp_path / "phone.heic")
        more = """
            const failure = await createImageBitmap(file).catch(({ name }) => name);
            const { width, height } = await createImageBitmap(blob);
            const { picture } = await client.profile(email);
            return [failure, blob.type, width, height, picture, seen];
        """
        client = "const client = await tools.signedIn(email, { timeout: 20000 });"
        *found, seen = self.look(scripts, client, "tools.file()", more)
        assert found == ["InvalidStateError", "image/jpeg", 1024, 683, None]
        assert [phase for phase, _ in itertools.groupby(each["phase"] for each in seen)] == [
            "uploading", "processing"
        ]  # fmt: skip
        assert seen[-1]["sent"] == seen[-1]["total"] == len(data)

    @pytest.mark.parametrize(
        ("data", "code"),
        [(b"text " * 100, "unsupported_media_type"), (heic(quadrants())[:300], "picture_broken")],
    )
    def test_file_that_nobody_can_decode(self, scripts, tmp_path, data, code):
        """A file that the server can't decode has the server's own code."""
        (tmp_path / "phone.heic").write_bytes(data)
        scripts.choose(tmp_path / "phone.heic")
        client = "const client = await tools.signedIn(email);"
        with pytest.raises(ScriptError) as caught:
            self.look(scripts, client, "tools.file()")
        assert caught.value.code == code

    def test_busy_server(self, scripts, answers):
        """A busy server gets the file again; an answer that is no image is an error."""
        answers.plan += [Reply(503, BUSY, {"Retry-After": "1"}), Reply(200, PROFILE)]
        source = "new Blob([new Uint8Array(1000)])"
        with pytest.raises(ScriptError) as caught:
            self.look(scripts, ELSEWHERE, source, origin=answers.origin)
        assert caught.value.code == "answer_invalid"
        [first, second] = answers.asked[1:]
        path = "/v1/profiles/alice%40example.com/picture/preview"
        for each in (first, second):
            assert (each.method, each.path, each.body) == ("POST", path, bytes(1000))
            assert each.headers["Content-Type"] == "application/octet-stream"

    def test_ended(self, scripts, answers):
        """A sign-out ends a preview that is under way."""
        gate = Gate()
        answers.plan += [Reply(200, PROFILE, before=gate)]
        script = f"""{ELSEWHERE}
            const file = new Blob([new Uint8Array(1000)]);
            const failed = client.previewPicture(email, file).catch(({{ code }}) => code);
            await new Promise((resolve) => setTimeout(resolve, 500));
            client.signOut().catch(() => null);
            return failed;
        """
        code = scripts.run(script, origin=answers.origin, email=ALICE, options={})
        gate.opened.set()
        assert code == "aborted"


def rejection_of(call, *arguments, **options):
    """Return the members of the error that a call must throw."""
    with pytest.raises(ScriptError) as caught:
        call(*arguments, **options)
    return caught.value.members


def _base64(data):
    return base64.b64encode(data).decode()
