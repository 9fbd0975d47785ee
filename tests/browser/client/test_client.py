from __future__ import annotations

import base64
import gzip
import itertools
import json
import subprocess
import threading

import pytest
from support.answering import HANG_UP, Reply, answering
from support.applications import application, running
from support.modules import CLIENT
from support.pictures import decoded, encode, photo, quadrants
from support.scripts import ScriptError, Scripts
from support.services import Service

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

# A client of the answering server `origin`, signed in; its plan begins with a session.
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
def scripts(browser, server):
    """A page of the server's origin with nothing on it."""
    browser.set_script_timeout(60)
    made = Scripts(browser)
    made.open(f"{server}/v1/")
    yield made
    made.set_network()


@pytest.fixture
def answers():
    """Another origin, which answers as it is told; first with a session."""
    with answering() as made:
        made.plan = [Reply(201, SESSION)]
        yield made


def refused(scripts, body, **values):
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
        """The client, all its modules together, has less than 12 kB when compressed."""
        sizes = [len(gzip.compress((CLIENT / name).read_bytes(), 9)) for name in MODULES]
        assert sum(sizes) < 12_000

    def test_contents(self):
        """What npm would publish is the modules and their types, and nothing of the demo."""
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
        assert names == ours | {"README.md", "package.json"}
        assert names > {*MODULES, "persona-profile.d.ts"}
        assert package["name"] == "persona-profile-client"


class TestSession:
    def test_signing_in(self, scripts):
        """One call opens a session of two emails, brings both profiles, and outlives a reload."""
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
        """A second proof adds to the session, or replaces it."""
        script = """
            const client = await tools.signedIn(alice);
            await client.signIn([await tools.mint(bob)]);
            const both = client.session.emails;
            await client.signIn([await tools.mint(bob)], { keep: false });
            return [both, client.session.emails];
        """
        assert scripts.run(script, alice=ALICE, bob=BOB) == [[ALICE, BOB], [BOB]]

    def test_that_was_ended_elsewhere(self, scripts):
        """The next call forgets it, also in the storage, and tells; signing in again works at once."""
        script = """
            const client = await tools.signedIn(alice, { storage: sessionStorage });
            const third = await tools.signedIn(alice);
            const headers = { Authorization: `Bearer ${third.session.token}` };
            await fetch("/v1/sessions", { method: "DELETE", headers }); // as on another device
            let told = 0;
            client.addEventListener("session", () => { told += 1; });
            const { code } = await client.profiles().catch((error) => error);
            const left = [client.session, sessionStorage.length, told];
            // This one has not noticed yet that its session is over.
            const [profile] = await third.signIn([await tools.mint(alice)]);
            return [code, left, profile.email];
        """
        told = scripts.run(script, alice=ALICE)
        assert told == ["session_revoked", [None, 0, 1], ALICE]

    def test_that_expires(self, scripts, answers):
        """It is over when its time is, without a call; nothing is sent without one."""
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
        told = scripts.run(script, origin=answers.origin, expiring=expiring)
        assert told == ["t", None, 0, "session_missing"]
        assert not answers.asked

    def test_sign_out_while_signing_in(self, scripts, answers):
        """A sign-in under way ends with the sign-out, with or without a session before."""
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
        """The server refuses the session that was to be kept: a sign-out must not open one anew."""
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
        told = scripts.run("await client.signOut(); return [await adding, client.session];")
        assert told == ["aborted", None]
        assert [each.method for each in answers.asked] == ["POST", "POST", "DELETE"]

    def test_late_answer_of_an_older_sign_in(self, scripts, answers):
        """The newest sign-in alone opens a session, in whatever order the answers come."""
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
        """What was asked in one person's session changes nothing of the next one's."""
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
        """Profiles that were asked for before an address was added are asked for again."""
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
        """Sessions of these emails end in every tab, whether or not the server has answered."""
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
        """A browser that keeps nothing is no error."""
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
        """Two profiles get a key, each in its turn, then another; without it both stay closed."""
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
        told = scripts.run(script, alice=ALICE, bob=BOB, keys=KEYS)
        assert told == [[None, None], ["profile_key_required"] * 2, "profile_key_required"]


class TestProfiles:
    def test_life_of_one(self, scripts):
        """It is changed, has a picture with a thumbnail, is taken away, loses that, is erased."""
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
        told = scripts.run(script, email=ALICE, picture=_base64(encode(quadrants())))
        assert told["named"] == ["Alice", "Work", None]
        assert told["sizes"] == ["64", "128", "256", "512"]
        assert told["thumbnails"] == ["data:image/webp;", True]
        assert told["zip"] == "PK"
        assert told["bare"] is None
        assert told["erased"] == [None, 0]
        assert told["service"]

    def test_claim_that_is_refused(self, scripts):
        """The error says what is wrong with which member."""
        script = "await (await tools.signedIn(email)).update(email, { name: 'x'.repeat(101) })"
        told = refused(scripts, script, email=ALICE)
        assert (told["code"], told["status"], told["isTemporary"]) == ("validation_failed", 400, False)
        assert [each["name"] for each in told["errors"]] == ["name"]
        assert told["requestId"]

    def test_of_somebody_else(self, scripts):
        """The server's own code comes through."""
        script = "await (await tools.signedIn(alice)).profile(bob)"
        assert refused(scripts, script, alice=ALICE, bob=BOB)["code"] == "email_not_proved"

    def test_from_a_page_of_another_origin(self, scripts, answers, development_folder):
        """All works from a configured origin; from others there is no answer that could be read."""
        scripts.open(answers.origin)
        with running(
            application(
                development_folder, public_origins="http://localhost:1", dialog_origins=answers.origin
            )
        ) as api:
            script = "return (await new module.ProfileClient({ origin: api }).service()).name"
            assert scripts.run(script, api=api)
        with running(application(development_folder)) as api:
            assert refused(scripts, script, api=api)["code"] == "no_answer"


class TestTwoWriters:
    BOTH = "const [here, there] = [await tools.signedIn(email), await tools.signedIn(email)];"

    def test_of_different_claims(self, scripts):
        """Both changes stay, though each was made from a state without the other."""
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
        """The later one is told what the other left, and may insist."""
        script = """
            await there.update(email, { name: "There", label: "Work" });
            const error = await here.update(email, { name: "Here" }).catch((error) => error);
            const agreed = await there.update(email, { name: "There " });
            const insisted = await here.update(email, { name: "Here" }, { etag: null });
            const { code, status, current } = error;
            return [code, status, current.name, agreed.name, insisted.name, insisted.label];
        """
        told = scripts.run(self.BOTH + script, email=ALICE)
        assert told == ["precondition_failed", 412, "There", "There", "Here", "Work"]

    def test_that_never_end(self, scripts, answers):
        """After some rounds the conflict is the caller's."""
        conflict = {"code": "precondition_failed", "status": 412}
        rounds = [Reply(412, conflict), Reply(200, PROFILE)] * 20
        answers.plan = [Reply(201, SESSION), *rounds]
        script = ELSEWHERE + "await client.update(email, { label: 'x' })"
        told = refused(scripts, script, origin=answers.origin, email=ALICE, options={})
        assert told["current"]["name"] == "Alice"
        assert len(answers.asked) < 12

    def test_answer_that_was_lost(self, scripts, answers):
        """A change that arrived, though its answer did not, is no conflict with itself."""
        changed = {**PROFILE, "name": "Ann", "etag": '"2.0"'}
        conflict = {"code": "precondition_failed", "status": 412}
        answers.plan = [
            Reply(201, SESSION), HANG_UP, Reply(412, conflict), Reply(200, changed), Reply(200, changed)
        ]  # fmt: skip
        script = ELSEWHERE + "return (await client.update(email, { name: 'Ann' })).name"
        assert scripts.run(script, origin=answers.origin, email=ALICE, options={}) == "Ann"
        matches = [each.headers["If-Match"] for each in answers.asked if each.method == "PATCH"]
        assert matches == ['"1.0"', '"1.0"', '"2.0"']


class TestServerInTrouble:
    def call(self, scripts, answers, **options):
        script = ELSEWHERE + "return (await client.profile(email)).name"
        return scripts.run(script, origin=answers.origin, email=ALICE, options=options)

    def test_busy(self, scripts, answers):
        """A refusal with Retry-After is repeated, never before that time, and not by all at once."""
        answers.plan = [
            Reply(201, SESSION), Reply(503, BUSY, {"Retry-After": "1"}),
            Reply(429, "busy", {"Retry-After": "0"}), Reply(200, PROFILE),
        ]  # fmt: skip
        assert self.call(scripts, answers) == "Alice"
        times = [each.at for each in answers.asked]
        assert times[2] - times[1] >= 1
        assert times[3] - times[2] >= 0.2

    def test_busy_for_long(self, scripts, answers):
        """What does not fit the call's time is told at once."""
        answers.plan += [Reply(503, BUSY, {"Retry-After": "600"})]
        told = refused_of(self.call, scripts, answers)
        assert (told["code"], told["retryAfter"], told["isTemporary"]) == ("overloaded", 600, True)
        assert told["requestId"] == "r1"
        assert len(answers.asked) == 2

    def test_assertion_is_sent_again(self, scripts, answers):
        """Signing in is repeated too: if the first try was taken after all, the second is refused."""
        replayed = {"code": "proof_replayed", "status": 401}
        answers.plan = [Reply(503, BUSY, {"Retry-After": "0"}), HANG_UP, Reply(401, replayed)]
        assert refused_of(self.call, scripts, answers)["code"] == "proof_replayed"
        assert len(answers.asked) == 3

    def test_connection_that_breaks(self, scripts, answers):
        """It is tried once more, and then it is an error."""
        answers.plan = [Reply(201, SESSION), HANG_UP, Reply(200, PROFILE)]
        assert self.call(scripts, answers) == "Alice"
        answers.plan = [Reply(201, SESSION), HANG_UP]
        told = refused_of(self.call, scripts, answers)
        assert (told["code"], told["status"], told["isTemporary"]) == ("no_answer", None, True)

    def test_profile_key_is_sent_once(self, scripts, answers):
        """After a lost answer it is unknown with which key the profile opens."""
        answers.plan += [HANG_UP]
        script = ELSEWHERE + "await client.setProfileKey(email, key)"
        told = refused(scripts, script, origin=answers.origin, email=ALICE, key=KEYS[0], options={})
        assert told["code"] == "no_answer"
        assert len(answers.asked) == 2

    def test_slow(self, scripts, answers):
        """No answer in time is an error of its own, and an abort another."""
        goes_on = threading.Event()
        answers.plan += [Reply(200, PROFILE, before=lambda: goes_on.wait(30))]
        told = refused_of(self.call, scripts, answers, timeout=500)
        assert (told["code"], told["isTemporary"]) == ("timeout", True)
        answers.plan = [Reply(201, SESSION), *answers.plan]
        script = """
            const controller = new AbortController();
            setTimeout(() => controller.abort(), 300);
            await client.profile(email, { signal: controller.signal });
        """
        values = {"origin": answers.origin, "email": ALICE, "options": {}}
        assert refused(scripts, ELSEWHERE + script, **values)["code"] == "aborted"
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
        """What is not an answer of this API is an error, not a profile."""
        answers.plan += [reply]
        told = refused_of(self.call, scripts, answers)
        assert (told["code"], told["status"]) == ("answer_invalid", reply.status)

    def test_offline(self, scripts):
        """The browser's word is enough, and nothing waits; back online it works."""
        script = """
            window.client ??= await tools.signedIn(email, { timeout: 2 ** 31 - 1 });
            const { code, isTemporary } = await client.profiles().catch((error) => error);
            return [code ?? null, isTemporary ?? null];
        """
        assert scripts.run(script, email=ALICE) == [None, None]
        scripts.set_network(offline=True)
        assert scripts.run(script, email=ALICE) == ["offline", True]
        scripts.set_network()
        assert scripts.run(script, email=ALICE)[0] is None

    def test_killed_and_back(self, scripts, tmp_path):
        """A server that died is no answer; when it is back, the session goes on."""
        service = Service(tmp_path, "sqlite", f"sqlite:///{tmp_path}/store.sqlite")
        try:
            service.start()
            scripts.open(f"{service.origin}/v1/")
            scripts.run("window.client = await tools.signedIn(email)", email=ALICE)
            service.kill()
            script = "return (await client.update(email, { name: 'Alice' })).name"
            assert refused(scripts, script, email=ALICE)["code"] == "no_answer"
            service.start()
            assert scripts.run(script, email=ALICE) == "Alice"
        finally:
            service.close()


class TestUpload:
    SERVER = "const client = await tools.signedIn(email, { timeout: 20000 });"

    def upload(self, scripts, client, source, stop="null", **values):
        """Upload; return the profile and the progress told, or raise ScriptError."""
        script = (
            f"{client} const file = {source}; const stop = {stop}; {UPLOAD} return [profile, seen];"
        )
        return scripts.run(script, email=ALICE, **{"options": {}, **values})

    def test_progress(self, scripts, tmp_path):
        """Bytes are told while they leave, in order, then that the server works; all is there."""
        (tmp_path / "photo.jpg").write_bytes(photo())
        scripts.choose(tmp_path / "photo.jpg")
        scripts.set_network(upload=200_000)
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
        """The signal ends it: while it is made small, on its way, and while the server works."""
        (tmp_path / "photo.jpg").write_bytes(photo())
        scripts.choose(tmp_path / "photo.jpg")
        goes_on = threading.Event()
        for phase in ("reducing", "uploading", "processing"):
            slow = Reply(200, PROFILE, before=lambda: goes_on.wait(30))
            answers.plan = [Reply(201, SESSION), slow]
            answers.asked.clear()
            scripts.set_network(upload=300_000 if phase == "uploading" else -1)
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
        """When no more bytes leave, it ends."""
        goes_on = threading.Event()
        stalled = Reply(200, PROFILE, before=lambda: goes_on.wait(30), reads_body=False)
        answers.plan += [stalled]
        source = "new Blob([new Uint8Array(16_000_000)], { type: 'image/jpeg' })"
        values = {"origin": answers.origin, "options": {"reduce": False, "timeout": 400}}
        with pytest.raises(ScriptError) as caught:
            self.upload(scripts, ELSEWHERE, source, **values)
        goes_on.set()
        assert caught.value.code == "timeout"
        assert scripts.run("return seen.at(-1).phase") == "uploading"

    def test_busy_server(self, scripts, answers):
        """All is sent once more when the server says so."""
        pictured = {**PROFILE, "picture": {"id": "p", "urls": {"64": "https://x.example/"}}}
        answers.plan += [Reply(503, BUSY, {"Retry-After": "1"}), Reply(200, pictured)]
        source = "new Blob([new Uint8Array(1000)], { type: 'text/plain' })"
        values = {"origin": answers.origin, "options": {"crop": {"left": 0.4, "top": 7, "side": 99.7}}}
        profile, seen = self.upload(scripts, ELSEWHERE, source, **values)
        assert profile["picture"]["id"] == "p"
        assert seen[-1] == {"phase": "processing", "sent": 1000, "total": 1000}
        [first, second] = answers.asked[1:]
        assert first.path == second.path == "/v1/profiles/alice%40example.com/picture?crop=0,7,99"
        assert first.body == second.body == bytes(1000)
        assert first.headers["Content-Type"] == "application/octet-stream"

    def test_file_that_is_gone(self, scripts, tmp_path):
        """A file that was deleted since it was chosen has an error of its own."""
        path = tmp_path / "photo.jpg"
        path.write_bytes(photo(800, 600))
        scripts.choose(path)
        path.unlink()
        for options in ({}, {"reduce": False}):
            with pytest.raises(ScriptError) as caught:
                self.upload(scripts, self.SERVER, "tools.file()", options=options)
            assert caught.value.code == "file_unreadable"

    def test_file_over_the_limit(self, scripts, tmp_path):
        """The limit is for what is sent: a larger file that can be made small is taken."""
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
        """A broken file, one that is no picture, a crop outside: the server's own codes and figures."""
        whole = photo(1600, 1200)
        for name, data, crop, code in (
            ("cut.jpg", whole[: len(whole) // 2], None, "picture_broken"),
            ("text.jpg", b"text " * 20_000, None, "unsupported_media_type"),
            ("whole.jpg", whole, {"left": 900, "top": 0, "side": 1200}, "crop_outside_picture"),
        ):
            (tmp_path / name).write_bytes(data)
            scripts.choose(tmp_path / name)
            with pytest.raises(ScriptError) as caught:
                self.upload(scripts, self.SERVER, "tools.file()", options={"crop": crop})
            assert caught.value.code == code
        assert caught.value.members["details"] == {"width": 1600, "height": 1200}


def refused_of(call, *arguments, **options):
    """Return the members of the error that a call must throw."""
    with pytest.raises(ScriptError) as caught:
        call(*arguments, **options)
    return caught.value.members


def _base64(data):
    return base64.b64encode(data).decode()
