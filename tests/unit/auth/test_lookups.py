"""Places for lookups, shared fetches, and refreshes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.servers.applications import Clock, wait_for
from support.servers.tls import NAME, PATH, answer, answering, fetcher, server_context, serving, silent

from persona_profile.auth import documents
from persona_profile.auth.documents import FETCH_THREADS, DocumentFetcher
from persona_profile.auth.fetch import FetchError
from persona_profile.auth.lookups import MAX_REFRESHES, REFRESH_THREADS, Lookups, caused_by
from persona_profile.auth.registrable_domains import registrable_domain
from persona_profile.errors import Overloaded
from persona_profile.runtime.waiting import Wait, WaitingBudget

OTHERS = "192.0.2.1"
ATTACKER = "198.51.100.7"
NO_TIME = -documents._GRACE_SECONDS
"""A deadline that is over as soon as a fetch begins."""


class World:
    """A budget of eight threads, and lookups that wait until they may end.

    Attributes:
        resolved: the names that were looked up.
        go_on: lets all lookups end.
    """

    def __init__(self):
        self.clock = Clock(0.0)
        self.budget = WaitingBudget(8)
        self.lookups = Lookups(self.budget, self.clock)
        self.go_on = threading.Event()
        self.resolved = []
        self.pool = ThreadPoolExecutor(64)
        self.documents = self.fetcher()

    def fetcher(self, **options):
        """Return what fetches documents."""
        https = fetcher(1, **({"resolve": self.resolve, "deadline": 60.0} | options))
        return DocumentFetcher(https, lookups=self.lookups)

    def resolve(self, name):
        """Keep a lookup waiting."""
        self.resolved.append(name)
        self.go_on.wait(60)
        raise socket.gaierror

    def begin(self, client, domain, cause=None):
        """Begin a lookup; return whether it waits."""
        before = self.waiting

        def look_up():
            with caused_by(client=client, domain=cause):
                self.documents.fetch(f"https://{domain}{PATH}")

        future = self.pool.submit(look_up)
        wait_for(lambda: future.done() or self.waiting > before, every=0.001)
        return not future.done()

    @property
    def rejections(self):
        """The number of rejected lookups by reason."""
        return Counter({reason: n for (_, reason), n in self.budget.rejections.counts().items()})

    @property
    def waiting(self):
        """How many lookups wait."""
        return self.budget.in_use()["lookup"]

    def end(self):
        """Let all lookups end."""
        self.go_on.set()
        wait_for(lambda: not self.waiting, every=0.001)
        self.go_on.clear()


@pytest.fixture
def world():
    """A world without lookups under way."""
    made = World()
    yield made
    made.go_on.set()
    made.pool.shutdown()
    made.documents.close()
    made.lookups.close()


class TestFairness:
    def test_one_network(self, world):
        """One network leaves a place, however many domains it names."""
        waits = [world.begin(ATTACKER, f"d{i}.test") for i in range(9)]
        assert waits == [True] * 3 + [False] * 6
        assert set(world.rejections) == {"network"}
        assert world.begin(OTHERS, "honest.test")

    def test_one_registrable_domain(self, world):
        """A wildcard zone leaves one place, however many networks name it."""
        waits = [world.begin(f"203.0.113.{i}", f"n{i}.zone.co.uk") for i in range(9)]
        assert waits == [True] * 3 + [False] * 6
        assert set(world.rejections) == {"domain"}
        assert world.begin(OTHERS, "other.co.uk")

    def test_delegation(self, world):
        """A lookup counts for the domain that delegates to it too."""
        waits = [world.begin(f"203.0.113.{i}", f"d{i}.test", "zone.test") for i in range(9)]
        assert waits == [True] * 3 + [False] * 6
        assert world.begin(OTHERS, "honest.test")

    def test_delegation_to_another(self, world):
        """It counts for its own domain too, with any delegating domain."""
        waits = [world.begin(f"203.0.113.{i}", f"n{i}.zone.test", f"d{i}.test") for i in range(9)]
        assert waits == [True] * 3 + [False] * 6

    def test_uploads_leave_two(self, world):
        """While uploads take all that they may, one network does not take both places of lookups."""
        with contextlib.ExitStack() as held:
            for _ in range(world.budget.limit(Wait.UPLOAD)):
                held.enter_context(world.budget.place(Wait.UPLOAD))
            assert [world.begin(ATTACKER, f"d{i}.test") for i in range(3)] == [True, False, False]
            assert world.begin(OTHERS, "honest.test")

    def test_no_request_waits(self, world):
        """Lookups for which no request waits hold no place."""
        for number in range(4):
            world.pool.submit(world.documents.fetch, f"https://d{number}.test{PATH}")
        wait_for(lambda: len(world.resolved) == 4, every=0.001)
        assert world.waiting == 0

    def test_places_are_given_back(self, world):
        """However a lookup ends, its place is free for the next."""
        for handler in (answering(b""), answering(answer()), answering(answer(b" " * 99_999)), silent):
            with serving(handler, server_context(NAME)) as server:
                subject = DocumentFetcher(fetcher(server.port, deadline=0.1), lookups=world.lookups)
                for _ in range(9):
                    with contextlib.suppress(FetchError), caused_by(client=OTHERS):
                        subject.fetch(f"https://{NAME}{PATH}")
                subject.close()
        assert (world.waiting, world.rejections) == (0, Counter())


class TestDebts:
    def slow(self, world, client, domain, seconds, times=1):
        """Look a domain up that takes so long."""
        for _ in range(times):
            assert world.begin(client, domain)
            world.clock.now += seconds
            world.end()

    def test_slow_network(self, world):
        """A network whose lookups took long has one place, then none, until that is forgiven."""
        self.slow(world, ATTACKER, "d.test", 6, 3)
        assert [world.begin(ATTACKER, f"d{i}.test") for i in range(2)] == [True, False]
        world.clock.now += 20
        world.end()
        assert not world.begin(ATTACKER, "d3.test")
        assert world.begin(OTHERS, "d3.test")
        world.end()
        world.clock.now += 240
        waits = [world.begin(ATTACKER, f"d{i}.test") for i in range(4)]
        assert waits == [True, True, True, False]

    def test_time_to_come_back(self, world):
        """The response to a network without a place says when it has a place again."""
        self.slow(world, ATTACKER, "d.test", 6, 3)
        self.slow(world, ATTACKER, "e.test", 20)
        with pytest.raises(Overloaded) as rejected, caused_by(client=ATTACKER):
            world.documents.fetch(f"https://f.test{PATH}")
        assert not world.begin(ATTACKER, "f.test")
        world.clock.now += int(rejected.value.headers["Retry-After"])
        assert world.begin(ATTACKER, "f.test")

    def test_slow_zone(self, world):
        """A registrable domain with slow lookups has one place; other domains keep theirs."""
        for number in range(2):
            self.slow(world, f"203.0.113.{number}", f"n{number}.zone.test", 7)
        waits = [world.begin(f"203.0.113.{i}", f"n{i}.zone.test") for i in range(10, 13)]
        assert waits == [True, False, False]
        assert world.begin(OTHERS, "honest.test")

    def test_slow_host_of_a_good_domain(self, world):
        """A network that makes a domain slow does not keep other networks from it."""
        self.slow(world, ATTACKER, "intranet.company.test", 6, 3)
        assert not world.begin(ATTACKER, "intranet.company.test")
        assert world.begin(ATTACKER, "honest.test")
        assert world.begin(OTHERS, "mail.company.test")

    def test_many_quick_lookups(self, world):
        """A network with hundreds of quick lookups a minute pays for them as well."""
        for number in range(210):
            self.slow(world, ATTACKER, f"d{number}.test", 0)
        assert [world.begin(ATTACKER, f"e{i}.test") for i in range(2)] == [True, False]

    def test_usual_lookups(self, world):
        """An office whose people look up domains that answer in time keeps its share."""
        for number in range(60):
            self.slow(world, OTHERS, f"d{number}.test", 0.9)
        waits = [world.begin(OTHERS, f"e{i}.test") for i in range(4)]
        assert waits == [True, True, True, False]


class TestFlights:
    def test_shared(self, world):
        """Simultaneous requests for a document share one fetch and its result."""
        with serving(answering(answer()), server_context(NAME)) as server:

            def resolve(name):
                world.resolved.append(name)
                assert world.go_on.wait(60)
                return ["127.0.0.1"]

            subject = DocumentFetcher(fetcher(server.port, resolve=resolve), lookups=world.lookups)
            url = f"https://{NAME}{PATH}"
            futures = [world.pool.submit(subject.fetch, url)]
            wait_for(lambda: world.resolved, every=0.001)
            futures += [
                world.pool.submit(self.fetch_as, subject, f"203.0.113.{number}", url)
                for number in range(3)
            ]
            wait_for(lambda: world.waiting == 3, every=0.001)
            world.go_on.set()
            assert {future.result(60).status for future in futures} == {200}
            assert (world.resolved, server.connections) == ([NAME], 1)
            assert subject.fetch(url).status == 200
            assert server.connections == 2
            subject.close()

    def fetch_as(self, subject, client, url):
        """Fetch for a client."""
        with caused_by(client=client):
            return subject.fetch(url)

    def test_shared_failure(self, world):
        """They share its failure too, each with its own exception."""
        futures = [world.pool.submit(world.documents.fetch, f"https://a.test{PATH}") for _ in range(3)]
        wait_for(lambda: world.resolved, every=0.001)
        world.go_on.set()
        errors = [future.exception(60) for future in futures]
        assert {str(error) for error in errors} == {"issuer_unreachable"}
        assert len(set(map(id, errors))) == 3

    def test_name_server_that_hangs(self, world):
        """Waiting threads end at the deadline, later ones at once, as long as it hangs."""
        subject = world.fetcher(deadline=NO_TIME)
        for _ in range(5):
            with pytest.raises(FetchError, match="issuer_unreachable"):
                subject.fetch(f"https://a.test{PATH}")
        wait_for(lambda: world.resolved)
        assert (world.resolved, world.waiting) == (["a.test"], 0)
        subject.close()

    def test_name_server_that_answers_late(self, world):
        """No connection is made after a name server has answered too late."""
        with serving(answering(answer()), server_context(NAME)) as server:

            def resolve(_name):
                world.go_on.wait(60)
                return ["127.0.0.1"]

            subject = DocumentFetcher(
                fetcher(server.port, resolve=resolve, deadline=NO_TIME), lookups=world.lookups
            )
            with pytest.raises(FetchError, match="issuer_unreachable"):
                subject.fetch(f"https://{NAME}{PATH}")
            world.go_on.set()
            wait_for(lambda: not subject._under_way, every=0.001)
            assert server.connections == 0
            subject.close()

    def test_threads_that_hang(self, world):
        """One network, or one zone, can block half of the fetching threads at most."""
        for cause in (
            lambda number: (ATTACKER, f"d{number}.test"),
            lambda number: (f"203.0.113.{number}", f"n{number}.zone.test"),
        ):
            subject = world.fetcher(deadline=NO_TIME)
            before = world.rejections
            for number in range(FETCH_THREADS):
                client, domain = cause(number)
                with pytest.raises((FetchError, Overloaded)), caused_by(client=client):
                    subject.fetch(f"https://{domain}{PATH}")
            assert world.rejections - before == {"threads": FETCH_THREADS // 2}
            with pytest.raises(FetchError), caused_by(client=OTHERS):
                subject.fetch(f"https://honest.test{PATH}")
            subject.close()

    def test_threads_for_refreshes(self, world):
        """Blocked threads leave some for fetches without a waiting request."""
        subject = world.fetcher(deadline=NO_TIME)
        for number in range(FETCH_THREADS):
            with contextlib.suppress(FetchError, Overloaded), caused_by(client=f"203.0.113.{number}"):
                subject.fetch(f"https://d{number}.test{PATH}")
        assert world.rejections == {"threads": REFRESH_THREADS}
        with pytest.raises(FetchError):
            subject.fetch(f"https://refreshed.test{PATH}")
        subject.close()

    def test_closed(self, world):
        """A closed fetcher rejects each lookup."""
        world.documents.close()
        for _ in range(FETCH_THREADS + 1):
            with pytest.raises(Overloaded, match="looked up"), caused_by(client=OTHERS):
                world.documents.fetch(f"https://a.test{PATH}")
        assert world.waiting == 0


class TestRefreshes:
    def test_one_of_a_zone(self, world):
        """A registrable domain has one refresh at a time, so that other domains get their turn."""
        done = []

        def slow():
            world.go_on.wait(60)
            done.append("slow")

        for number in range(9):
            world.lookups.refresh(f"n{number}.zone.test", slow)
        world.lookups.refresh("honest.test", lambda: done.append("honest"))
        wait_for(lambda: done == ["honest"], every=0.001)
        world.go_on.set()
        wait_for(lambda: done == ["honest", "slow"], every=0.001)

    def test_that_fail(self, world, caplog):
        """A failed refresh is logged without data of the lookup, and is done again the next time."""
        done = []

        def fail():
            done.append("failed")
            raise ValueError("alice@example.com")

        for number in (1, 2):
            world.lookups.refresh("a.test", fail)
            wait_for(lambda number=number: len(done) == number and not world.lookups._refreshed)
        assert "alice" not in caplog.text
        assert caplog.text.count("a refresh of an identity provider failed: ValueError") == 2

    def test_bounded(self, world):
        """The number of pending refreshes is limited; after `close` none begins."""
        begun = []

        def slow():
            begun.append(None)
            world.go_on.wait(60)

        for number in range(3 * MAX_REFRESHES):
            world.lookups.refresh(f"d{number}.test", slow)
        world.go_on.set()
        wait_for(lambda: not world.lookups._refreshed)
        assert len(begun) == MAX_REFRESHES
        world.lookups.close()
        world.lookups.refresh("a.test", slow)
        assert not world.lookups._refreshed


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("example.co.uk", "example.co.uk"),
        ("a.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("a.city.kawasaki.jp", "city.kawasaki.jp"),
        ("a.person.github.io", "github.io"),
        ("a.person.duckdns.org", "duckdns.org"),
        ("a.xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a.b.c.unknown", "c.unknown"),
        ("unknown", "unknown"),
    ],
)
def test_registrable_domain(domain, expected):
    """The suffixes of registries separate domains; those of companies do not."""
    assert registrable_domain(domain) == expected
