"""Settings of the `.ini` file and the environment, read by one Colander schema.

An environment variable may override a setting: `PERSONA_BACKEND_URL` overrides `backend.url`. All
errors are reported at once, by the names of settings, never with their values, which may be secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import colander
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute

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
from persona_profile.setting_values import (
    OFF,
    address,
    boolean,
    collector,
    dns_server,
    domain,
    domain_pattern,
    loopback,
    one_of,
    origin,
    rate_limit,
    rate_limit_url,
    ratio,
    service_name,
    transit_url,
    whole,
    words,
)

KEY_SERVICES: Final = ("keyring", "transit")
"""The services that can wrap the data keys of emails."""

DEVELOPMENT_LISTEN: Final = {
    "development.provider_listen": ("127.0.0.1", 6544),
    "development.issuer_listen": ("127.0.0.1", 6545),
}
"""The default addresses of a development server's providers."""

BROWSERID_ALGORITHMS: Final = ("RS256", "DS128", "DS256")

AUTHENTICATORS: Final = ("browserid", "openid", "evp")
"""The default of `authenticators`; entry points have the names of all."""


ENVIRONMENT_PREFIX: Final = "PERSONA_"

SERVER_VARIABLES: Final = {
    f"PERSONA_{name.upper()}": name
    for name in ("listen", "threads", "trusted_proxy", "trusted_proxy_count", "trusted_proxy_headers")
}
"""Variables that override settings of [server:main]."""

_ONE_OF_TWO: Final = {
    *("backend.url", "backend.url_file", "backend.read_url", "backend.read_url_file"),
    *("ledger.url", "ledger.url_file"),
}
MAX_PICTURE_BYTES: Final = 20 * 1024 * 1024
JPEG_PIXELS: Final = 100_000_000
OTHER_PIXELS: Final = 50_000_000
_MIB: Final = 1024 * 1024

# Settings of Pyramid, and the place of the file, which PasteDeploy adds.
_FOREIGN = re.compile(r"pyramid\..*|here|__file__")
_NAME = re.compile(r"[a-z][a-z0-9_.]{0,63}")
# Settings of third parties' authenticators.
_OPTION = re.compile(r"authenticator\.[a-z0-9_.]+")
# What Kubernetes sets in each container for each service; only the first names the service for sure.
_SERVICE_HOST = re.compile(r"PERSONA(_[A-Z0-9_]+)?_SERVICE_HOST")
_OF_A_SERVICE = (
    r"_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
)
# Groups of settings: the attribute `backend_url` is the setting `backend.url`.
_GROUP = re.compile(
    "^(backend|browserid|development|evp|key_service|keyring|ledger|logging|metrics|openid|pictures|ratelimit"
    "|sessions|shutdown|traces|transit|version)_"
)


class InvalidSettings(Exception):
    """The settings can't be used; the message has a line for each wrong setting."""


class _Type:
    """A Colander type whose values are read by a function that raises ValueError with the reason."""

    def __init__(self, read: Any) -> None:
        self._read = read

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        if cstruct is colander.null or not cstruct.strip():
            return colander.null
        try:
            return self._read(cstruct.strip())
        except ValueError as error:
            raise colander.Invalid(node, str(error)) from None


def _setting(read: Any, default: Any = None) -> Any:
    """Return the field of a setting: the function that reads it, and its default."""
    return field(metadata={"typ": _Type(read), "missing": default})


def _per_minute(amount: int, minutes: int = 1) -> Any:
    return _setting(rate_limit, RateLimitItemPerMinute(amount, minutes))


def _per_hour(amount: int) -> Any:
    return _setting(rate_limit, RateLimitItemPerHour(amount))


_Limit = RateLimitItem | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The decisions of an operator; `production.ini` explains each, with unit, default and reason."""

    development: bool = _setting(boolean, False)
    development_folder: Path = _setting(Path, Path("var"))
    development_provider_listen: tuple[str, int] | None = _setting(loopback)
    development_issuer_listen: tuple[str, int] | None = _setting(loopback)
    backend: str = _setting(str, "memory")
    backend_url: str | None = _setting(str)
    backend_url_file: Path | None = _setting(Path)
    backend_read_url: str | None = _setting(str)
    backend_read_url_file: Path | None = _setting(Path)
    keyring_path: Path | None = _setting(Path)
    keyring_group_readable: bool = _setting(boolean, False)
    ledger_backend: str | None = _setting(str)
    ledger_url: str | None = _setting(str)
    ledger_url_file: Path | None = _setting(Path)
    ledger_keep_days: int = _setting(whole(1, 3650), 35)
    ledger_keep_acts_days: int = _setting(whole(1, 3650), 1095)
    key_service: str = _setting(one_of(KEY_SERVICES), KEY_SERVICES[0])
    key_service_cache_seconds: int = _setting(whole(1, 24 * 3600), 300)
    key_service_cache_keys: int = _setting(whole(1, 10_000_000), 10_000)
    transit_url: str | None = _setting(transit_url)
    transit_key: str = _setting(str, "persona-profile")
    transit_mount: str = _setting(str, "transit")
    transit_namespace: str | None = _setting(str)
    transit_token_file: Path | None = _setting(Path)
    transit_ca_file: Path | None = _setting(Path)
    transit_timeout_seconds: int = _setting(whole(1, 60), 2)
    public_origins: tuple[str, ...] = _setting(words(origin), colander.required)
    dialog_origins: tuple[str, ...] = _setting(words(origin), ())
    authenticators: tuple[str, ...] = _setting(words(str), AUTHENTICATORS)
    browserid_algorithms: tuple[str, ...] = _setting(
        words(one_of(BROWSERID_ALGORITHMS)), BROWSERID_ALGORITHMS
    )
    browserid_pinned_issuers: Path | None = _setting(Path)
    browserid_fallback_issuers: tuple[str, ...] = _setting(words(domain), ())
    browserid_clock_skew_seconds: int = _setting(whole(0, MAX_BROWSERID_SKEW_SECONDS), 60)
    openid_issuers: Path | None = _setting(Path)
    openid_clock_skew_seconds: int = _setting(whole(0, MAX_OPENID_SKEW_SECONDS), 60)
    openid_nonce_lifetime_seconds: int = _setting(whole(60, 3600), 600)
    evp_domains: tuple[str, ...] = _setting(words(domain_pattern), ())
    evp_denied_domains: tuple[str, ...] = _setting(words(domain_pattern), ())
    evp_dns: tuple[tuple[str, int], ...] = _setting(words(dns_server), ())
    evp_dnssec: bool = _setting(boolean, False)
    sessions_lifetime: int = _setting(whole(60, MAX_SESSION_SECONDS), 3600)
    pictures_max_bytes: int = _setting(whole(1024, 200 * 1024 * 1024), MAX_PICTURE_BYTES)
    pictures_max_pixels_jpeg: int = _setting(whole(1, 1_000_000_000), JPEG_PIXELS)
    pictures_max_pixels_other: int = _setting(whole(1, 1_000_000_000), OTHER_PIXELS)
    pictures_formats: tuple[str, ...] = _setting(words(one_of(FORMATS)), FORMATS)
    pictures_effort: str = _setting(one_of(EFFORTS), DEFAULT_EFFORT)
    pictures_quality_avif: int = _setting(whole(1, 100), DEFAULT_QUALITIES["avif"])
    pictures_quality_webp: int = _setting(whole(1, 100), DEFAULT_QUALITIES["webp"])
    pictures_quality_jpeg: int = _setting(whole(1, 100), DEFAULT_QUALITIES["jpeg"])
    pictures_workers: int = _setting(whole(1, 256), 2)
    pictures_max_queued: int = _setting(whole(0, 1024), 2)
    pictures_max_wait_seconds: int = _setting(whole(0, 60), 3)
    pictures_worker_memory_mib: int = _setting(whole(64, 65536), 864)
    pictures_max_cpu_seconds: int = _setting(whole(1, 600), 10)
    pictures_deadline_seconds: int = _setting(whole(1, 600), 30)
    pictures_url_window_seconds: int = _setting(whole(60, 90 * 24 * 3600), 24 * 3600)
    metrics_listen: tuple[str, int] | None = _setting(address)
    logging_format: str = _setting(one_of(LOG_FORMATS))
    logging_level: str = _setting(one_of(LOG_LEVELS), "info")
    shutdown_drain_seconds: int = _setting(whole(0, 600), 0)
    shutdown_grace_seconds: int = _setting(whole(0, 3600), 30)
    traces_endpoint: str | None = _setting(collector)
    traces_service_name: str = _setting(service_name, "persona-profile")
    traces_sampling_ratio: float = _setting(ratio, 0.05)
    version_path: Path | None = _setting(Path)
    ratelimit_url: str | None = _setting(rate_limit_url)
    ratelimit_timeout_ms: int = _setting(whole(1, 10_000), 100)
    ratelimit_sessions_per_address: _Limit = _per_minute(300)
    ratelimit_failures_per_address: _Limit = _per_minute(6_000)
    ratelimit_proofs_per_issuer: _Limit = _per_minute(12_000)
    ratelimit_bytes_per_address: _Limit = _per_minute(100_000_000)
    ratelimit_bytes_per_email: _Limit = _per_minute(20_000_000)
    ratelimit_writes_per_email: _Limit = _per_minute(60)
    ratelimit_pixels_per_email: _Limit = _per_hour(1_000_000_000)
    ratelimit_picture_ms_per_email: _Limit = _per_hour(60_000)
    ratelimit_picture_ms_per_issuer: _Limit = _per_minute(600_000, 10)
    ratelimit_picture_ms_per_address: _Limit = _per_minute(120_000, 10)
    ratelimit_reads_per_picture: _Limit = _per_minute(120)
    authenticator_options: Mapping[str, str]

    @property
    def picture_options(self) -> PictureOptions:
        """The limits of decoding and the options of encoding pictures."""
        jpeg, other = self.pictures_max_pixels_jpeg, self.pictures_max_pixels_other
        qualities = {name: getattr(self, f"pictures_quality_{name}") for name in FORMATS}
        return PictureOptions(
            Limits(jpeg, other, self.pictures_worker_memory_mib * _MIB),
            Encoding(self.pictures_formats, qualities, self.pictures_effort),
        )

    @property
    def picture_url_seconds(self) -> int:
        """The longest time for which the URL of a picture works."""
        return 2 * self.pictures_url_window_seconds

    @property
    def ledger_keep_seconds(self) -> int:
        """The time for which an entry of the ledger is kept."""
        return self.ledger_keep_days * 24 * 3600

    @property
    def ledger_keep_acts_seconds(self) -> int:
        """The time for which an operator's act is kept."""
        return self.ledger_keep_acts_days * 24 * 3600

    @property
    def forward_seconds(self) -> int:
        """The time for which the forward of a moved profile is kept."""
        return max(MIN_FORWARD_SECONDS, self.picture_url_seconds)


def changed_limits(settings: Settings) -> list[str]:
    """Return the limits of pictures, requests and rates that are not the defaults: `name = value`."""
    changed = []
    for each in fields(Settings):
        value = getattr(settings, each.name)
        is_limit = each.name.startswith(("pictures_", "ratelimit_")) and each.name != "ratelimit_url"
        if is_limit and value != each.metadata["missing"]:
            words = value if isinstance(value, tuple) else ["off" if value is None else str(value)]
            changed.append(f"{_name(each.name)} = {' '.join(words)}")
    return changed


def _name(attribute: str) -> str:
    """Return the name of a setting: a dot follows its group."""
    return _GROUP.sub(r"\1.", attribute)


_SCHEMA: Final = {
    _name(each.name): colander.SchemaNode(name=_name(each.name), **each.metadata)
    for each in fields(Settings)
    if each.metadata
}

NAMES: Final = frozenset(_SCHEMA)


def parse_settings(settings: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """Return the settings of a file, overridden from the environment, or raise `InvalidSettings`."""
    parsed, problems = read_settings(settings, environ)
    if problems:
        lines = (f"  {name}: {problem}" for name, problem in sorted(problems.items()))
        raise InvalidSettings("\n".join(["these settings can't be used:", *lines]))
    return parsed


def read_settings(
    settings: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[Settings, dict[str, str]]:
    """Return the settings as `parse_settings` does, and the problems by the names of settings.

    Settings with problems may have their defaults.
    """
    given, problems = _merge(settings, environ)
    values, invalid = _deserialize(given)
    problems |= invalid or _contradictions(values)
    for name, default in DEVELOPMENT_LISTEN.items():
        values[name] = _development_listen(values, name, default)
    values["logging.format"] = values["logging.format"] or (
        "text" if values["development"] else "mozlog"
    )
    values["authenticator_options"] = {name: given[name] for name in given.keys() - NAMES}
    return Settings(**{name.replace(".", "_"): value for name, value in values.items()}), problems


def _merge(
    settings: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the known settings of a file and the environment, and the problems of unknown ones."""
    merged = {name: value for name, value in settings.items() if not _FOREIGN.fullmatch(name)}
    for name in _ONE_OF_TWO & merged.keys():
        # A variable replaces the file's setting, in either form.
        other = name.removesuffix("_file") if name.endswith("_file") else f"{name}_file"
        if _variable(other) in environ and _variable(name) not in environ:
            del merged[name]
    known = NAMES | {name for name in merged if _OPTION.fullmatch(name)}
    variables = {_variable(name): name for name in known}
    # A name of other characters may be a part of a value that lost its indentation.
    unknown = {name if _NAME.fullmatch(name) else "a name" for name in merged.keys() - known}
    problems = dict.fromkeys(unknown, "there is no such setting")
    ours = {name for name in environ if name.startswith(ENVIRONMENT_PREFIX)}
    for variable in ours - SERVER_VARIABLES.keys() - service_variables(environ):
        if variable in variables:
            merged[variables[variable]] = environ[variable]
        else:
            problems[variable] = "there is no such setting"
    return {name: merged[name] for name in merged.keys() & known}, problems


def _deserialize(given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the value of each setting, by default if it is invalid, and the problems of these."""
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, node in _SCHEMA.items():
        try:
            values[name] = node.deserialize(given.get(name, colander.null))
        except colander.Invalid as invalid:
            problems |= invalid.asdict()
            values[name] = () if node.required else node.missing
    return values, problems


def service_variables(environ: Mapping[str, str]) -> set[str]:
    """Return the variables that Kubernetes sets for services whose names begin with `persona`."""
    hosts = [name for name in environ if _SERVICE_HOST.fullmatch(name)]
    services = [re.escape(name.removesuffix("_SERVICE_HOST")) for name in hosts]
    pattern = re.compile(f"({'|'.join(services)})({_OF_A_SERVICE})")
    return {name for name in environ if services and pattern.fullmatch(name)}


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + re.sub(r"[^A-Z0-9]", "_", name.upper())


def _development_listen(
    values: Mapping[str, Any], name: str, default: tuple[str, int]
) -> tuple[str, int] | None:
    listen = values[name] or default
    return listen if values["development"] and listen != OFF else None


def _contradictions(values: Mapping[str, Any]) -> dict[str, str]:
    problems = {}
    if values["keyring.path"] is None and not values["development"]:
        problems["keyring.path"] = "needed, unless development = true"
    if not values["development"]:
        started = [name for name in DEVELOPMENT_LISTEN if values[name] not in (None, OFF)]
        problems |= dict.fromkeys(started, "only with development = true: it vouches for anybody")
    for name in ("backend.url", "backend.read_url", "ledger.url"):
        if values[name] and values[f"{name}_file"]:
            problems[f"{name}_file"] = f"not together with {name}"
    for name in ("backend.read_url", "backend.read_url_file"):
        if values[name] and values["backend"] == "memory":
            problems[name] = "not with backend = memory, which has no replicas"
    problems |= _ledger_contradictions(values)
    if values["key_service"] == "transit" and not values["transit.url"]:
        problems["transit.url"] = "needed for key_service = transit"
    if values["transit.url"] and not values["transit.token_file"]:
        problems["transit.token_file"] = "needed for transit.url"
    pixels = values["ratelimit.pixels_per_email"]
    # Browsers decode JPEG. A file of another format may be sent for its preview, and then again.
    largest = max(values["pictures.max_pixels_jpeg"], 2 * values["pictures.max_pixels_other"])
    if pixels and pixels.amount < largest:
        problems["ratelimit.pixels_per_email"] = "must let the largest picture and its preview pass"
    return problems | _evp_contradictions(values)


def _ledger_contradictions(values: Mapping[str, Any]) -> dict[str, str]:
    problems = {}
    place = values["ledger.url"] or values["ledger.url_file"]
    if place and not values["ledger.backend"]:
        problems["ledger.backend"] = "needed for ledger.url"
    for name in ("url", "url_file"):
        if values[f"ledger.{name}"] and values[f"ledger.{name}"] == values[f"backend.{name}"]:
            problems[f"ledger.{name}"] = f"must not be backend.{name}: a restore would replace it"
    return problems


def _evp_contradictions(values: Mapping[str, Any]) -> dict[str, str]:
    problems = {}
    if values["evp.domains"] and "evp" not in values["authenticators"]:
        problems["evp.domains"] = "needs evp among the authenticators"
    if values["evp.denied_domains"] and not values["evp.domains"]:
        problems["evp.denied_domains"] = "needs evp.domains"
    if values["evp.dnssec"] and not all(ip_address(host).is_loopback for host, _ in values["evp.dns"]):
        problems["evp.dns"] = "must be on loopback for evp.dnssec = true"
    return problems
