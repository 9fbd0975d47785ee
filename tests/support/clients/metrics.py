"""Metrics of the service, read as Prometheus reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


class Exposition:
    """An exposition in the text format of Prometheus, parsed by its own library."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._samples = [each for family in self.families.values() for each in family.samples]

    @property
    def names(self) -> set[str]:
        """The names of all series."""
        return {each.name for each in self._samples}

    def __len__(self) -> int:
        return len(self._samples)

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the series with a name and labels; 0 without such series."""
        return sum(
            each.value
            for each in self._samples
            if each.name == name and labels.items() <= each.labels.items()
        )
