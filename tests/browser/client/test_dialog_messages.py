"""Messages for all errors, checked against the codes of the API page and the client's types."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CLIENT_CODES = {
    *("offline", "no_answer", "timeout", "aborted", "answer_invalid", "file_unreadable"),
    *("sign_in_denied", "sign_in_failed", "sign_in_mismatch"),
    *("passkey_unsupported", "passkey_unreliable", "passkey_exists", "passkey_cancelled"),
    *("passkey_forbidden", "recovery_code_invalid", "picture_removed"),
}
ACTIONS = {
    *("retry", "wait", "sign-in", "other-address", "choose-file"),
    *("correct", "look-again", "key", "report", "none"),
}

EXPLAIN = """
const done = arguments[arguments.length - 1];
import("/static/persona-messages.js").then(
  ({codes, explain}) => done([codes, arguments[0].map((error) => explain(error, arguments[1] ?? {}))]),
  (error) => done(String(error)),
);
"""


def documented_codes():
    """Return the codes in the tables of docs/reference/api.md: of problems and of proofs."""
    text = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    errors = text[text.index("\n## Errors") :]
    problems, proofs = errors.split("### Why a proof does not hold")
    cells = re.findall(r"^\| \d{3} \| ([^|]*) \|", problems, re.MULTILINE)
    cells += re.findall(r"^\| (`[^|]*) \|", proofs, re.MULTILINE)
    return {code for cell in cells for code in re.findall(r"`(\w+)`", cell)}


@pytest.fixture
def explain(page):
    """Explains errors by the pages' module; returns its codes and the explanations."""
    return lambda errors, translations=None: page.browser.execute_async_script(
        EXPLAIN, errors, translations
    )


class TestExplaining:
    def test_every_documented_code(self, explain):
        """Every documented code, and no other, has plain sentences and an action."""
        documented = documented_codes()
        assert len(documented) > 50
        wanted = sorted(documented | CLIENT_CODES)
        codes, explanations = explain([{"code": code} for code in wanted])
        assert sorted(codes) == wanted
        for code, each in zip(wanted, explanations, strict=True):
            assert re.fullmatch(r"[A-Z].*\.", each["text"]), code
            assert not re.search(r"undefined|null|NaN|_|\bJSON\b|\bHTTP\b", each["text"]), code
            assert each["action"] in ACTIONS, code
            assert each["fields"] == []

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (
                {"code": "body_too_large", "limit": 20 * 2**20},
                "This picture is larger than 20 MB. Choose a smaller one.",
            ),
            (
                {"code": "picture_too_many_pixels", "limit": 50_000_000, "details": {"pixels": 64e6}},
                (
                    "This picture has too many pixels (64 megapixels). "
                    "At most 50 megapixels can be used. Choose a smaller one."
                ),
            ),
            (
                {"code": "overloaded", "retryAfter": 5},
                "The server is busy just now. Try again in 5 seconds.",
            ),
            (
                {"code": "internal_error", "requestId": "abc"},
                (
                    "The server made a mistake. Try again; if that does not help, "
                    "report it to its operators with this number: abc."
                ),
            ),
        ],
    )
    def test_figures(self, explain, error, text):
        """Limits and times have common units."""
        assert explain([error])[1][0]["text"] == text

    def test_fields(self, explain):
        """Each invalid field has the form's own label."""
        errors = [
            {
                "location": "body",
                "name": "picture_alt",
                "description": "must have at most 200 characters",
            }
        ]
        [explained] = explain([{"code": "validation_failed", "errors": errors}])[1]
        wanted = "Picture in words: must have at most 200 characters."
        assert explained == {
            "text": wanted,
            "action": "correct",
            "fields": [{"name": "picture_alt", "text": wanted}],
        }

    def test_what_it_does_not_know(self, explain):
        """Unknown codes, busy servers and missing errors are explained too."""
        unknown = [{"code": "rate_limited", "isTemporary": True}, {"code": "strange"}, {}, None, "text"]
        explained = explain(unknown)[1]
        assert [each["action"] for each in explained] == [
            "wait",
            "report",
            "report",
            "report",
            "report",
        ]
        assert all(each["text"].endswith(".") for each in explained)

    @pytest.mark.parametrize("name", ["__proto__", "constructor", "toString"])
    def test_names_of_the_language(self, explain, name):
        """Codes and fields with the names of JavaScript's own members count as unknown."""
        errors = [{"location": "body", "name": name, "description": "is not a known member"}]
        unknown = [{"code": name}, {"code": "validation_failed", "errors": errors}]
        codes, [code, field] = explain(unknown)
        assert name not in codes
        assert (code["action"], name in code["text"]) == ("report", True)
        assert field["text"] == f"{name}: is not a known member."

    def test_translation(self, explain):
        """A translation replaces the sentence, not the action."""
        explained = explain([{"code": "offline"}], {"offline": "Keine Verbindung."})[1]
        assert explained == [{"text": "Keine Verbindung.", "action": "retry", "fields": []}]
