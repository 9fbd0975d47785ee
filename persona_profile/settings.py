"""Settings: one Colander schema of strings, from the `.ini` file and the environment.

Each setting may be overridden by an environment variable: `backend.url` by `PERSONA_BACKEND_URL`.
All that is wrong is reported at once, by name, and never with its value: that may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import colander
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute, parse_many

from persona_profile.emails import InvalidDomain, canonical_domain
from persona_profile.images import Encoding, Limits, PictureOptions
from persona_profile.images.formats import DEFAULT_EFFORT, DEFAULT_QUALITIES, EFFORTS, FORMATS
from persona_profile.lifetimes import (
    MAX_BROWSERID_SKEW_SECONDS,
    MAX_OPENID_SKEW_SECONDS,
    MAX_SESSION_SECONDS,
    MIN_FORWARD_SECONDS,
)
from persona_profile.runtime.logs import FORMATS as LOG_FORMATS
from persona_profile.runtime.logs import LEVELS as LOG_LEVELS

KEY_SERVICES: Final = ("keyring", "transit")
"""What may wrap the data keys of emails."""

PROVIDER_LISTEN: Final = ("127.0.0.1", 6544)
OFF: Final = "off"

BROWSERID_ALGORITHMS: Final = ("RS256", "DS128", "DS256")

AUTHENTICATORS: Final = ("browserid", "openid")
"""Those that are used where nothing else is said; entry points name what there is."""

ENVIRONMENT_PREFIX: Final = "PERSONA_"
MAX_PICTURE_BYTES: Final = 20 * 1024 * 1024
JPEG_PIXELS: Final = 100_000_000
OTHER_PIXELS: Final = 50_000_000
MAX_RATE_AMOUNT: Final = 10**12
MAX_RATE_SECONDS: Final = 7 * 24 * 3600
_MIB: Final = 1024 * 1024

# What frameworks put beside ours: Pyramid's own settings, and where PasteDeploy found the file.
_FOREIGN = re.compile(r"pyramid\..*|here|__file__")
# What belongs to an authenticator that somebody else has written.
_OPTION = re.compile(r"authenticator\.[a-z0-9_.]+")
_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?")


class InvalidSettings(Exception):
    """The settings can't be used; the message has a line for each that is wrong."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator can decide. Names, units, defaults and reasons: see `production.ini`."""

    development: bool
    development_folder: Path
    development_provider_listen: tuple[str, int] | None
    backend: str
    backend_url: str | None
    backend_url_file: Path | None
    backend_read_url: str | None
    backend_read_url_file: Path | None
    keyring_path: Path | None
    key_service: str
    key_service_cache_seconds: int
    key_service_cache_keys: int
    transit_url: str | None
    transit_key: str
    transit_mount: str
    transit_namespace: str | None
    transit_token_file: Path | None
    transit_ca_file: Path | None
    transit_timeout_seconds: int
    public_origins: tuple[str, ...]
    dialog_origins: tuple[str, ...]
    authenticators: tuple[str, ...]
    browserid_algorithms: tuple[str, ...]
    browserid_pinned_issuers: Path | None
    browserid_fallback_issuers: tuple[str, ...]
    browserid_clock_skew_seconds: int
    openid_issuers: Path | None
    openid_clock_skew_seconds: int
    openid_nonce_lifetime_seconds: int
    sessions_lifetime: int
    pictures_max_bytes: int
    pictures_max_pixels_jpeg: int
    pictures_max_pixels_other: int
    pictures_formats: tuple[str, ...]
    pictures_effort: str
    pictures_quality_avif: int
    pictures_quality_webp: int
    pictures_quality_jpeg: int
    pictures_workers: int
    pictures_max_queued: int
    pictures_max_wait_seconds: int
    pictures_worker_memory_mib: int
    pictures_max_cpu_seconds: int
    pictures_deadline_seconds: int
    pictures_url_window_seconds: int
    metrics_listen: tuple[str, int] | None
    logging_format: str
    logging_level: str
    shutdown_drain_seconds: int
    shutdown_grace_seconds: int
    version_path: Path | None
    ratelimit_url: str | None
    ratelimit_timeout_ms: int
    ratelimit_sessions_per_address: RateLimitItem | None
    ratelimit_failures_per_address: RateLimitItem | None
    ratelimit_proofs_per_issuer: RateLimitItem | None
    ratelimit_bytes_per_address: RateLimitItem | None
    ratelimit_bytes_per_email: RateLimitItem | None
    ratelimit_writes_per_email: RateLimitItem | None
    ratelimit_pixels_per_email: RateLimitItem | None
    ratelimit_picture_ms_per_email: RateLimitItem | None
    ratelimit_picture_ms_per_issuer: RateLimitItem | None
    ratelimit_picture_ms_per_address: RateLimitItem | None
    ratelimit_reads_per_picture: RateLimitItem | None
    authenticator_options: Mapping[str, str]

    @property
    def picture_options(self) -> PictureOptions:
        """The limits of decoding and the options of encoding pictures."""
        qualities = {
            "avif": self.pictures_quality_avif,
            "webp": self.pictures_quality_webp,
            "jpeg": self.pictures_quality_jpeg,
        }
        return PictureOptions(
            Limits(
                self.pictures_max_pixels_jpeg,
                self.pictures_max_pixels_other,
                self.pictures_worker_memory_mib * _MIB,
            ),
            Encoding(self.pictures_formats, qualities, self.pictures_effort),
        )

    @property
    def picture_url_seconds(self) -> int:
        """The longest time for which the URL of a picture works."""
        return 2 * self.pictures_url_window_seconds

    @property
    def forward_seconds(self) -> int:
        """The time for which the forward of a moved profile is kept."""
        return max(MIN_FORWARD_SECONDS, self.picture_url_seconds)


def parse_settings(settings: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """Return the settings of a file, overridden from the environment.

    Raises:
        InvalidSettings: something is missing, unknown or wrong.
    """
    merged = {name: value for name, value in settings.items() if not _FOREIGN.fullmatch(name)}
    options = {name for name in merged if _OPTION.fullmatch(name)}
    known = {node.name for node in _SCHEMA.children} | options
    variables = {_variable(name): name for name in known}
    problems = dict.fromkeys(merged.keys() - known, "there is no such setting")
    for variable in (name for name in environ if name.startswith(ENVIRONMENT_PREFIX)):
        if variable in variables:
            merged[variables[variable]] = environ[variable]
        else:
            problems[variable] = "there is no such setting"
    try:
        values = _SCHEMA.deserialize({name: merged[name] for name in merged.keys() & known - options})
        problems |= _contradictions(values)
    except colander.Invalid as invalid:
        problems |= invalid.asdict()
    if problems:
        lines = (f"  {name}: {problem}" for name, problem in sorted(problems.items()))
        raise InvalidSettings("\n".join(["these settings can't be used:", *lines]))
    values["development.provider_listen"] = _provider_listen(values)
    values["logging.format"] = values["logging.format"] or (
        "text" if values["development"] else "mozlog"
    )
    values["authenticator_options"] = {name: merged[name] for name in options}
    return Settings(**{name.replace(".", "_"): value for name, value in values.items()})


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + re.sub(r"[^A-Z0-9]", "_", name.upper())


def _provider_listen(values: Mapping[str, Any]) -> tuple[str, int] | None:
    listen = values["development.provider_listen"] or PROVIDER_LISTEN
    return listen if values["development"] and listen != OFF else None


def _contradictions(values: Mapping[str, Any]) -> dict[str, str]:
    problems = {}
    if values["keyring.path"] is None and not values["development"]:
        problems["keyring.path"] = "needed, unless development = true"
    if values["development.provider_listen"] not in (None, OFF) and not values["development"]:
        problems["development.provider_listen"] = "only with development = true: it vouches for anybody"
    if values["backend.url"] and values["backend.url_file"]:
        problems["backend.url_file"] = "not together with backend.url"
    if values["backend.read_url"] and values["backend.read_url_file"]:
        problems["backend.read_url_file"] = "not together with backend.read_url"
    for name in ("backend.read_url", "backend.read_url_file"):
        if values[name] and values["backend"] == "memory":
            problems[name] = "not with backend = memory, which has no replicas"
    if values["key_service"] == "transit" and not values["transit.url"]:
        problems["transit.url"] = "needed for key_service = transit"
    if values["transit.url"] and not values["transit.token_file"]:
        problems["transit.token_file"] = "needed for transit.url"
    pixels = values["ratelimit.pixels_per_email"]
    largest = max(values["pictures.max_pixels_jpeg"], values["pictures.max_pixels_other"])
    if pixels and pixels.amount < largest:
        problems["ratelimit.pixels_per_email"] = "must let the largest picture pass"
    return problems


class _Type:
    """A setting read from a string by a function that raises ValueError with the reason."""

    def __init__(self, read: Any) -> None:
        self._read = read

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        if cstruct is colander.null or not cstruct.strip():
            return colander.null
        try:
            return self._read(cstruct.strip())
        except ValueError as error:
            raise colander.Invalid(node, str(error)) from None


def _boolean(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value == "true"


def _whole(least: int, most: int) -> Any:
    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", value) or not least <= int(value) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(value)

    return read


def _words(read: Any) -> Any:
    return lambda value: tuple(dict.fromkeys(read(word) for word in value.split()))


def _origin(value: str) -> str:
    """Read an origin; its default port is left away, as in what browsers send (RFC 6454, 6.2)."""
    match = _ORIGIN.fullmatch(value.lower())
    if match is None:
        raise ValueError("must be origins such as https://profiles.example.com, without a path")
    scheme, host, port = match.groups()
    default = {"http": ":80", "https": ":443"}[scheme]
    return f"{scheme}://{host}{'' if port in (None, default) else port}"


def _transit_url(value: str) -> str:
    """Read an address that is not spoken to in the clear, unless that stays on this machine."""
    if not re.match(r"https://|http://(127\.0\.0\.1|localhost|\[::1\])(:|/|$)", value):
        raise ValueError("must begin with https://, or http:// for an agent on this machine")
    return value


def _address(value: str) -> tuple[str, int]:
    """Read host and port of one interface of this machine."""
    match = re.fullmatch(r"([0-9.]+|\[[0-9a-f:]+\]):([1-9][0-9]{0,4})", value)
    if match is None or int(match[2]) > 65535:
        raise ValueError("must be the IP address and port of one interface, such as 127.0.0.1:9464")
    return match[1].strip("[]"), int(match[2])


def _loopback(value: str) -> tuple[str, int] | str:
    """Read host and port of an interface that this machine alone reaches, or `off`."""
    if value == OFF:
        return OFF
    host, port = _address(value)
    if not re.fullmatch(r"127(\.[0-9]{1,3}){3}", host):
        raise ValueError("must be off, or an address of loopback such as 127.0.0.1:6544")
    return host, port


def _rate_limit_url(value: str) -> str:
    """Read where rate limits are counted."""
    if not re.fullmatch(r"off|memory://|(redis|rediss|redis\+unix)://\S+", value):
        raise ValueError("must be off, memory://, or begin with redis://, rediss:// or redis+unix://")
    return value


def _rate_limit(value: str) -> RateLimitItem | None:
    """Read a limit in the notation of the library `limits`."""
    if value == "off":
        return None
    try:
        [limit] = parse_many(value)
    except ValueError:
        raise ValueError("must be off, or such as 300/minute or 2000/6hour") from None
    if not 1 <= limit.amount <= MAX_RATE_AMOUNT or not 1 <= limit.get_expiry() <= MAX_RATE_SECONDS:
        raise ValueError(f"must be from 1 to {MAX_RATE_AMOUNT}, in up to {MAX_RATE_SECONDS} seconds")
    return limit


def _domain(value: str) -> str:
    try:
        return canonical_domain(value)
    except InvalidDomain:
        raise ValueError("must be domain names") from None


def _one_of(choices: tuple[str, ...]) -> Any:
    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be of {', '.join(choices)}")
        return value

    return read


def _setting(name: str, read: Any, default: Any = None) -> Any:
    return colander.SchemaNode(_Type(read), name=name, missing=default)


_SCHEMA: Final = colander.SchemaNode(
    colander.Mapping(),
    _setting("development", _boolean, False),
    _setting("development.folder", Path, Path("var")),
    _setting("development.provider_listen", _loopback),
    _setting("backend", str, "memory"),
    _setting("backend.url", str),
    _setting("backend.url_file", Path),
    _setting("backend.read_url", str),
    _setting("backend.read_url_file", Path),
    _setting("keyring.path", Path),
    _setting("key_service", _one_of(KEY_SERVICES), KEY_SERVICES[0]),
    _setting("key_service.cache_seconds", _whole(1, 24 * 3600), 300),
    _setting("key_service.cache_keys", _whole(1, 10_000_000), 10_000),
    _setting("transit.url", _transit_url),
    _setting("transit.key", str, "persona-profile"),
    _setting("transit.mount", str, "transit"),
    _setting("transit.namespace", str),
    _setting("transit.token_file", Path),
    _setting("transit.ca_file", Path),
    _setting("transit.timeout_seconds", _whole(1, 60), 2),
    _setting("public_origins", _words(_origin), colander.required),
    _setting("dialog_origins", _words(_origin), ()),
    _setting("authenticators", _words(str), AUTHENTICATORS),
    _setting("browserid.algorithms", _words(_one_of(BROWSERID_ALGORITHMS)), BROWSERID_ALGORITHMS),
    _setting("browserid.pinned_issuers", Path),
    _setting("browserid.fallback_issuers", _words(_domain), ()),
    _setting("browserid.clock_skew_seconds", _whole(0, MAX_BROWSERID_SKEW_SECONDS), 60),
    _setting("openid.issuers", Path),
    _setting("openid.clock_skew_seconds", _whole(0, MAX_OPENID_SKEW_SECONDS), 60),
    _setting("openid.nonce_lifetime_seconds", _whole(60, 3600), 600),
    _setting("sessions.lifetime", _whole(60, MAX_SESSION_SECONDS), 3600),
    _setting("pictures.max_bytes", _whole(1024, 200 * 1024 * 1024), MAX_PICTURE_BYTES),
    _setting("pictures.max_pixels_jpeg", _whole(1, 1_000_000_000), JPEG_PIXELS),
    _setting("pictures.max_pixels_other", _whole(1, 1_000_000_000), OTHER_PIXELS),
    _setting("pictures.formats", _words(_one_of(FORMATS)), FORMATS),
    _setting("pictures.effort", _one_of(EFFORTS), DEFAULT_EFFORT),
    _setting("pictures.quality_avif", _whole(1, 100), DEFAULT_QUALITIES["avif"]),
    _setting("pictures.quality_webp", _whole(1, 100), DEFAULT_QUALITIES["webp"]),
    _setting("pictures.quality_jpeg", _whole(1, 100), DEFAULT_QUALITIES["jpeg"]),
    _setting("pictures.workers", _whole(1, 256), 2),
    _setting("pictures.max_queued", _whole(0, 1024), 2),
    _setting("pictures.max_wait_seconds", _whole(0, 60), 3),
    _setting("pictures.worker_memory_mib", _whole(64, 65536), 864),
    _setting("pictures.max_cpu_seconds", _whole(1, 600), 10),
    _setting("pictures.deadline_seconds", _whole(1, 600), 30),
    _setting("pictures.url_window_seconds", _whole(60, 90 * 24 * 3600), 24 * 3600),
    _setting("metrics.listen", _address),
    _setting("logging.format", _one_of(LOG_FORMATS)),
    _setting("logging.level", _one_of(LOG_LEVELS), "info"),
    _setting("shutdown.drain_seconds", _whole(0, 600), 0),
    _setting("shutdown.grace_seconds", _whole(0, 3600), 30),
    _setting("version.path", Path),
    _setting("ratelimit.url", _rate_limit_url),
    _setting("ratelimit.timeout_ms", _whole(1, 10_000), 100),
    _setting("ratelimit.sessions_per_address", _rate_limit, RateLimitItemPerMinute(300)),
    _setting("ratelimit.failures_per_address", _rate_limit, RateLimitItemPerMinute(6_000)),
    _setting("ratelimit.proofs_per_issuer", _rate_limit, RateLimitItemPerMinute(12_000)),
    _setting("ratelimit.bytes_per_address", _rate_limit, RateLimitItemPerMinute(100_000_000)),
    _setting("ratelimit.bytes_per_email", _rate_limit, RateLimitItemPerMinute(20_000_000)),
    _setting("ratelimit.writes_per_email", _rate_limit, RateLimitItemPerMinute(60)),
    _setting("ratelimit.pixels_per_email", _rate_limit, RateLimitItemPerHour(1_000_000_000)),
    _setting("ratelimit.picture_ms_per_email", _rate_limit, RateLimitItemPerHour(60_000)),
    _setting("ratelimit.picture_ms_per_issuer", _rate_limit, RateLimitItemPerMinute(600_000, 10)),
    _setting("ratelimit.picture_ms_per_address", _rate_limit, RateLimitItemPerMinute(120_000, 10)),
    _setting("ratelimit.reads_per_picture", _rate_limit, RateLimitItemPerMinute(120)),
)
