"""Tables of a report."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape


def table(
    caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], texts: Collection[int] = ()
) -> str:
    """Return a table of HTML.

    Args:
        caption: its title; empty for none.
        heads: of the columns.
        rows: of cells in HTML; the first cell is the row's head.
        texts: numbers of the columns with text.
    """
    kinds = ['class="text"' if place in texts else "" for place in range(len(heads))]
    top = "".join(
        f'<th scope="col" {kind}>{escape(head)}</th>' for head, kind in zip(heads, kinds, strict=True)
    )
    body = "".join(_row(row, kinds) for row in rows)
    name = f"<caption>{escape(caption)}</caption>" if caption else ""
    label = escape(caption or heads[0] or "table")
    # It scrolls on narrow screens, so the keyboard must reach it.
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{label}"><table>{name}'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Sequence[str], kinds: Sequence[str]) -> str:
    head = f'<th scope="row">{row[0]}</th>'
    cells = "".join(f"<td {kind}>{cell}</td>" for cell, kind in zip(row[1:], kinds[1:], strict=True))
    return f"<tr>{head}{cells}</tr>"
