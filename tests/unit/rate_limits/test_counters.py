import logging
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond, parse
from redis import Redis
from support.servers.applications import Clock, wait_for
from support.servers.redis import RedisServer

from persona_profile.errors import RateLimited
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.rate_limits import Policy, RateLimits
from persona_profile.rate_limits.counters import Counters, MemoryCounters, RedisCounters

LIMIT = parse("10/minute")
WRITES, PIXELS, PROOFS = Policy.WRITES_PER_EMAIL, Policy.PIXELS_PER_EMAIL, Policy.PROOFS_PER_ISSUER
OUTAGE = "Redis does not answer"


@pytest.fixture
def clock() -> Clock:
    """The clock of counts in memory."""
    return Clock(1000.0)


@pytest.fixture
def shared(redis_server: RedisServer) -> Iterator[RedisCounters]:
    """Counts in an empty Redis, with time enough."""
    redis_server.client().flushall()
    counters = RedisCounters(redis_server.url, 10, MemoryCounters())
    yield counters
    counters.close()


def accepted(counters: Counters, limit=LIMIT, key="alice", cost=1) -> bool:
    """Count a cost; return whether it was within the limit."""
    [window] = counters.hit("policy", limit, {key: cost})
    return window.accepted


def scripts_run(client: Redis) -> int:
    """Return the number of scripts that Redis has run for counters."""
    calls = client.info("commandstats")
    return sum(calls.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


def limits(counters: Counters, **given: str) -> RateLimits:
    """Return limits by the names of their policies."""
    keys = KeyWrapper(Keyring.generate())
    policies = {Policy(name.replace("_", "-")): parse(limit) for name, limit in given.items()}
    return RateLimits(policies, counters, MemoryCounters(), keys.pseudonym)


class TestCounting:
    def test_trips_and_recovers(self, clock):
        """A full window rejects hits, and accepts them again as it moves on."""
        counters = MemoryCounters(clock=clock)
        assert [accepted(counters) for _ in range(11)] == [True] * 10 + [False]
        clock.now += 60
        assert not accepted(counters)  # all ten are still within the last minute
        clock.now += 30
        assert [accepted(counters) for _ in range(7)] == [True] * 5 + [False] * 2
        clock.now += 120
        assert [accepted(counters) for _ in range(11)] == [True] * 10 + [False]

    def test_no_double_burst(self, clock):
        """Around the end of a window no more passes than in one."""
        counters = MemoryCounters(clock=clock)
        accepted(counters, cost=1)
        clock.now += 59
        assert accepted(counters, cost=9)
        clock.now += 2
        assert not accepted(counters, cost=2)

    def test_refused_costs_nothing(self, clock):
        """What did not fit leaves room for what does."""
        counters = MemoryCounters(clock=clock)
        assert accepted(counters, cost=7)
        assert not accepted(counters, cost=4)
        assert accepted(counters, cost=3)

    def test_keys_and_policies_are_apart(self, clock):
        """Nobody is held to what another did, nor to what was done otherwise."""
        counters = MemoryCounters(clock=clock)
        assert accepted(counters, key="alice", cost=10)
        assert accepted(counters, key="bob", cost=10)
        assert counters.hit("other", LIMIT, {"alice": 10})[0].accepted

    def test_clock_set_back(self, clock):
        """A clock that is set back by an hour does not shut anybody out for an hour."""
        counters = MemoryCounters(clock=clock)
        accepted(counters, cost=10)
        clock.now -= 3600
        assert accepted(counters)

    def test_memory_is_bounded(self, clock):
        """Of a million addresses the last ones are remembered; other policies stay as they are."""
        counters = MemoryCounters(max_keys=100, clock=clock)
        counters.hit("other", LIMIT, {"alice": 10})
        accepted(counters, key="steady", cost=9)
        for number in range(1000):
            accepted(counters, key=str(number), cost=10)
            if number % 50 == 0:
                accepted(counters, key="steady", cost=1)
        assert not accepted(counters, key="999")
        assert not accepted(counters, key="steady")
        assert not counters.hit("other", LIMIT, {"alice": 1})[0].accepted
        assert accepted(counters, key="1")  # long forgotten

    def test_threads(self):
        """Threads together get what one alone would."""
        counters = MemoryCounters()
        limit = parse("1000/hour")
        passed: list[bool] = []

        def hit():
            passed.extend([accepted(counters, limit) for _ in range(500)])

        threads = [threading.Thread(target=hit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(passed) == 1000

    @given(
        st.lists(st.tuples(st.integers(1, 12), st.floats(0, 90)), min_size=1, max_size=30),
        st.integers(1, 12),
    )
    def test_retry_after_is_true_and_the_least(self, past, amount):
        """A retry after the returned seconds is accepted, and a second before it is not."""
        limit = RateLimitItemPerSecond(amount, 60)
        clock = Clock(1000.0)
        counters = MemoryCounters(clock=clock)
        for units, pause in past:
            clock.now += pause
            cost = min(units, amount)
            [window] = counters.hit("policy", limit, {"key": cost})
            if window.accepted:
                continue
            wait = window.seconds_until(limit, cost)
            assert 1 <= wait <= 120
            clock.now += wait - 1.01
            if wait > 1:
                assert not accepted(counters, limit, "key", cost)
            clock.now += 1.01
            assert accepted(counters, limit, "key", cost)


class TestPolicies:
    def test_quota(self, clock):
        """A response reports the quota in the fields of the draft."""
        checked = limits(MemoryCounters(clock=clock), writes_per_email="10/minute")
        quota = checked.hit(WRITES, {"alice@example.com": 3})
        assert quota.headers() == {
            "RateLimit-Policy": '"writes-per-email";q=10;w=60',
            "RateLimit": '"writes-per-email";r=7;t=60',
        }

    def test_refusal(self, clock):
        """A rejection names the policy and the time of a retry."""
        checked = limits(MemoryCounters(clock=clock), pixels_per_email="100/2hour")
        checked.hit(PIXELS, {"alice@example.com": 90})
        with pytest.raises(RateLimited) as caught:
            checked.hit(PIXELS, {"alice@example.com": 20})
        assert caught.value.members == {"policy": "pixels-per-email"}
        wait = int(caught.value.headers.pop("Retry-After"))
        assert caught.value.headers == {
            "RateLimit-Policy": '"pixels-per-email";q=100;qu="pixels";w=7200',
            "RateLimit": f'"pixels-per-email";r=10;t={wait}',
        }
        clock.now += wait
        assert checked.hit(PIXELS, {"alice@example.com": 20}).remaining == 0

    def test_several_clients_at_once(self, clock):
        """The quota is of the client with the fewest units; a client over the limit is rejected."""
        checked = limits(MemoryCounters(clock=clock), writes_per_email="10/minute")
        assert checked.hit(WRITES, {"a": 2, "b": 5}).remaining == 5
        with pytest.raises(RateLimited):
            checked.hit(WRITES, {"a": 1, "b": 6})

    def test_use_of_an_issuer_stays_unsaid(self, clock):
        """No response shows how many people of a domain sign in."""
        checked = limits(MemoryCounters(clock=clock), proofs_per_issuer="2/minute")
        assert checked.hit(PROOFS, {"example.com": 2}) is None
        with pytest.raises(RateLimited) as caught:
            checked.hit(PROOFS, {"example.com": 1})
        assert caught.value.headers.keys() == {"Retry-After"}

    def test_spent(self, clock):
        """Spent units count beyond the limit; a client without units is rejected."""
        checked = limits(MemoryCounters(clock=clock), pixels_per_email="100/minute")
        alice, bob = (checked.account(PIXELS, name) for name in ("alice", "bob"))
        for cost in (0, 99, 1000):
            for each in (alice, bob):
                each.check()
            alice.add(cost)
        bob.check()
        with pytest.raises(RateLimited) as caught:
            alice.check()
        wait = int(caught.value.headers["Retry-After"])
        assert 60 < wait <= 120
        with pytest.raises(RateLimited):
            checked.hit(PIXELS, {"alice": 1})
        clock.now += wait - 1.01
        with pytest.raises(RateLimited):
            alice.check()
        clock.now += 1.01
        alice.check()

    def test_off(self, clock):
        """A policy without a limit rejects nobody."""
        for configured in ({"proofs_per_issuer": "1/minute"}, {}):
            each = limits(MemoryCounters(clock=clock), **configured)
            assert each.hit(WRITES, {"alice@example.com": 10**9}) is None
            account = each.account(WRITES, "alice@example.com")
            account.add(10**9)
            account.check()


class TestRedis:
    def test_counts_as_memory_does(self, shared, clock):
        """Equal hits have equal counts and results."""
        local = MemoryCounters(clock=clock)
        for cost in (3, 4, 5, 2, 1, 1):
            [there] = shared.hit("policy", LIMIT, {"alice": cost})
            [here] = local.hit("policy", LIMIT, {"alice": cost})
            assert there[:3] == here[:3]
            assert here.left - 30 < there.left <= here.left
            assert there.remaining(LIMIT) == here.remaining(LIMIT)

    def test_counts_spent_units_as_memory_does(self, shared, clock):
        """Units beyond the limit count alike, and none changes nothing."""
        local = MemoryCounters(clock=clock)
        for cost, spent in ((0, False), (9, True), (0, False), (2, True), (1, False), (5, True)):
            [there] = shared.hit("policy", LIMIT, {"alice": cost}, spent=spent)
            [here] = local.hit("policy", LIMIT, {"alice": cost}, spent=spent)
            assert there[:3] == here[:3]
            assert there.remaining(LIMIT) == here.remaining(LIMIT)

    def test_recovers(self, shared):
        """A retry after the seconds of a rejection is accepted."""
        limit = parse("2/second")
        assert accepted(shared, limit, cost=2)
        [window] = shared.hit("policy", limit, {"alice": 1})
        assert not window.accepted
        # A little more, as during a key's last millisecond the script of `limits` keeps its count.
        time.sleep(window.seconds_until(limit, 1) + 0.02)
        assert accepted(shared, limit)

    def test_costs_of_pictures(self, shared):
        """Costs of a billion are counted exactly."""
        limit = parse(f"{10**12}/hour")
        assert accepted(shared, limit, cost=10**12 - 1)
        assert not accepted(shared, limit, cost=2)
        assert accepted(shared, limit)

    def test_one_round_trip(self, shared, redis_server):
        """A hit, and how the key then stands, is one message on a connection that is there already."""
        accepted(shared)
        client = redis_server.client()
        reads = client.info("stats")["total_reads_processed"]
        accepted(shared)
        assert client.info("stats")["total_reads_processed"] - reads == 2  # theirs, and ours to ask

    def test_keys_expire(self, shared, redis_server):
        """Nothing stays in Redis beyond two windows."""
        accepted(shared)
        client = redis_server.client()
        assert all(0 < client.ttl(key) <= 120 for key in client.scan_iter())

    def test_unix_socket(self, redis_server, shared):
        """A socket of the same machine will do."""
        folder = redis_server.client().config_get("dir")["dir"]
        counters = RedisCounters(f"redis+unix://{folder}/s", 10, MemoryCounters())
        assert accepted(counters, cost=10)
        assert not accepted(shared)
        counters.close()


class TestTls:
    def test_certificate_is_verified(self, tmp_path, caplog):
        """TLS works with a certificate that is trusted; another is as good as no Redis."""
        authority = trustme.CA()
        server_certificate = authority.issue_cert("127.0.0.1")
        certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
        server_certificate.cert_chain_pems[0].write_to_path(certificate)
        server_certificate.private_key_pem.write_to_path(key)
        trusted, other = tmp_path / "trusted.pem", tmp_path / "other.pem"
        authority.cert_pem.write_to_path(trusted)
        trustme.CA().cert_pem.write_to_path(other)
        options = {"tls_cert_file": str(certificate), "tls_key_file": str(key)}
        with RedisServer(tmp_path, **options).running() as server:
            for file, is_taken in ((trusted, True), (other, False)):
                url = f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={file}"
                counters = RedisCounters(url, 10, MemoryCounters())
                assert accepted(counters)
                assert (OUTAGE not in caplog.text) is is_taken
                counters.close()


class TestOutage:
    @pytest.fixture
    def server(self, tmp_path) -> Iterator[RedisServer]:
        """A Redis server that may be harmed."""
        with RedisServer(tmp_path).running() as server:
            yield server

    @pytest.fixture
    def counters(self, server) -> Iterator[RedisCounters]:
        """Counts in it that soon look whether it is there again."""
        counters = RedisCounters(server.url, 0.2, MemoryCounters(), pause=0.3)
        yield counters
        counters.close()

    def logged(self, caplog) -> list[str]:
        """Return what was logged."""
        return [record.getMessage() for record in caplog.records if "Redis" in record.getMessage()]

    def test_killed_and_restarted(self, server, counters, caplog):
        """Without Redis each process counts for itself; with it, all together again; logged once."""
        limit = parse("100/hour")
        assert accepted(counters, limit, cost=90)
        server.signal(signal.SIGKILL)
        assert [accepted(counters, limit, cost=50) for _ in range(3)] == [True, True, False]
        assert len(self.logged(caplog)) == 1
        assert OUTAGE in caplog.text
        server.start()
        wait_for(lambda: accepted(counters, limit) and "answers again" in caplog.text)
        client = server.client()
        assert client.dbsize() > 0
        assert len(self.logged(caplog)) == 2

    def test_frozen(self, server, caplog):
        """A Redis that is silent is waited for once, then left alone; thawed, it counts again."""
        clock = Clock(0.0)
        counters = RedisCounters(server.url, 0.2, MemoryCounters(), pause=3600, clock=clock)
        assert accepted(counters)
        client = server.client()
        before = scripts_run(client)
        server.signal(signal.SIGSTOP)
        for _ in range(5):
            counters.hit("policy", LIMIT, {"alice": 1})
        server.signal(signal.SIGCONT)
        assert scripts_run(client) == before + 1
        clock.now += 3600
        wait_for(lambda: counters.hit("policy", LIMIT, {"bob": 1}) and "answers again" in caplog.text)
        counters.close()

    def test_never_there(self, caplog):
        """A service starts, and limits, without Redis."""
        counters = RedisCounters("redis://127.0.0.1:1", 0.2, MemoryCounters())
        assert accepted(counters, cost=10)
        assert not accepted(counters)
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        counters.close()

    def test_refuses_to_write(self, server, counters, caplog):
        """A Redis that is full, or only read from, is as good as none."""
        server.client().config_set("maxmemory", "1")
        assert [accepted(counters, cost=5) for _ in range(3)] == [True, True, False]
        assert OUTAGE in caplog.text

    @pytest.mark.parametrize("url", ["redis://[", "redis://h:port", "redis://h/one?db=two"])
    def test_url_that_is_none(self, url):
        """A malformed URL is an error of the settings; the message does not hold it."""
        with pytest.raises(ValueError, match=r"^can't be read as the URL of a Redis server$"):
            RedisCounters(url, 1, MemoryCounters())
