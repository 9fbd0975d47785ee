from __future__ import annotations

import itertools
import json
import stat
import subprocess
import sys
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.servers.applications import Clock, application
from webtest import TestApp

from loadtest import identities as module
from loadtest.identities import ISSUERS, Identities, make, mint
from loadtest.identities.__main__ import main
from loadtest.identities.keys import from_pem
from persona_profile.auth.jws import parse_jws

ORIGIN = "https://profiles.example.net"
USERS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of identities of which no certificate was made yet."""
    made = tmp_path_factory.mktemp("identities") / "folder"
    make(made, users=USERS, pool=4, shares={"DS128": 50, "RS256": 50})
    return made


@pytest.fixture(scope="module")
def identities(folder):
    """Return the users of that folder."""
    return Identities.open(folder)


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    """Return an application that trusts the folder's identity provider by its setting alone."""
    app = application(
        tmp_path_factory.mktemp("server"),
        public_origins=ORIGIN,
        browserid__pinned_issuers=str(folder / "pinned-issuers.json"),
    )
    yield TestApp(app)
    app.close()


def sign_in(server, proofs, status=201):
    """Return the answer to some proofs."""
    body = {"proofs": [{"assertion": proof} for proof in proofs]}
    return server.post_json("/v1/sessions", body, status=status).json


def header_and_claims(certificate):
    """Return what a certificate says."""
    jws = parse_jws(certificate)
    return jws.algorithm, dict(jws.payload)


@pytest.mark.parametrize("number", range(4))
def test_users_sign_in(server, identities, number):
    """Users of all keys prove their emails, in order, again and again; no proof is good twice."""
    user = identities.user(number)
    assert user.emails == tuple(
        f"user-{number:06d}-{index}@provider-{number + index}.loadtest.example" for index in range(2)
    )
    for new_certificates in (False, False, True):
        proofs = identities.assertions(user, ORIGIN, new_certificates=new_certificates)
        answer = sign_in(server, proofs)
        assert tuple(profile["email"] for profile in answer["profiles"]) == user.emails
    assert sign_in(server, proofs, status=401)["code"]


def test_both_algorithms_are_among_the_users(identities):
    """The users' keys are shared out as asked, evenly."""
    algorithms = [
        parse_jws(identities.assertions(identities.user(n), ORIGIN)[0].split("~")[1]).algorithm
        for n in range(USERS)
    ]
    assert sorted(set(algorithms)) == ["DS128", "RS256"]
    assert algorithms.count("DS128") == USERS // 2
    assert set(algorithms[:2]) == {"DS128", "RS256"}


def test_another_audience_is_refused(server, identities):
    """An assertion is for one server, so that a run can harm no other."""
    proofs = identities.assertions(identities.user(5), "https://other.example")
    assert sign_in(server, proofs, status=401)["code"]


def test_users_of_one_key_at_one_instant(server, identities, monkeypatch):
    """Users who share a key and sign in within the same millisecond make different proofs."""
    monkeypatch.setattr(module.time, "time", Clock(time.time()))
    for number in (1, 5, 9):
        sign_in(server, identities.assertions(identities.user(number), ORIGIN))


def test_certificates_are_kept(folder, identities):
    """A certificate is made once and is the same for all processes, until a new one is wanted."""
    user = identities.user(7)
    kept = identities.certificate(user, 1)
    assert Identities.open(folder).certificate(user, 1) == kept
    new = Identities.open(folder).certificate(user, 1, new=True)
    assert new != kept
    assert identities.certificate(user, 1) == new
    assert identities.certificate(user, 0) != new


def test_new_certificates_within_a_millisecond(identities, monkeypatch):
    """New is never what there was before."""
    monkeypatch.setattr(module.time, "time", Clock(time.time()))
    user = identities.user(8)
    assert len({identities.certificate(user, 0, new=True) for _ in range(5)}) == 5


def test_certificates_that_lapse_are_made_anew(identities, monkeypatch):
    """Shortly before its day is over a certificate is replaced, and never lives for more than a day."""
    clock = Clock(time.time())
    monkeypatch.setattr(module.time, "time", clock)
    user = identities.user(10)
    first = identities.certificate(user, 0)
    clock.now += 22 * 3600
    assert identities.certificate(user, 0) == first
    clock.now += 1.5 * 3600
    second = identities.certificate(user, 0)
    assert second != first
    for certificate in (first, second):
        _, claims = header_and_claims(certificate)
        assert claims["exp"] - claims["iat"] == 24 * 3600 * 1000
    assert header_and_claims(second)[1]["iat"] <= clock.now * 1000
    clock.now -= 3 * 24 * 3600  # a clock that was set back
    assert header_and_claims(identities.certificate(user, 0))[1]["iat"] <= clock.now * 1000


def test_same_seed_same_visits(folder, identities):
    """Who comes when, and with which certificates, follows from the seed."""

    def visits(seed, worker=0, workers=1):
        some = Identities.open(folder).visits(seed, worker, workers)
        return list(itertools.islice(some, 400))

    assert visits(1) == visits(1)
    assert visits(1) != visits(2)
    assert {visit.user.number for visit in visits(1)} == set(range(USERS))
    share = sum(visit.new_certificates for visit in visits(1)) / 400
    assert share == pytest.approx(module.NEW_CERTIFICATE_SHARE, abs=0.06)
    parts = [{visit.user.number for visit in visits(1, worker, 3)} for worker in range(3)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == USERS
    assert [user.number for user in identities.newcomers(1, 3)] == [1, 4, 7, 10]
    with pytest.raises(ValueError, match="no worker 3 of 3"):
        identities.visits(1, 3, 3)
    with pytest.raises(ValueError, match="no user 12"):
        identities.user(USERS)


def test_secrets_are_closed_to_others(folder):
    """Keys and certificates can be read by their owner alone; what the server needs holds no secret."""
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {
        "identity-provider.pem": 0o600,
        "user-keys.json": 0o600,
        "certificates": 0o600,
        "users.json": 0o644,
        "pinned-issuers.json": 0o644,
    }
    pinned = json.loads((folder / "pinned-issuers.json").read_text())
    assert set(pinned) == {f"provider-{number}.loadtest.example" for number in range(ISSUERS)}
    assert "PRIVATE" not in (folder / "pinned-issuers.json").read_text()


def test_users_of_any_number(tmp_path):
    """A million users take next to no time, memory or disk until they come; more can be added."""
    few = make(tmp_path / "folder", users=2, pool=1, shares={"DS128": 0, "RS256": 100})
    kept = few.certificate(few.user(1), 1)
    many = make(tmp_path / "folder", users=1_000_000)
    assert many.certificate(many.user(1), 1) == kept
    assert many.user(999_999).emails[0] == "user-999999-0@provider-9.loadtest.example"
    assert many.certificate(many.user(999_999), 1)
    assert (tmp_path / "folder" / "certificates").stat().st_blocks * 512 < 1_000_000


def test_all_certificates_before_a_run(tmp_path, monkeypatch):
    """`mint` makes what is missing, by several processes, and reports its progress."""
    folder = tmp_path / "folder"
    made = make(folder, users=1500, emails=1, pool=1, shares={"DS128": 100})
    reported: list[tuple[int, int]] = []
    mint(folder, 2, lambda done, count: reported.append((done, count)))
    assert reported[-1] == (1500, 1500)

    def fail(_data):
        pytest.fail("a certificate was missing")

    monkeypatch.setattr(made._issuer, "sign", fail)
    assert len({made.certificate(user, 0) for user in made.newcomers()}) == 1500


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--users", "0"], "whole numbers"),
        (["--users", "5", "--emails", "21"], "whole numbers"),
        (["--users", "5", "--domain", "Not A Domain"], "a domain is lower case"),
    ],
)
def test_command_says_what_is_wrong(tmp_path, capsys, arguments, reason):
    """Wrong arguments get a sentence and exit status 1, and no folder is begun."""
    folder = tmp_path / "folder"
    with pytest.raises(SystemExit) as ended:
        main(["make", "--folder", str(folder), *arguments])
    assert ended.value.code == 1
    assert reason in capsys.readouterr().err
    assert not folder.exists()


def test_command(tmp_path):
    """`python -m loadtest.identities make` makes a folder that is ready for a run."""
    folder = tmp_path / "folder"
    command = [sys.executable, "-m", "loadtest.identities", "make", "--folder", str(folder)]
    options = ["--users", "20", "--domain", "other.example", "--emails", "3", "--rs256-only"]
    # A pool of a hundred RSA keys takes seconds; a folder that has keys keeps them.
    make(folder, users=1, domain="other.example", pool=1, shares={"RS256": 100})
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    assert done.stderr.endswith("certificates of 20 of 20 users\n")
    opened = Identities.open(folder)
    assert (opened.users, opened.emails, opened.domain) == (20, 3, "other.example")
    assert len(opened.assertions(opened.user(19), ORIGIN)) == 3
    rejected = subprocess.run([*command, "--users", "5"], capture_output=True, text=True, check=False)
    assert rejected.returncode == 1
    assert "its users are at other.example" in rejected.stderr


@pytest.mark.parametrize("shares", [{"DS128": 50}, {"RS256": 50, "ES256": 50}])
def test_shares_that_do_not_add_up(tmp_path, shares):
    """Shares of algorithms that give no 100 percent, or name another algorithm, are rejected."""
    with pytest.raises(ValueError, match="add up to 100 percent"):
        make(tmp_path / "folder", users=1, shares=shares)
    assert not (tmp_path / "folder").exists()


def test_key_of_another_kind():
    """A private key that is neither RSA nor DSA is rejected."""
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="neither an RSA nor a DSA key"):
        from_pem(pem.decode())


def test_not_a_folder_of_identities(tmp_path):
    """A folder that holds something else is said to be none."""
    with pytest.raises(FileNotFoundError):
        Identities.open(tmp_path)
    (tmp_path / "users.json").write_text("[]")
    with pytest.raises(ValueError, match="not a folder of identities"):
        Identities.open(tmp_path)
