"""TXT lookups against a real server, which answers well, badly, late or not at all."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dns.name
import dns.rcode
import dns.resolver
import pytest
from support.servers.applications import wait_for
from support.servers.dns import (
    chain,
    code,
    cut_short,
    dns_server,
    garbage,
    of_another_question,
    over_tcp_alone,
    silent,
    truncated,
    txt,
    unanswered_port,
)

from persona_profile.auth.dns_records import DnsFailed, DnsResolver, TxtAnswer
from persona_profile.auth.lookups import Lookups, caused_by
from persona_profile.errors import Overloaded
from persona_profile.runtime.waiting import WaitingBudget

RECORD = b"iss=issuer.mail.test"
LIFETIME = 0.6


@pytest.fixture
def server():
    """A DNS server without zones."""
    with dns_server() as found:
        yield found


@pytest.fixture
def resolver(server):
    """A resolver that asks the server, in a shorter time than in production."""
    return DnsResolver([("127.0.0.1", server.port)], lifetime_seconds=LIFETIME)


def ask(resolver, domain="mail.test"):
    """Look the record of a domain up."""
    return resolver.txt(f"_email-verification.{domain}", domain)


def test_record(server, resolver):
    """A record comes with its TTL."""
    server.put("mail.test", txt(b"v=spf1 -all", RECORD, ttl=77))
    answer = ask(resolver)
    assert (set(answer.records), answer.ttl) == ({b"v=spf1 -all", RECORD}, 77)
    assert server.asked_for("mail.test") == ["udp"]


def test_strings_are_joined(server, resolver):
    """The strings of one record are one text."""
    server.put("mail.test", txt(b"iss=" + b"a" * 600))
    assert ask(resolver).records == (b"iss=" + b"a" * 600,)


@pytest.mark.parametrize("answer", [code(dns.rcode.NXDOMAIN), code(dns.rcode.NOERROR)])
def test_no_record(server, resolver, answer):
    """A name that does not exist, or has no TXT, has no records."""
    server.put("mail.test", answer)
    assert ask(resolver) == TxtAnswer((), ask(resolver).ttl)


def test_truncation(server, resolver):
    """Ten kilobytes of TXT arrive over TCP."""
    records = [b"x" * 250 + b"%d" % number for number in range(40)]
    server.put("mail.test", txt(RECORD, *records))
    assert set(ask(resolver).records) == {RECORD, *records}
    assert server.asked_for("mail.test") == ["udp", "tcp"]


@pytest.mark.parametrize("length", [1, 8, 15])
def test_chain(server, resolver, length):
    """The records at the end of CNAMEs count, for the shortest TTL of the chain."""
    server.put("mail.test", chain(length, RECORD))
    assert (ask(resolver).records, ask(resolver).ttl) == ((RECORD,), 30)


def test_another_name(server, resolver):
    """Records of another name than was asked are no records of that name."""
    server.put("mail.test", txt(RECORD, name="_email-verification.other.test."))
    assert ask(resolver).records == ()


@pytest.mark.parametrize("is_signed", [False, True])
def test_authenticated(server, resolver, is_signed):
    """The AD flag of the resolver is passed on."""
    server.put("mail.test", txt(RECORD, is_signed=is_signed))
    assert ask(resolver).is_authenticated is is_signed


FAILURES = {
    "silent": silent,
    "SERVFAIL": code(dns.rcode.SERVFAIL),
    "REFUSED": code(dns.rcode.REFUSED),
    "FORMERR": code(dns.rcode.FORMERR),
    "NOTIMP": code(dns.rcode.NOTIMP),
    "garbage": garbage,
    "half of a message": cut_short(RECORD),
    "a question that nobody asked": of_another_question(RECORD),
    "silent over TCP": over_tcp_alone(silent),
    "truncated over TCP too": over_tcp_alone(truncated),
    "SERVFAIL over TCP": over_tcp_alone(code(dns.rcode.SERVFAIL)),
    "a loop": chain(3, is_loop=True),
    "a chain without end": chain(200, RECORD),
}


@pytest.mark.parametrize("answer", FAILURES.values(), ids=FAILURES.keys())
def test_failures(server, resolver, answer):
    """A lookup without a valid answer fails within its lifetime."""
    server.put("mail.test", answer)
    began = time.monotonic()
    with pytest.raises(DnsFailed):
        ask(resolver)
    assert time.monotonic() - began < LIFETIME + 0.5
    assert len(server.asked_for("mail.test")) < 12


def test_drip(server, resolver):
    """An answer that comes byte by byte fails within the lifetime."""
    server.put("mail.test", over_tcp_alone(txt(RECORD, b"x" * 5000)))
    server.drip = 0.05
    began = time.monotonic()
    with pytest.raises(DnsFailed):
        ask(resolver)
    assert time.monotonic() - began < LIFETIME + 0.5


def test_mutations(server):
    """Messages with changed, missing and added bytes are answers or failures, and no other error."""
    resolver = DnsResolver([("127.0.0.1", server.port)], lifetime_seconds=0.05)
    chance = random.Random(44)
    good = chain(2, RECORD, b"x" * 40)

    def mutated(query, transport):
        wire = bytearray(good(query, transport))
        for _ in range(chance.randint(1, 4)):
            position = chance.randrange(2, len(wire))
            change = chance.choice(("set", "cut", "add"))
            if change == "set":
                wire[position] = chance.randrange(256)
            elif change == "cut":
                del wire[position : position + chance.randint(1, 8)]
            else:
                wire[position:position] = chance.randbytes(4)
        return bytes(wire)

    server.put("mail.test", mutated)
    outcomes = set()
    for _ in range(40):
        try:
            ask(resolver)
            outcomes.add("answer")
        except DnsFailed:
            outcomes.add("failure")
    assert outcomes == {"answer", "failure"}


def test_second_resolver(server):
    """If one resolver is silent, the next is asked."""
    server.put("mail.test", txt(RECORD))
    with unanswered_port() as port:
        servers = [("127.0.0.1", port), ("127.0.0.1", server.port)]
        assert ask(DnsResolver(servers)).records == (RECORD,)


def test_name_that_is_too_long(server, resolver):
    """A name that DNS can't have has no records; nothing is asked."""
    assert ask(resolver, "a." * 118 + "test").records == ()
    assert server.queries == []


def test_search_domains(server, resolver):
    """Names are absolute: the search list of the system is not used."""
    resolver._resolver.search = [dns.name.from_text("corp.test")]
    ask(resolver)
    assert [name for name, _ in server.queries] == ["_email-verification.mail.test"]


def test_shared(server, resolver):
    """Threads that ask for one name at once share a lookup."""
    answering = threading.Event()

    def answer(query, transport):
        answering.wait(LIFETIME)
        return txt(RECORD)(query, transport)

    server.put("mail.test", answer)
    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(ask, resolver) for _ in range(6)]
        wait_for(lambda: server.queries)
        time.sleep(0.1)
        answering.set()
        assert {each.result().records for each in asked} == {(RECORD,)}
    assert len(server.queries) == 1


def test_shared_failure(server, resolver):
    """Threads that share a lookup share its failure."""
    server.put("mail.test", silent)
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ask, resolver) for _ in range(4)]
        assert all(isinstance(each.exception(), DnsFailed) for each in asked)


def test_lookup_that_hangs(server, resolver, monkeypatch):
    """A thread that shares a lookup waits no longer than its lifetime, whatever the first one does."""
    going_on, looking = threading.Event(), threading.Event()

    def look_up(_name):
        looking.set()
        going_on.wait(30)

    monkeypatch.setattr(resolver, "_look_up", look_up)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(ask, resolver)
        looking.wait(5)
        began = time.monotonic()
        with pytest.raises(DnsFailed):
            ask(resolver)
        assert time.monotonic() - began < LIFETIME + 1
        going_on.set()
        assert isinstance(first.exception(), DnsFailed)


def test_silent_domains_of_one_network(server):
    """A network whose domains are silent leaves a place to others, who are answered at once."""
    lookups = Lookups(WaitingBudget())
    resolver = DnsResolver([("127.0.0.1", server.port)], lookups=lookups, lifetime_seconds=1.5)
    server.put("mail.test", txt(RECORD))
    for number in range(8):
        server.put(f"slow{number}.test", silent)

    def attack(number):
        with caused_by(client="192.0.2.1"):
            return ask(resolver, f"slow{number}.test")

    with ThreadPoolExecutor(8) as threads:
        attacks = [threads.submit(attack, number) for number in range(8)]
        wait_for(lambda: len(server.queries) >= 3)
        began = time.monotonic()
        with caused_by(client="198.51.100.1"):
            assert ask(resolver).records == (RECORD,)
        assert time.monotonic() - began < 0.5
        failures = {type(each.exception()) for each in attacks}
    lookups.close()
    assert failures == {DnsFailed, Overloaded}


def test_costly_answers(server):
    """Answers of thousands of records cost their network its places, by their processor time."""
    lookups = Lookups(WaitingBudget())
    resolver = DnsResolver([("127.0.0.1", server.port)], lookups=lookups)
    made = txt(*(b"%d" % number for number in range(3000)))
    wires = {}

    def answer(query, transport):
        if transport == "udp":
            return truncated(query, transport)
        name = query.question[0].name
        wires.setdefault(name, made(query, transport))
        return query.id.to_bytes(2) + wires[name][2:]

    server.put("costly.test", answer)
    server.put("mail.test", txt(RECORD))
    # By the debt of usual lookups alone, 150 of them cost no place.
    costly = 0
    with caused_by(client="192.0.2.1"), contextlib.suppress(Overloaded):
        while costly < 150:
            assert len(ask(resolver, "costly.test").records) == 3000
            costly += 1
    assert costly < 150
    with caused_by(client="198.51.100.1"):
        assert ask(resolver).records == (RECORD,)
    lookups.close()


class TestConfiguration:
    """The system's resolvers, and resolvers for DNSSEC."""

    def test_system(self):
        """Without servers the system's resolvers are asked."""
        expected = dns.resolver.Resolver()
        assert DnsResolver()._resolver.nameservers == expected.nameservers

    def test_no_system(self, monkeypatch, tmp_path):
        """A system without resolvers is an error; a reload keeps the present ones."""
        resolver = DnsResolver()
        before = resolver._resolver
        empty = tmp_path / "resolv.conf"
        empty.write_text("")
        read = dns.resolver.Resolver.read_resolv_conf
        monkeypatch.setattr(
            dns.resolver.Resolver, "read_resolv_conf", lambda self, _f: read(self, str(empty))
        )
        with pytest.raises(ValueError, match="no resolver"):
            resolver.configure()
        assert resolver._resolver is before

    def test_dnssec_needs_loopback(self):
        """The AD flag of a distant resolver proves nothing."""
        with pytest.raises(ValueError, match="loopback"):
            DnsResolver([("192.0.2.53", 53)], is_dnssec_needed=True)
        assert DnsResolver([("127.0.0.1", 53), ("::1", 53)], is_dnssec_needed=True)
