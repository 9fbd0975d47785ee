"""The report of a run: one page of HTML that loads nothing else.

Names from a server or a record are escaped.
"""

from __future__ import annotations

import datetime as dt
import string
from collections.abc import Mapping
from html import escape
from importlib import resources
from typing import Any, Final

from loadtest.gate.levels import Levels
from loadtest.gate.report import charts
from loadtest.gate.report.metrics import server_metrics
from loadtest.gate.report.tables import table
from loadtest.gate.summary import Summary
from loadtest.gate.verdict import MIN_ANSWERS, SHARES, Judged, Outcome, Verdict, describe, headroom
from loadtest.record import Run, Traffic, percentile
from persona_profile.capacity.units import short

_NONE: Final = "\N{EN DASH}"
_OUTCOMES: Final = {"met": "good", "void": "unsure", "failed": "bad"}
_STYLES: Final = {"slower": "bad", "faster": "good"}
_USERS: Final = {"slower": "fewer", "faster": "more"}
_METRICS: Final = {
    "users_carried": "users carried",
    "seconds_per_request": "CPU milliseconds per request",
    "p95": "p95, ms",
    "p99": "p99, ms",
}


def page(
    summary: Summary,
    levels: Levels,
    verdict: Verdict,
    comparison: Mapping[str, Any] | None = None,
    costs_from: str = "",
) -> str:
    """Return the report; `costs_from` is the machine on which the costs of the model were measured."""
    shown = _shown(verdict)
    parts = [_header(summary, verdict), _tiles(summary, levels, verdict)]
    if shown is not None:
        parts += ["<h2>Latency</h2>", _latency(shown, levels, verdict)]
    parts += [
        "<h2>Over time</h2>",
        '<p class="note">Shaded: measured steps, with their users.</p><div class="charts">',
        charts.requests_over_time(summary),
        charts.errors_over_time(summary),
        charts.processor_over_time(summary),
        charts.memory_over_time(summary),
        "</div>",
    ]
    if verdict.steps:
        parts += ["<h2>Steps</h2>", _steps(verdict, levels)]
    parts += ["<h2>Knee</h2>", _knee(verdict, costs_from)]
    parts += ["<h2>Compared with the last accepted run</h2>", _comparison(comparison)]
    parts += ["<h2>The server's metrics</h2>", server_metrics(summary.metrics)]
    parts += ["<h2>Load generator</h2>", _generator(verdict)]
    title = f"{verdict.outcome.headline}: load test of {summary.run.host}"
    template = string.Template(resources.files(__package__).joinpath("report.html").read_text("utf-8"))
    return template.substitute(title=escape(title), body="\n".join(parts))


def _shown(verdict: Verdict) -> Judged | None:
    """Return the step that decides."""
    if verdict.outcome is Outcome.PROMOTE and verdict.carried is not None:
        return verdict.carried
    return verdict.failed or verdict.carried or next(reversed(verdict.steps), None)


def _header(summary: Summary, verdict: Verdict) -> str:
    run = summary.run
    facts = [
        run.host,
        _version(run.server_version),
        f"shape {run.shape}",
        f"rates {hour(run)}",
        f"{_instant(run.at)} UTC",
        "cut off" if summary.ended_at is None else f"{(summary.ended_at - run.at) / 60:,.1f} minutes",
        f"seed {run.seed}",
        f"generator processes: {run.workers}",
    ]
    reasons = "".join(f"<li>{escape(each)}</li>" for each in verdict.reasons)
    outcome = verdict.outcome
    return (
        f'<header class="{outcome.code}"><div><h1>{outcome.headline}</h1><ul>{reasons}</ul></div>'
        f'<div class="users">{_carried(run, verdict)}</div>'
        f'<p class="facts">{escape(" · ".join(facts))}</p></header>'
    )


def hour(run: Run) -> str:
    """Return the time of the day of a run's rates, in words."""
    if run.peak == 1:
        return "of the mean of a day"
    return f"of the busiest hour, {run.peak:g} times the mean of a day"


def _carried(run: Run, verdict: Verdict) -> str:
    if verdict.outcome is Outcome.VOID:
        return "<strong>\N{EN DASH}</strong><span>users carried: not known</span>"
    largest = 0.0 if verdict.carried is None else verdict.carried.step.users
    beyond = "active users carried<br>" + ("on average" if run.peak == 1 else "in their busiest hour")
    if verdict.failed is not None:
        beyond += f",<br>{verdict.failed.step.users:,.0f} were too many"
    elif verdict.carried is not None:
        beyond += ",<br>more were not tried"
    return f"<strong>{largest:,.0f}</strong><span>{beyond}</span>"


def _tiles(summary: Summary, levels: Levels, verdict: Verdict) -> str:
    whole = Traffic.of(each.step.whole for each in verdict.steps)
    made = [
        (f"{whole.planned:,}", "requests planned in measured steps"),
        (_share(whole.achieved), "answered right"),
        (f"{whole.failed:,}", "errors"),
        (f"{whole.shed:,}", "shed, with Retry-After"),
    ]
    least, tightest = _least_headroom(verdict.carried, levels)
    if tightest:
        made.append((least, f"least headroom: {tightest}"))
    if all(each.started_at is None for each in summary.servers):
        made.append(("Unknown", "restarts of the server"))
    tiles = "".join(
        f'<div class="tile"><strong>{escape(figure)}</strong><span>{escape(meaning)}</span></div>'
        for figure, meaning in made
    )
    return f'<div class="tiles">{tiles}</div>'


def _latency(shown: Judged, levels: Levels, verdict: Verdict) -> str:
    grown = charts.latency_by_users(verdict.steps, levels)
    made = f'<div class="charts">{charts.latency_spread(shown, levels)}</div>'
    made += _endpoints(shown, levels)
    if grown:
        made += f'<h2>Latency by users</h2>{charts.latency_legend()}<div class="charts small">'
        made += "".join(grown) + "</div>"
    others = [each for each in verdict.steps if each is not shown]
    if others:
        tables = "".join(_endpoints(each, levels) for each in others)
        made += f"<details><summary>Endpoints of the other steps</summary>{tables}</details>"
    return made


def _endpoints(judged: Judged, levels: Levels) -> str:
    rows = []
    missed = {(each.endpoint, each.figure) for each in judged.breaches}
    for name, traffic in judged.step.endpoints.items():
        own = levels.of(name)
        fit = headroom(traffic, levels, name)
        wrong = ", ".join(f"{count:,} {code}" for code, count in sorted(traffic.errors.items()))
        row = {
            "Endpoint": escape(name),
            "Planned": f"{traffic.planned:,}",
            "Answered right": _share(traffic.achieved) if traffic.planned else _NONE,
            "p50, ms": _milliseconds(percentile(traffic.latencies, 0.5)),
        }
        for figure, limit in (("p95", own.p95), ("p99", own.p99)):
            measured = percentile(traffic.latencies, SHARES[figure])
            cell = f"{_milliseconds(measured)} / {limit:,.0f}"
            if traffic.right < MIN_ANSWERS[figure]:
                cell += " (not judged)"
            row[f"{figure} / level, ms"] = _marked(cell, is_bad=(name, figure) in missed)
        row |= {
            "Headroom": _NONE if fit is None else _marked(_times(fit), is_bad=fit < 1),
            "Errors": _marked(escape(wrong or "none"), is_bad=(name, "error_share") in missed),
            "Shed": _marked(f"{traffic.shed:,}", is_bad=(name, "shed_share") in missed),
        }
        rows.append(row)
    return table(f"Endpoints at {judged.step.users:,.0f} users", rows)


def _steps(verdict: Verdict, levels: Levels) -> str:
    rows = []
    for judged in verdict.steps:
        step, whole = judged.step, judged.step.whole
        reasons = [each.text for each in judged.doubts] or [describe(each) for each in judged.breaches]
        cost = step.seconds_per_request
        rows.append(
            {
                "Users": f"{step.users:,.0f}",
                "Outcome": _span(_OUTCOMES[judged.outcome], judged.outcome),
                "Seconds": f"{step.duration:,}",
                "Target /s": f"{step.target / step.duration:,.1f}",
                "Planned /s": f"{whole.planned / step.duration:,.1f}",
                "Answered right": _share(whole.achieved),
                "Least headroom": _least_headroom(judged, levels)[0],
                "Cores used": _NONE if step.cores is None else f"{step.cores:.2f}",
                "CPU ms / request": _NONE if cost is None else f"{cost * 1000:.2f}",
                "Why": _span("wide", escape("; ".join(reasons[:4]) or _NONE)),
            }
        )
    made = table("Measured steps", rows, ["Outcome", "Why"])
    withdrawn = sum(judged.step.whole.withdrawn for judged in verdict.steps)
    if withdrawn:
        note = "reads were not sent: the upload of their picture had failed, or had not ended."
        made += f'<p class="note">{withdrawn:,} {note}</p>'
    if repeated := sum(judged.step.whole.repeated for judged in verdict.steps):
        note = "times an upload was sent again, as the server asked for by Retry-After."
        made += f'<p class="note">{repeated:,} {note}</p>'
    return made


def _knee(verdict: Verdict, costs_from: str) -> str:
    prediction = verdict.prediction
    if prediction is None:
        return '<p class="note">No knee by the model: the cores of the server are unknown.</p>'
    measured = "not reached"
    if verdict.knee is not None and verdict.carried is not None and verdict.failed is not None:
        low, high = verdict.carried.step.users, verdict.failed.step.users
        measured = f"{verdict.knee:,.0f} (between {low:,.0f} and {high:,.0f})"
    elif verdict.failed is not None:
        measured = f"below {verdict.failed.step.users:,.0f}"
    cost = next(
        (each.step.seconds_per_request for each in reversed(verdict.steps) if each.step.cores), None
    )
    rows = [
        {
            "": "Knee, users",
            "Measured": measured,
            "By the model": f"{prediction.users:,.0f}",
            "Model over measured": _difference(verdict.agreement),
        },
        {
            "": "CPU milliseconds per request",
            "Measured": _NONE if cost is None else f"{cost * 1000:.2f}",
            "By the model": f"{prediction.seconds_per_request * 1000:.2f}",
            "Model over measured": _difference(prediction.seconds_per_request / cost if cost else None),
        },
    ]
    note = (
        f"The model: {short(prediction.cores)} cores, all busy, with the costs of each activity "
        f"as measured separately on: {costs_from or 'unknown'}."
    )
    return f'{table("", rows)}<p class="note">{escape(note)}</p>'


def _comparison(comparison: Mapping[str, Any] | None) -> str:
    if comparison is None:
        return '<p class="note">There is no accepted run to compare with.</p>'
    version = _version(comparison["accepted_version"])
    of = f"the run of {_instant(comparison['accepted_at'])} UTC ({version})"
    note = {
        "slower": f"This run is slower than {of}.",
        "faster": f"This run is faster than {of}.",
        "same": f"This run does not differ from {of}.",
        "unknown": f"This run can't be compared with {of}.",
    }[comparison["word"]]
    at = ""
    if comparison["users"] is None:
        note += " They have no step with the same users and rates in common."
    else:
        at = f"At {comparison['users']:,.0f} users"
    rows = [_compared(each) for each in comparison["rows"] if each["word"] != "few"]
    if few := sorted({each["endpoint"] for each in comparison["rows"] if each["word"] == "few"}):
        note += f" Too few responses to compare all metrics of {', '.join(few)}."
    made = table(at, rows, ["Metric", "Difference"]) if rows else ""
    return f'<p class="note">{escape(note)}</p>{made}'


def _compared(row: Mapping[str, Any]) -> dict[str, str]:
    figure = row["figure"]
    factor, digits = (1000, 2) if figure == "seconds_per_request" else (1, 0)
    word = row["word"]
    shown = _USERS.get(word, word) if figure == "users_carried" else word
    return {
        "Endpoint": escape(row["endpoint"] or "all"),
        "Metric": _METRICS[figure],
        "This run": f"{row['now'] * factor:,.{digits}f}",
        "Accepted": f"{row['before'] * factor:,.{digits}f}",
        "Ratio": f"{row['ratio']:.2f}",
        "Difference": "no difference" if word == "same" else _span(_STYLES[word], shown),
    }


def _generator(verdict: Verdict) -> str:
    rows = [
        {
            "Users": f"{judged.step.users:,.0f}",
            "Process": escape(process.name),
            "CPU of one core": f"{process.cpu:.0%}",
            "Latest start, ms late": f"{process.lag * 1000:,.0f}",
            "Seconds with late starts": f"{process.late_seconds:,}",
            "Longest silence, s": f"{process.silence:.1f}",
        }
        for judged in verdict.steps
        for process in judged.step.processes
    ]
    if not rows:
        return '<p class="note">It left no samples.</p>'
    note = "A step is void if a process used more than 85 % of a core, or started requests late."
    return f'{table("", rows, ["Process"])}<p class="note">{note}</p>'


def _least_headroom(judged: Judged | None, levels: Levels) -> tuple[str, str]:
    """Return the smallest headroom of a step's endpoints, and its endpoint if there is one."""
    found = {} if judged is None else judged.step.endpoints
    fits = [(headroom(traffic, levels, name), name) for name, traffic in found.items()]
    least = min(((fit, name) for fit, name in fits if fit is not None), default=None)
    return (_NONE, "") if least is None else (_times(least[0]), least[1])


def _span(style: str, text: str) -> str:
    return f'<span class="{style}">{text}</span>'


def _marked(text: str, *, is_bad: bool) -> str:
    return _span("bad", text) if is_bad else text


def _version(names: Mapping[str, Any]) -> str:
    found = ", ".join(f"{name} {value}" for name, value in names.items() if value)
    return found or "version unknown"


def _times(value: float) -> str:
    return f"{value:.1f}\N{MULTIPLICATION SIGN}"


def _share(value: float) -> str:
    # 99.996 % must not become 100 %.
    return "100 %" if value == 1 else f"{min(value, 0.9999):.2%}".replace("%", "\N{NO-BREAK SPACE}%")


def _milliseconds(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.0f}"


def _difference(ratio: float | None) -> str:
    return _NONE if ratio is None else f"{ratio - 1:+.0%}"


def _instant(at: float) -> str:
    try:
        return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return "unknown"
