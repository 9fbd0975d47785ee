from pathlib import Path

import pytest
from limits import RateLimitItemPerHour, RateLimitItemPerMinute

from persona_profile.settings import InvalidSettings, changed_limits, parse_settings

GOOD = {"development": "true", "public_origins": "https://profiles.example"}


def problems(settings: dict[str, str], environ: dict[str, str] | None = None) -> str:
    """Return the message of InvalidSettings."""
    with pytest.raises(InvalidSettings) as caught:
        parse_settings(settings, environ or {})
    return str(caught.value)


def test_defaults():
    """Missing settings have defaults."""
    settings = parse_settings(GOOD, {})
    assert settings.backend == "memory"
    assert settings.pictures_max_bytes == 20 * 1024 * 1024
    assert settings.sessions_lifetime == 3600
    assert settings.dialog_origins == ()


def test_environment_wins():
    """An environment variable overrides the file; dots and case are translated."""
    environ = {"PERSONA_BACKEND_URL": "mysql://u:p@h/d", "PERSONA_SESSIONS_LIFETIME": "60", "HOME": "/"}
    settings = parse_settings({**GOOD, "sessions.lifetime": "120"}, environ)
    assert settings.backend_url == "mysql://u:p@h/d"
    assert settings.sessions_lifetime == 60


def test_all_is_reported_at_once():
    """One message names every wrong, missing or unknown setting."""
    message = problems(
        {"sessions.lifetime": "soon", "picture.max_bytes": "5", "browserid.algorithms": "RS64"},
        {"PERSONA_BACKEND_URI": "x"},
    )
    for name in (
        "sessions.lifetime",
        "picture.max_bytes",
        "browserid.algorithms",
        "public_origins",
        "PERSONA_BACKEND_URI",
    ):
        assert name in message


def test_values_are_never_shown():
    """The message never shows values of wrong, unknown or environment settings."""
    secret = "hunter2"
    message = problems(
        dict.fromkeys(
            ("development", "public_origins", "backend.password", "sessions.lifetime"), secret
        ),
        {"PERSONA_PASSWORD": secret, "PERSONA_PICTURES_FORMATS": secret},
    )
    assert secret not in message


def test_keyring_is_needed_outside_development():
    """Outside development a keyring is required."""
    assert "keyring.path" in problems({"public_origins": "https://profiles.example"})
    settings = parse_settings(
        {"public_origins": "https://profiles.example", "keyring.path": "/etc/keyring.json"}, {}
    )
    assert settings.keyring_path == Path("/etc/keyring.json")


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("https://A.example:443", ("https://a.example",)),
        ("http://a.example:80 http://a.example", ("http://a.example",)),
        ("https://a.example:8443", ("https://a.example:8443",)),
        ("http://[::1]:6543", ("http://[::1]:6543",)),
    ],
)
def test_origins(given, read):
    """Origins are normalized as browsers write them."""
    assert parse_settings({**GOOD, "public_origins": given}, {}).public_origins == read


@pytest.mark.parametrize("wrong", ["https://a.example/", "a.example", "ftp://a.example", "*", "null"])
def test_no_origins(wrong):
    """Invalid origins are rejected, wildcards included."""
    assert "dialog_origins" in problems({**GOOD, "dialog_origins": wrong})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("development", "yes"),
        ("sessions.lifetime", "59"),
        ("sessions.lifetime", "86401"),
        ("sessions.lifetime", "-1"),
        ("sessions.lifetime", "1e3"),
        ("sessions.lifetime", "٣٦٠٠"),
        ("pictures.formats", "jpeg gif"),
        ("pictures.workers", "0"),
        ("browserid.fallback_issuers", "https://a.example"),
        ("browserid.clock_skew_seconds", "601"),
        ("openid.clock_skew_seconds", "301"),
        ("openid.nonce_lifetime_seconds", "59"),
        ("openid.nonce_lifetime_seconds", "3601"),
        ("evp.domains", "https://a.example"),
        ("evp.domains", "*.*.example"),
        ("evp.domains", "-a.example"),
        ("evp.denied_domains", "192.0.2.1"),
        ("evp.dns", "dns.example"),
        ("evp.dns", "https://127.0.0.1/dns-query"),
        ("evp.dns", "127.0.0.1:0"),
        ("evp.dns", "127.0.0.1:65536"),
        ("evp.dns", "127.0.0.1:"),
        ("evp.dns", "[::1]"),
        ("evp.dns", "127.0.0.1.1"),
        ("evp.dnssec", "yes"),
    ],
)
def test_wrong_values(name, wrong):
    """A value of another type or out of range is rejected."""
    assert name in problems({**GOOD, name: wrong})


def test_blank_is_left_away():
    """An empty setting has its default."""
    assert parse_settings({**GOOD, "backend.url": " "}, {}).backend_url is None


def test_replicas():
    """Replicas are configured by URL or file; a memory backend allows none."""
    given = GOOD | {"backend": "sqlite", "backend.read_url": "sqlite:///a"}
    assert parse_settings(given, {}).backend_read_url == "sqlite:///a"
    assert parse_settings(given, {"PERSONA_BACKEND_READ_URL": ""}).backend_read_url is None
    assert "backend.read_url_file" in problems({**given, "backend.read_url_file": "/etc/url"})
    message = problems({**given, "backend": "memory", "backend.read_url_file": "/etc/url"})
    assert "backend.read_url: not with backend = memory" in message
    assert "backend.read_url_file: not with backend = memory" in message


def test_foreign_settings():
    """Settings of Pyramid and PasteDeploy are ignored."""
    given = {**GOOD, "pyramid.debug_all": "true", "here": "/", "__file__": "/x.ini"}
    assert parse_settings(given, {}).development


class TestRateLimits:
    def test_notation(self):
        """Limits use the notation of the library `limits`; each may be off."""
        given = {
            "ratelimit.url": "redis://cache.example:6379/1",
            "ratelimit.sessions_per_address": "10 per 2 hours",
            "ratelimit.proofs_per_issuer": "off",
        }
        settings = parse_settings(GOOD | given, {})
        assert settings.ratelimit_sessions_per_address == RateLimitItemPerHour(10, 2)
        assert settings.ratelimit_proofs_per_issuer is None
        assert settings.ratelimit_writes_per_email == RateLimitItemPerMinute(60)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("url", "memcached://h:11211"),
            ("url", "mysql://h"),
            ("timeout_ms", "0"),
            ("writes_per_email", "many"),
            ("writes_per_email", "60"),
            ("writes_per_email", "0/minute"),
            ("writes_per_email", "5/fortnight"),
            ("writes_per_email", "1/year"),
            ("writes_per_email", "60/minute; 100/hour"),
            ("pixels_per_email", "99999999/hour"),
        ],
    )
    def test_wrong(self, name, value):
        """An invalid limit is an error at start with its name but not its value."""
        message = problems(GOOD | {f"ratelimit.{name}": value})
        assert f"ratelimit.{name}: must" in message
        assert value not in message or value == "0"


class TestEmailVerification:
    """The settings of the Email Verification Protocol."""

    def test_resolvers(self):
        """Resolvers are IP addresses, with a port if it is not 53."""
        given = {**GOOD, "evp.domains": "*", "evp.dns": "192.0.2.1 192.0.2.2:5353 2001:db8::1 [::1]:54"}
        found = parse_settings(given, {})
        assert found.evp_dns == (
            ("192.0.2.1", 53),
            ("192.0.2.2", 5353),
            ("2001:db8::1", 53),
            ("::1", 54),
        )

    def test_domains(self):
        """Domains have one spelling."""
        given = {**GOOD, "evp.domains": "Example.COM *.büro.example"}
        assert parse_settings(given, {}).evp_domains == ("example.com", "*.xn--bro-hoa.example")

    @pytest.mark.parametrize(
        ("wrong", "given"),
        [
            ("evp.domains", {"evp.domains": "*", "authenticators": "browserid openid"}),
            ("evp.denied_domains", {"evp.denied_domains": "a.example"}),
            ("evp.dns", {"evp.domains": "*", "evp.dnssec": "true", "evp.dns": "192.0.2.1"}),
        ],
    )
    def test_contradictions(self, wrong, given):
        """Settings that contradict each other are rejected."""
        assert wrong in problems({**GOOD, **given})

    def test_dnssec_on_loopback(self):
        """Validating resolvers are on loopback."""
        given = {**GOOD, "evp.domains": "*", "evp.dnssec": "true", "evp.dns": "127.0.0.53 [::1]:53"}
        assert parse_settings(given, {}).evp_dnssec


def test_changed_limits():
    """Limits that are not the defaults are listed by name and value; secrets are no limits."""
    settings = parse_settings(
        {
            **GOOD,
            "pictures.workers": "3",
            "pictures.formats": "avif jpeg",
            "ratelimit.writes_per_email": "off",
            "ratelimit.sessions_per_address": "5/minute",
            "ratelimit.url": "redis://:hunter2@db/0",
            "backend.url": "hunter2",
        },
        {},
    )
    assert changed_limits(settings) == [
        "pictures.formats = avif jpeg",
        "pictures.workers = 3",
        "ratelimit.sessions_per_address = 5 per 1 minute",
        "ratelimit.writes_per_email = off",
    ]
    assert changed_limits(parse_settings(GOOD, {})) == []


def test_ledger():
    """The ledger has a kind and a place of its own; an emptied variable removes the file's place."""
    given = GOOD | {"backend": "sqlite", "backend.url": "sqlite:///a", "ledger.backend": "sqlite"}
    settings = parse_settings({**given, "ledger.url": "sqlite:///b"}, {})
    assert settings.ledger_keep_seconds == 35 * 24 * 3600
    message = problems({**given, "ledger.url": "sqlite:///a"})
    assert "ledger.url: must not be backend.url: a restore would replace it" in message
    both = {**given, "ledger.url": "sqlite:///b", "ledger.url_file": "c"}
    assert "ledger.url_file: not together with ledger.url" in problems(both)
    environ = {"PERSONA_LEDGER_URL_FILE": "d"}
    assert parse_settings({**given, "ledger.url": "sqlite:///b"}, environ).ledger_url is None
