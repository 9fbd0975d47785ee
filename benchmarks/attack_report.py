"""What became of attacks: judged by the goals, as tables and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from attack_list import ATTACKS
from attack_others import MIN_SUCCESS, RATES, Sample

TARGETS = ("nginx", "alone")
MAX_RATIO = 5.0
MEASURED = "<!-- measured -->"
_COLUMNS = (
    "attack",
    "worst p99 over quiet, through nginx",
    "cores",
    "worst p99, alone",
)


@dataclass(frozen=True)
class Kind:
    """What became of one kind of others' requests.

    Attributes:
        count: of requests.
        success: the share that succeeded.
        p99: seconds, of those that succeeded; none if none did.
    """

    count: int
    success: float
    p99: float | None

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Kind:
        """Judge requests of one kind."""
        well = sorted(each.seconds for each in samples if each.succeeded)
        p99 = well[math.ceil(0.99 * len(well)) - 1] if well else None
        return cls(len(samples), len(well) / len(samples) if samples else 0.0, p99)


@dataclass(frozen=True)
class Result:
    """What an attack did.

    Attributes:
        quiet: samples before the attack.
        attacked: samples during the attack.
        cores: that the service used during the attack.
        mebibytes: of the service at most, pages that processes share counted for each.
        spooled_mebibytes: that nginx stored at most.
        answers: what the attacker got, counted.
    """

    attack: str
    target: str
    quiet: list[Sample]
    attacked: list[Sample]
    cores: float
    mebibytes: float
    nginx_cores: float
    nginx_mebibytes: float
    spooled_mebibytes: float
    answers: Mapping[str, int]


def kinds(samples: Iterable[Sample]) -> dict[str, Kind]:
    """Judge requests by their kind."""
    ordered = list(samples)
    return {kind: Kind.of([each for each in ordered if each.kind == kind]) for kind in RATES}


def ratios(now: Mapping[str, Kind], quiet: Mapping[str, Kind]) -> dict[str, float]:
    """Return the p99 of each kind over that of the quiet."""
    return {
        kind: each.p99 / reference
        for kind, each in now.items()
        if each.p99 is not None and (reference := quiet[kind].p99)
    }


def missed(now: Mapping[str, Kind], quiet: Mapping[str, Kind]) -> list[str]:
    """Return which goals an attack keeps from others, in words."""
    found = [
        f"{kind}: {each.success:.0%} succeed"
        for kind, each in now.items()
        if each.count and each.success < MIN_SUCCESS[kind]
    ]
    return found + [
        f"{kind}: p99 x {ratio:.1f}" for kind, ratio in ratios(now, quiet).items() if ratio > MAX_RATIO
    ]


def _others(result: Result | None, quiet: Mapping[str, Kind]) -> str:
    if result is None:
        return ""
    now = kinds(result.attacked)
    slow, ratio = max(ratios(now, quiet).items(), key=lambda pair: pair[1], default=("none", math.nan))
    text = f"{ratio:.1f} ({slow})" + (", missed" if missed(now, quiet) else "")
    kind, success = min(((kind, each.success) for kind, each in now.items()), key=lambda pair: pair[1])
    return text if success == 1 else f"{text}, {success:.0%} succeed ({kind})"


def table(results: Sequence[Result]) -> str:
    """Return the tables of the documentation: the quiet, and a row for each attack."""
    quiet = {
        target: kinds(sample for each in results if each.target == target for sample in each.quiet)
        for target in TARGETS
    }
    lines = ["## Quiet", "", "The p99 without an attack, in milliseconds.", ""]
    lines += ["| kind | through nginx | alone |", "|---|---|---|"]
    for kind in RATES:
        found = [quiet[target][kind].p99 for target in TARGETS]
        lines.append(f"| {kind} | {' | '.join(f'{1000 * p99:.0f}' if p99 else '' for p99 in found)} |")
    lines += ["", "## Under attack", ""]
    lines += [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    measured = {(each.target, each.attack): each for each in results}
    for name in dict.fromkeys(each.attack for each in results):
        nginx, alone = (measured.get((target, name)) for target in TARGETS)
        cells = [
            f"`{name}`: {ATTACKS[name].text}",
            _others(nginx, quiet["nginx"]),
            f"{each.cores:.2f}" if (each := nginx or alone) else "",
            _others(alone, quiet["alone"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


class Results:
    """Results by target and attack, kept in a file if there is one.

    Args:
        path: of a JSON file, whose results are kept until they are measured again.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._results: dict[tuple[str, str], Result] = {}
        if path is not None and path.exists():
            for document in json.loads(path.read_text()):
                for name in ("quiet", "attacked"):
                    document[name] = [Sample(*each) for each in document[name]]
                del document["judged"]
                self._keep(Result(**document))

    def _keep(self, result: Result) -> None:
        self._results[result.target, result.attack] = result

    def add(self, result: Result) -> None:
        """Keep a result in the place of an earlier one, and write the file."""
        self._keep(result)
        if self._path is not None:
            documents = [vars(each) | {"judged": self._judged(each)} for each in self.all()]
            self._path.write_text(json.dumps(documents))

    def all(self) -> list[Result]:
        """Return all results, in the order of the list of attacks."""
        order = list(ATTACKS)
        return sorted(self._results.values(), key=lambda each: order.index(each.attack))

    def quiet(self, target: str) -> dict[str, Kind]:
        """Return what was measured without an attack, before all attacks together."""
        return kinds(sample for each in self.all() if each.target == target for sample in each.quiet)

    def missed(self, result: Result) -> list[str]:
        """Return the goals that an attack missed, in words."""
        return missed(kinds(result.attacked), self.quiet(result.target))

    def _judged(self, result: Result) -> dict[str, object]:
        others = {kind: asdict(each) for kind, each in kinds(result.attacked).items()}
        return {"others": others, "missed": self.missed(result)}

    def write_page(self, page: Path) -> None:
        """Replace the tables of a page."""
        head, mark, _ = page.read_text().partition(MEASURED)
        assert mark, f"{page} has no line {MEASURED}"
        page.write_text(f"{head}{MEASURED}\n\n{self.tables()}\n")

    def tables(self) -> str:
        """Return the tables of the documentation."""
        return table(self.all())
