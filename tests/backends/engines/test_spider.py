"""The backend on shards behind two heads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from failing import fails
from hypothesis import HealthCheck, settings
from spreading import SpreadBackend
from support.servers.spider import Shards

from backends import Address, Backend, Put, WrongSchema
from backends.engines import migrations, spider_tables
from backends.engines.mysql import MysqlBackend
from backends.engines.spider import SpiderBackend
from backends.findings import Level
from backends.testing.conformance import BackendConformance
from backends.testing.state_machine import BackendMachine

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def tables(shards: Shards) -> Shards:
    """Shards with the tables of the newest schema."""
    shards.make_databases()
    with closing(SpiderBackend.from_url(shards.admin_url)) as backend:
        backend.initialize()
    return shards


@pytest.fixture
def empty(tables: Shards) -> Shards:
    """The shards without items."""
    tables.empty()
    return tables


@pytest.fixture(scope="module")
def clients(tables: Shards) -> Iterator[SpreadBackend]:
    """Clients of both heads, each prefers another."""
    orders = (tables.heads, tables.heads[::-1])
    opened = SpreadBackend(
        [SpiderBackend.from_url(tables.url_of(order, user="admin:secret")) for order in orders]
    )
    yield opened
    opened.close()


class TestSpider(BackendConformance):
    @pytest.fixture
    def backend(self, empty: Shards, clients: SpreadBackend) -> SpreadBackend:
        """Empty shards; each operation goes to another head than the last."""
        return clients


class SpiderMachine(BackendMachine):
    shards: Shards

    def make_backend(self, clock: Callable[[], float]) -> Backend:
        self.shards.empty()
        heads = self.shards.heads
        urls = [self.shards.url_of(order) for order in (heads, heads[::-1])]
        return SpreadBackend([SpiderBackend.from_url(url, clock) for url in urls])


class TestSpiderMachine(SpiderMachine.TestCase):
    settings = settings(
        max_examples=6,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    @pytest.fixture(autouse=True)
    def _shards(self, empty: Shards) -> None:
        """Give the state machine the shards."""
        SpiderMachine.shards = empty
