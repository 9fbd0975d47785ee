"""Accessibility rules that a page violates, by axe-core."""

from __future__ import annotations

from typing import Any

from selenium import webdriver

from support.forgeries.oracle import FOLDER, install_packages

_AXE = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
_GRAVE = ("serious", "critical")
_RUN = """
const done = arguments[arguments.length - 1];
const summary = ({ id, impact, help, nodes }) => ({
  id, impact, help, nodes: nodes.map(({ target, failureSummary }) => ({ target, failureSummary })),
});
axe.run(document, { resultTypes: ["violations"] }).then(
  ({ violations }) => done(violations.map(summary)),
  (error) => done([{ id: "axe-failed", impact: "critical", help: String(error), nodes: [] }]),
);
"""


def violations(browser: webdriver.Chrome) -> list[dict[str, Any]]:
    """Return the serious and critical violations of the current page, shadow trees included.

    Each violation has `id`, `impact`, `help`, and `nodes` with `target` and `failureSummary`.
    """
    install_packages(_AXE)
    # The driver injects the script, so that the page's policy need not allow it.
    browser.execute_script(_AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = browser.execute_async_script(_RUN)
    return [each for each in found if each["impact"] in _GRAVE]
