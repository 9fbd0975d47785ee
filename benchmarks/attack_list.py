"""The attacks: what one address sends over up to 100 connections."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import random
import socket
import time
from collections.abc import Callable, Iterator

from attack_dns import ANSWERING, FAILING, tokens
from attack_others import ask, ask_nonce, connect
from attack_stage import (
    ATTACKER,
    CONTINUE,
    DIALOG,
    METRICS_PORT,
    SERVER,
    SERVER_V6,
    SLOW,
    SLOW_DOMAINS,
    WILD,
)
from attacking import (
    ANSWER_SECONDS,
    CONNECTIONS,
    EMAILS,
    PAUSE_SECONDS,
    Attack,
    Attacker,
    proofs,
    request,
)
from PIL import Image
from support.pictures.pictures import encode, heic, quadrants
from support.stores.derived import grid, heif, tile

from persona_profile.api.sessions import MAX_BODY_BYTES
from persona_profile.images.formats import THUMBNAIL_SIZES

_UPLOAD_BYTES = 20 * 1024 * 1024


def _again(make: Callable[[Attacker], bytes]) -> Callable[[Attacker, int], None]:
    """Return an attack that sends one request again and again."""
    return lambda attacker, _number: attacker.repeat(itertools.repeat(make(attacker)))


def _post(body: Callable[[], bytes]) -> Callable[[Attacker, int], None]:
    made = request("POST", "/v1/sessions", body(), "Content-Type: application/json")
    return _again(lambda _attacker: made)


# --- Bodies ---


def _filled(start: bytes, piece: Callable[[int], bytes], end: bytes) -> Callable[[], bytes]:
    """Return a maker of a body as large as sign-ins may be, of as many pieces as fit."""

    def make() -> bytes:
        count = (MAX_BODY_BYTES - len(start) - len(end)) // (len(piece(0)) + 1)
        return start + b",".join(piece(number) for number in range(count)) + end

    return make


_unknown_members = _filled(b"{", lambda number: b'"%05d":0' % number, b"}")
_wrong_proofs = _filled(b'{"proofs":[', lambda _: b'{"assertion":1,"id_token":2}', b"]}")
_numbers = _filled(b'{"proofs":[', lambda _: b"1e9", b"]}")


def _deep() -> bytes:
    depth = MAX_BODY_BYTES // 2 - 10
    return b'{"proofs":' + b"[" * depth + b"]" * depth + b"}"


# --- Sign-ins ---


def _sign_ins(domains, count: int) -> Callable[[Attacker, int], None]:
    """Return an attack by proofs whose issuers have to be looked up, `count` in each request."""

    def run(attacker: Attacker, number: int) -> None:
        own = itertools.cycle(domains[number::CONNECTIONS] or domains)

        def requests() -> Iterator[bytes]:
            while True:
                emails = [f"mallory@{next(own)}" for _ in range(count)]
                yield request("POST", "/v1/sessions", proofs(emails), "Content-Type: application/json")

        attacker.repeat(requests())

    return run


def _token_sign_ins(domains, count: int) -> tuple[Callable, Callable]:
    """Return an attack by tokens of domains whose DNS is asked, `count` in each request.

    All have one nonce, which requests that fail do not use up.
    """

    def prepare(attacker: Attacker) -> None:
        nonce, own = ask_nonce(attacker.target, attacker.address), iter(domains)
        while emails := [f"mallory@{each}" for each in itertools.islice(own, count)]:
            attacker.bodies.append(tokens(emails, nonce))

    def run(attacker: Attacker, number: int) -> None:
        bodies = itertools.cycle(attacker.bodies[number::CONNECTIONS])
        kind = "Content-Type: application/json"
        attacker.repeat(request("POST", "/v1/sessions", body, kind) for body in bodies)

    return run, prepare


def _forged_addresses(attacker: Attacker, number: int) -> None:
    """Come from the trusted proxy, with another port of an address in each request."""
    body, source = proofs([f"mallory@{ATTACKER}"] * 20), random.Random(number)

    def requests() -> Iterator[bytes]:
        while True:
            client = f"X-Forwarded-For: [2001:db8::1]:{source.randrange(1024, 65536)}"
            more = ("Content-Type: application/json", client, "X-Forwarded-Proto: https")
            yield request("POST", "/v1/sessions", body, *more)

    attacker.repeat(requests(), "127.0.0.1", "127.0.0.1")


# --- Pictures ---


def _upload(make: Callable[[], bytes]) -> tuple[Callable, Callable]:
    """Return an attack by uploads of a file, in turns for all emails; and what it has to do before."""

    def prepare(attacker: Attacker) -> None:
        attacker.sign_in()
        attacker.file = make()

    def run(attacker: Attacker, number: int) -> None:
        def requests() -> Iterator[bytes]:
            for email in itertools.cycle(EMAILS[number % 20 :] + EMAILS[: number % 20]):
                more = (f"Authorization: Bearer {attacker.token}", "Content-Type: image/jpeg")
                yield request("PUT", f"/v1/profiles/{email}/picture", attacker.file, *more)

        attacker.repeat(requests())

    return run, prepare


def _large_tiles() -> bytes:
    return heif([grid(8, 8, range(2, 66), (64, 64)), *[tile("HEIC", 4096)] * 64])


def _empty_segments() -> bytes:
    scene = encode(quadrants())
    return scene[:2] + b"\xff\xe1\0\2" * ((_UPLOAD_BYTES - len(scene)) // 4) + scene[2:]


def _largest_picture() -> bytes:
    return encode(Image.effect_noise((1000, 1000), 80).resize((9990, 9990)).convert("RGB"), quality=30)


def _noise(make=encode) -> Callable[[], bytes]:
    return lambda: make(Image.effect_noise((2400, 2400), 80).convert("RGB"))


def _spool(*headers: str, network: bool = False) -> Callable[[Attacker, int], None]:
    """Return an attack that sends 20 MB for a picture, without the right to."""

    def run(attacker: Attacker, number: int) -> None:
        source = f"{attacker.network}:{number:x}" if network else attacker.address
        server = SERVER_V6 if network else SERVER
        head = request("PUT", f"/v1/profiles/{EMAILS[0]}/picture", b"", *headers)
        head = head.replace(b"Content-Length: 0", b"Content-Length: %d" % _UPLOAD_BYTES)
        piece = bytes(256 * 1024)
        while not attacker.is_over:
            try:
                with connect(attacker.target, source, ANSWER_SECONDS, server) as wire:
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        wire.sendall(head)
                        for _ in range(_UPLOAD_BYTES // len(piece)):
                            wire.sendall(piece)
                    attacker.answer(wire)
            except (OSError, http.client.HTTPException) as error:
                attacker.count(type(error).__name__)
                time.sleep(PAUSE_SECONDS)

    return run


# --- Connections ---


def _drip(start: bytes, drop: bytes, port: int = 0) -> Callable[[Attacker, int], None]:
    """Return an attack that sends the beginning of a request, then a little twice a second."""

    def run(attacker: Attacker, _number: int) -> None:
        while not attacker.is_over:
            try:
                with (
                    socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
                    if port
                    else connect(attacker.target, attacker.address, ANSWER_SECONDS)
                ) as wire:
                    wire.sendall(start)
                    while not attacker.is_over:
                        wire.sendall(drop)
                        time.sleep(0.5)
            except OSError as error:
                attacker.count(type(error).__name__)
                time.sleep(PAUSE_SECONDS)

    return run


def _unread(attacker: Attacker, _number: int) -> None:
    """Send many requests at once, and read no answer."""
    pipelined = request("GET", "/v1/openapi.json") * 100
    while not attacker.is_over:
        try:
            with connect(attacker.target, attacker.address, 2.0) as wire:
                while not attacker.is_over:
                    wire.sendall(pipelined)
        except OSError as error:
            attacker.count(type(error).__name__)
            time.sleep(PAUSE_SECONDS)


def _handshakes(attacker: Attacker, _number: int) -> None:
    while not attacker.is_over:
        try:
            connect(attacker.target, attacker.address, ANSWER_SECONDS).close()
            attacker.count("handshake")
        except OSError as error:
            attacker.count(type(error).__name__)
            time.sleep(PAUSE_SECONDS)


def _page(method: str, path: str, *headers: str) -> Callable[[Attacker, int], None]:
    """Return an attack by a page that has a browser of an office send what needs no preflight."""
    return _again(lambda _: request(method, path, b"", "Sec-Fetch-Site: cross-site", *headers))


def _bearer(attacker: Attacker) -> str:
    return f"Authorization: Bearer {attacker.token}"


def _prepare_pictures(attacker: Attacker) -> None:
    """Give all emails a picture whose renditions are large."""
    attacker.sign_in()
    picture = encode(Image.effect_noise((700, 700), 90).convert("RGB"))
    for email in EMAILS:
        path = f"/v1/profiles/{email}/picture"
        status, _ = ask(
            attacker.target,
            attacker.address,
            "PUT",
            path,
            picture,
            token=attacker.token,
            kind="image/jpeg",
        )
        assert status == 200


_tiles, _segments, _largest, _photos, _heics = (
    _upload(make)
    for make in (
        _large_tiles,
        _empty_segments,
        _largest_picture,
        _noise(),
        _noise(heic),
    )
)

ATTACKS: dict[str, Attack] = {
    "unknown-members": Attack(
        "sign-ins of tens of thousands of unknown members", _post(_unknown_members)
    ),
    "many-proofs": Attack("sign-ins of thousands of wrong proofs", _post(_wrong_proofs)),
    "numbers": Attack("sign-ins of tens of thousands of numbers", _post(_numbers)),
    "deep-json": Attack("sign-ins of nested lists, as deep as fits", _post(_deep)),
    "slow-lookups": Attack("sign-ins of a zone that never answers", _sign_ins(SLOW, 1)),
    "slow-domains": Attack("sign-ins of 8 domains that never answer", _sign_ins(SLOW_DOMAINS, 1)),
    "endless-continue": Attack(
        "sign-ins of a zone that answers `100 Continue` for ever", _sign_ins(CONTINUE, 1)
    ),
    "many-names": Attack("sign-ins of 8,000 names of a zone, 20 each", _sign_ins(WILD, 20)),
    "costly-proofs": Attack("sign-ins of 20 good proofs each", _sign_ins((ATTACKER,), 20)),
    "dns-failures": Attack(
        "tokens of 1,000 domains whose DNS times out, fails, truncates, loops or lies",
        *_token_sign_ins(FAILING, 1),
    ),
    "dns-answers": Attack(
        "tokens of 6,000 domains, 20 each, whose DNS answers 10 kB, a chain, or changes",
        *_token_sign_ins(ANSWERING, 20),
    ),
    "forged-addresses": Attack(
        "sign-ins by a trusted proxy that passes on `[IPv6]:port`", _forged_addresses, only="alone"
    ),
    "heif-tiles": Attack(
        "uploads of a HEIF of 64 x 64 made of 64 tiles of 4,096 x 4,096, 13 kB", *_tiles
    ),
    "jpeg-segments": Attack("uploads of a JPEG of 5 million empty segments", *_segments),
    "largest-jpeg": Attack("uploads of a JPEG of 100 megapixels", *_largest),
    "photos": Attack("uploads of noise, 5.8 megapixels", *_photos),
    "heics": Attack("uploads of noise as HEIC, 5.8 megapixels", *_heics),
    "spool-without-token": Attack("bodies of 20 MB for pictures, without a token", _spool()),
    "spool-wrong-token": Attack(
        "bodies of 20 MB for pictures, with a wrong token", _spool("Authorization: Bearer x")
    ),
    "spool-ipv6-network": Attack(
        "the same from 100 addresses of a /64", _spool("Authorization: Bearer x", network=True)
    ),
    "large-thumbnails": Attack(
        "reads of 20 profiles with the largest thumbnails",
        _again(
            lambda attacker: request(
                "GET", f"/v1/profiles?thumbnails={THUMBNAIL_SIZES[-1]}", b"", _bearer(attacker)
            )
        ),
        _prepare_pictures,
    ),
    "exports": Attack(
        "exports of 20 emails",
        lambda attacker, number: attacker.repeat(
            itertools.repeat(
                request("GET", f"/v1/profiles/{EMAILS[number % 20]}/export", b"", _bearer(attacker))
            )
        ),
        _prepare_pictures,
    ),
    "writes": Attack(
        "changes of 20 emails",
        lambda attacker, number: attacker.repeat(
            itertools.repeat(
                request(
                    "PATCH",
                    f"/v1/profiles/{EMAILS[number % 20]}",
                    b'{"name": "Mallory"}',
                    _bearer(attacker),
                    "Content-Type: application/json",
                )
            )
        ),
        Attacker.sign_in,
    ),
    "cross-site-nonces": Attack(
        "a page of another site, in a browser of an office, asks for nonces",
        _page("POST", "/v1/nonces", "Origin: https://evil.example"),
        shares_office=True,
    ),
    "cross-site-images": Attack(
        "a page of another site, in a browser of an office, shows images of this server",
        _page("GET", "/v1/", "Sec-Fetch-Dest: image", "Referer: https://evil.example/"),
        shares_office=True,
    ),
    "root": Attack("`GET /v1/`", _again(lambda _: request("GET", "/v1/"))),
    "openapi": Attack("`GET /v1/openapi.json`", _again(lambda _: request("GET", "/v1/openapi.json"))),
    "wrong-tokens": Attack(
        "reads with a token of 12,000 characters that opens nothing",
        _again(lambda _: request("GET", "/v1/profiles", b"", f"Authorization: Bearer {'x' * 12_000}")),
    ),
    "preflights": Attack(
        "preflights",
        _again(
            lambda _: request(
                "OPTIONS",
                "/v1/sessions",
                b"",
                f"Origin: {DIALOG}",
                "Access-Control-Request-Method: POST",
            )
        ),
    ),
    "expect-continue": Attack(
        "`Expect: 100-continue` without a body",
        _again(
            lambda _: request("GET", "/v1/", b"", "Expect: 100-continue").replace(
                b"Content-Length: 0\r\n", b""
            )
        ),
    ),
    "slow-heads": Attack(
        "heads of requests, some bytes twice a second", _drip(b"GET /v1/ HTTP/1.1\r\n", b"X: y\r\n")
    ),
    "slow-bodies": Attack(
        "bodies, a byte twice a second",
        _drip(request("POST", "/v1/sessions").replace(b"h: 0", b"h: 500000"), b" "),
    ),
    "unread-answers": Attack("100 requests at once, again and again; answers are not read", _unread),
    "handshakes": Attack("TLS handshakes", _handshakes, only="nginx"),
    "metrics-drip": Attack(
        "heads of requests to `metrics.listen`, from within the machine",
        _drip(b"GET /metrics HTTP/1.1\r\n", b"X: y\r\n", METRICS_PORT),
        only="alone",
    ),
}
