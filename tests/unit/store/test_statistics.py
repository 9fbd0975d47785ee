import random

import pytest

from backends import ItemInfo, Put
from backends.engines.memory import MemoryBackend
from persona_profile.store.items import picture_item
from persona_profile.store.maintenance.statistics import Distribution, Statistics, measure


class TestStatistics:
    def test_by_hand(self):
        """All numbers equal those that were computed by hand from the sizes of the items."""
        backend = MemoryBackend()
        items = {
            b"\x01a": {"key": 100, "profile": 300},
            b"\x01b": {"key": 100, "profile": 500, picture_item(bytes(16), 64, "jpeg"): 2000},
            b"\x01c": {
                "key": 100,
                "profile": 700,
                "not_before": 8,
                picture_item(bytes(16), 64, "jpeg"): 4000,
                picture_item(bytes(16), 512, "avif"): 30_000,
            },
            b"\x01d": {"not_before": 8},
            b"\x00proof": {"used": 0},
        }
        for partition, sizes in items.items():
            backend.apply(partition, [Put(name, bytes(size)) for name, size in sizes.items()])
        found = measure(backend)
        assert (found.profiles, found.with_picture, found.blank, found.used_proofs) == (3, 2, 1, 1)
        assert found.total_bytes == 400 + 2600 + 34_808 + 8
        sizes = found.profile_bytes
        assert (sizes.count, sizes.total, sizes.maximum) == (3, 37_808, 34_808)
        assert sizes.average == pytest.approx(37_808 / 3)
        # Rounded up to a multiple of 64, and never over the maximum.
        assert [sizes.percentile(percent) for percent in (1, 50, 95, 99)] == [448, 2624, 34_808, 34_808]
        by_kind = {kind: each.total for kind, each in found.rendition_bytes.items()}
        assert by_kind == {(64, "jpeg"): 6000, (512, "avif"): 30_000}
        assert found.rendition_bytes[64, "jpeg"].average == 3000

    def test_reads_no_value(self):
        """Statistics need names and sizes only."""
        backend = MemoryBackend()
        backend.apply(b"\x01a", [Put("key", b"x"), Put("profile", b"y")])
        backend.get_many = backend.read_many = pytest.fail
        assert measure(backend).profiles == 1

    def test_empty(self):
        """An empty store has statistics too."""
        sizes = measure(MemoryBackend()).profile_bytes
        assert (sizes.count, sizes.average, sizes.percentile(99), sizes.maximum) == (0, 0, 0, 0)

    def test_error_of_percentiles(self):
        """A percentile is never too small, and too large by at most the documented error."""
        choose = random.Random(5)
        for most in (100, 5000, 300_000, 2**20, 4 * 2**20, 400 * 2**20):
            sizes = Distribution()
            exact = sorted(choose.randint(0, most) for _ in range(2001))
            for size in exact:
                sizes.add(size)
            for percent in (1, 50, 95, 99, 100):
                true = exact[-(-len(exact) * percent // 100) - 1]
                assert true <= sizes.percentile(percent) <= true + max(63, true * 0.00013)

    def test_memory_is_bounded(self):
        """The memory of a distribution is bounded, however many sizes are added."""
        sizes = Distribution()
        for size in range(0, 2**30, 4099):
            sizes.add(size)
        assert sizes.count == 2**30 // 4099 + 1
        assert len(sizes.counts()) < 16_384 + 10 * 8192

    def test_forward(self):
        """A `key` item without a profile is a forward."""
        statistics = Statistics()
        statistics.add([ItemInfo("key", 1, 40)])
        assert (statistics.forwards, statistics.profiles, statistics.blank) == (1, 0, 0)

    def test_gone(self):
        """A partition that is erased during the walk is not counted."""
        statistics = Statistics()
        statistics.add([])
        assert (statistics.profiles, statistics.blank) == (0, 0)
        statistics.add([ItemInfo("not_before", 1, 8)])
        assert statistics.blank == 1
