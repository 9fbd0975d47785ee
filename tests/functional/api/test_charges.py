"""The costs of strangers and readers are limited and charged; foreign pages charge nobody."""

import time

import pytest
from pyramid.request import Request
from support.clients.contract import DOCUMENT
from support.pictures.pictures import encode, quadrants
from support.servers.applications import Clock, limited_applications

from persona_profile.api.rate_limiting import MIN_ANSWER_BYTES, failure_charged
from persona_profile.api.schemas import MAX_ERRORS
from persona_profile.errors import MalformedRequest

AUDIENCE = "http://127.0.0.1:6543"
ALICE, BOB = "alice@example.com", "bob@example.com"
PROFILE = f"/v1/profiles/{ALICE}"
JSON = {"Content-Type": "application/json"}
RAW = {"Content-Type": "application/octet-stream"}
MAX_ANSWER_BYTES = 64 * 1024


@pytest.fixture
def clock():
    """A clock that tests advance."""
    return Clock(time.time())


@pytest.fixture
def limited(development_folder, clock):
    """Makes applications with limits counted in memory."""
    with limited_applications(development_folder, clock, pictures__formats="jpeg") as make:
        yield make


def open_session(app, *emails, status=201, **more):
    """Prove emails; return the answer."""
    provider = app.app.development.identity_provider
    proofs = [{"assertion": provider.bundle(email, AUDIENCE)} for email in emails]
    return app.post_json("/v1/sessions", {"proofs": proofs}, status=status, **more)


def session(app, *emails):
    """Return the headers of a new session."""
    return {"Authorization": f"Bearer {open_session(app, *emails).json['token']}"}


def members(count):
    """Return an object of unknown members."""
    return b"{%s}" % b",".join(b'"%04x":1' % number for number in range(count))


HOSTILE = {
    "60,000 members": members(60_000),
    "255 members": members(255),
    "members within proofs": b'{"proofs":[%s]}' % b",".join([members(11)] * 18),
    "long names": b'{"%s":1,"%s":2}' % (b"a" * 15_000, b"b" * 15_000),
    "names that are escaped": b"{%s}"
    % b",".join(b'"%s%d":1' % (b"\\u0001" * 64, n) for n in range(60)),
    "arrays": b'{"proofs":[%s]}' % b",".join([b"[]"] * 100_000),
    "wrong proofs": b'{"proofs":[%s]}' % b",".join([b'{"assertion":1,"id_token":2,"x":3}'] * 20),
    "depth": b'{"name":' * 60 + b"1" + b"}" * 60,
    "floats": b'{"name":[%s]}' % b",".join([b"1e9"] * 80_000),
}


class TestJsonBodies:
    @pytest.mark.parametrize("name", HOSTILE)
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/v1/sessions"),
            ("PUT", PROFILE),
            ("PATCH", PROFILE),
            ("PUT", f"{PROFILE}/profile-key"),
            ("POST", f"{PROFILE}/profile-keys"),
            ("POST", "/development/assertions"),
        ],
    )
    def test_answers_are_small(self, app, sign_in, method, path, name):
        """An invalid body gets a few errors in a small response."""
        headers = sign_in(ALICE) | JSON
        answer = app.request(path, method=method, body=HOSTILE[name], headers=headers, status="4*")
        assert answer.status_int in (400, 413)
        assert len(answer.body) <= MAX_ANSWER_BYTES
        assert len(answer.json.get("errors", [])) <= MAX_ERRORS

    @pytest.mark.parametrize(("count", "reported"), [(19, 19), (20, 20), (21, 20), (250, 20)])
    def test_errors(self, app, sign_in, count, reported):
        """Twenty errors are reported, and the response says if there are more."""
        problem = app.put(PROFILE, members(count), headers=sign_in(ALICE) | JSON, status=400).json
        assert problem["code"] == "validation_failed"
        assert [each["name"] for each in problem["errors"]] == [f"{n:04x}" for n in range(reported)]
        assert ("the first 20" in problem["detail"]) == (count > reported)

    def test_too_many_values(self, app):
        """A body with too many members is not parsed."""
        problem = app.post("/v1/sessions", members(20_000), headers=JSON, status=400).json
        assert problem["code"] == "malformed_request"
        assert "too many values" in problem["detail"]

    def test_largest_valid_body(self, app, assertion):
        """A body with the highest number of proofs is far below the limits."""
        proofs = [{"assertion": assertion(f"{number}@example.com")} for number in range(20)]
        body = {"proofs": proofs, "thumbnails": 64, "profile_key": None}
        assert len(app.post_json("/v1/sessions", body, status=201).json["profiles"]) == 20


class TestFailures:
    def test_are_charged(self, limited, clock):
        """Failed sign-ins use up the processor time of their network; then none is verified."""
        app = limited(ratelimit__failures_per_address="1/minute")
        app.post("/v1/sessions", b"{}", headers=JSON, status=400)
        response = open_session(app, ALICE, status=429)
        assert response.json["policy"] == "failures-per-address"
        wait = int(response.headers["Retry-After"])
        fields = response.headers.getall("RateLimit-Policy")
        assert '"failures-per-address";q=1;qu="milliseconds";w=60' in fields
        open_session(app, ALICE, extra_environ={"REMOTE_ADDR": "192.0.2.2"})
        clock.now += wait
        open_session(app, ALICE)

    def test_successes_are_not(self, limited):
        """Successful sign-ins are not charged as failures."""
        app = limited(ratelimit__failures_per_address="1/minute")
        for _ in range(3):
            open_session(app, ALICE)

    @pytest.mark.parametrize(("seconds", "status"), [(0.0985, 201), (0.1, 429), (7, 429)])
    def test_cost_is_processor_time(self, limited, seconds, status):
        """A failure costs its processor time."""
        app = limited(ratelimit__failures_per_address="100/minute")
        request = Request.blank("/", environ={"REMOTE_ADDR": "192.0.2.1"})
        request.services = app.app.services
        instants = iter([5.0, 5.0 + seconds])
        with pytest.raises(MalformedRequest), failure_charged(request, lambda: next(instants)):
            raise MalformedRequest("wrong")
        open_session(app, ALICE, status=status)


class TestBytes:
    def test_per_email(self, limited, clock):
        """Reads of a session are charged with their bytes, also for 304."""
        app = limited(ratelimit__bytes_per_email=f"{3 * MIN_ANSWER_BYTES}/minute")
        headers = session(app, ALICE)
        etag = app.get("/v1/profiles", headers=headers).headers["ETag"]
        app.get("/v1/profiles", headers=headers | {"If-None-Match": etag}, status=304)
        app.get(PROFILE, headers=headers)
        for path in ("/v1/profiles", PROFILE, "/v1/fedcm/accounts", f"{PROFILE}/export"):
            response = app.get(path, headers=headers, status=429)
            assert response.json["policy"] == "bytes-per-email"
        fields = response.headers.getall("RateLimit-Policy")
        assert f'"bytes-per-email";q={3 * MIN_ANSWER_BYTES};qu="bytes";w=60' in fields
        app.get("/v1/profiles", headers=session(app, BOB))
        clock.now += int(response.headers["Retry-After"])
        app.get(PROFILE, headers=headers)

    def test_per_address(self, limited):
        """Reads of a network, also of pictures, are charged together; another network reads on."""
        app = limited(ratelimit__bytes_per_address=f"{2 * MIN_ANSWER_BYTES}/minute")
        headers = session(app, ALICE)
        upload = app.put(f"{PROFILE}/picture", encode(quadrants(64, 64)), headers=headers | RAW)
        picture = upload.json["picture"]["urls"]["64"].removeprefix(AUDIENCE)
        app.get(picture)
        app.get("/v1/profiles", headers=session(app, BOB))
        for path, given in ((picture, {}), ("/v1/profiles", headers)):
            assert app.get(path, headers=given, status=429).json["policy"] == "bytes-per-address"
        app.get(picture, extra_environ={"REMOTE_ADDR": "192.0.2.2"})

    def test_size_counts(self, limited):
        """A large answer costs its bytes."""
        app = limited(ratelimit__bytes_per_email="100000/minute")
        headers = session(app, ALICE)
        app.put(f"{PROFILE}/picture", encode(quadrants(600, 600)), headers=headers | RAW)
        large = app.get("/v1/profiles?thumbnails=256", headers=headers).content_length
        assert MIN_ANSWER_BYTES < large < 100_000
        for spent in range(large, 100_000, large):
            assert spent < 100_000
            app.get("/v1/profiles?thumbnails=256", headers=headers)
        app.get("/v1/profiles?thumbnails=256", headers=headers, status=429)

    def test_sign_in_goes_on(self, limited):
        """A network at its limit of bytes still signs in."""
        app = limited(ratelimit__bytes_per_address="1/minute", ratelimit__bytes_per_email="1/minute")
        headers = session(app, ALICE)
        app.get("/v1/profiles", headers=headers)
        app.get("/v1/profiles", headers=headers, status=429)
        open_session(app, ALICE)


def charged_calls():
    """Return method and path of the calls with a rate limit, by the document."""
    return [
        (method.upper(), path)
        for path, methods in DOCUMENT["paths"].items()
        for method, call in methods.items()
        if "429" in call["responses"]
    ]


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Referer": "https://evil.example/"},
]
OWN = [
    {},
    {"Origin": "https://dialog.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": AUDIENCE, "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
]


class TestForeignPages:
    @pytest.fixture
    def app(self, limited):
        """An application that allows everything once."""
        limits = (
            "sessions_per_address",
            "failures_per_address",
            "writes_per_email",
            "reads_per_picture",
        )
        sizes = {
            "ratelimit__bytes_per_address": "4096/minute",
            "ratelimit__bytes_per_email": "4096/minute",
        }
        return limited(**sizes, **{f"ratelimit__{name}": "1/minute" for name in limits})

    def test_calls(self):
        """The calls of sessions, profiles and pictures are charged, and no others."""
        assert len(charged_calls()) == 17
        assert ("POST", "/v1/nonces") in charged_calls()

    @pytest.mark.parametrize(("method", "path"), charged_calls())
    def test_are_refused(self, app, method, path):
        """Every charged call rejects a page of a foreign origin, and charges nothing."""
        headers = session(app, ALICE)
        if "{capability}" in path:
            upload = app.put(f"{PROFILE}/picture", encode(quadrants(64, 64)), headers=headers | RAW)
            path = upload.json["picture"]["urls"]["64"].removeprefix(AUDIENCE)
        given = {
            "url_or_req": path.replace("{email}", ALICE),
            "method": method,
            "body": b"" if method in ("GET", "DELETE") else b"{}",
        }
        app.extra_environ = {"REMOTE_ADDR": "192.0.2.9"}  # an unused address
        headers |= JSON if given["body"] else {}
        for page in FOREIGN * 2:
            answer = app.request(**given, headers=headers | page, status=403)
            assert answer.json["code"] == "origin_refused"
            assert "RateLimit" not in answer.headers
        assert app.request(**given, headers=headers, status="*").status_int != 429

    @pytest.mark.parametrize("page", OWN)
    def test_others_are_not(self, limited, page):
        """Pages of configured origins and programs are served."""
        app = limited()
        app.post("/v1/nonces", headers=page, status=201)
        open_session(app, ALICE, headers=page)
