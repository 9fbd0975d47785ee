"""Tables of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape


def table(caption: str, rows: Sequence[Mapping[str, str]], texts: Sequence[str] = ()) -> str:
    """Return a table of HTML.

    Args:
        caption: its title; empty for none.
        rows: of cells in HTML, by the heads of their columns; the first cell is the row's head.
        texts: heads of the columns with text.
    """
    heads = list(rows[0]) if rows else []
    kinds = {head: 'class="text"' if head in texts else "" for head in heads}
    top = "".join(f'<th scope="col" {kinds[head]}>{escape(head)}</th>' for head in heads)
    body = "".join(_row(row, kinds) for row in rows)
    name = f"<caption>{escape(caption)}</caption>" if caption else ""
    label = escape(caption or "".join(heads[:1]) or "table")
    # It scrolls on narrow screens, so the keyboard must reach it.
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{label}"><table>{name}'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Mapping[str, str], kinds: Mapping[str, str]) -> str:
    first, *rest = row.items()
    cells = "".join(f"<td {kinds[head]}>{cell}</td>" for head, cell in rest)
    return f'<tr><th scope="row">{first[1]}</th>{cells}</tr>'
