"""The page about the API agrees with the OpenAPI document, and both with the code."""

import itertools
import re

from support import ROOT
from support.clients.contract import DOCUMENT, STATUS_OF

from persona_profile.api.openapi import openapi_source
from persona_profile.errors import Forbidden, ServiceError
from persona_profile.serving.channels import PROBLEM_CODES
from persona_profile.store.profile import PROFILE_KEY_REQUIRED, PROFILE_KEY_WRONG, UNREADABLE

API = (ROOT / "docs/reference/api.md").read_text()
SOURCE = "".join(path.read_text() for path in (ROOT / "persona_profile").rglob("*.py"))


def test_every_code_is_documented():
    """The errors' codes in the code are those of the OpenAPI document."""
    raised = re.findall(
        r"(?:InvalidProof|LookupFailed|InvalidSession|InvalidJws|FetchError|Unauthorized|UnprocessablePicture|SuggestionRejected|_Failure)"
        r'\(\s*"([a-z_0-9]+)"',
        SOURCE,
    )
    declared = re.findall(r'\bcode ?= ?"([a-z_0-9]+)"', SOURCE)
    composed = [
        f"{what}_{reason}"
        for reason in re.findall(r'InvalidProof\(f"\{what\}_([a-z_]+)"', SOURCE)
        for what in ("certificate", "assertion")
    ]
    of_profiles = [UNREADABLE, PROFILE_KEY_REQUIRED, PROFILE_KEY_WRONG]
    of_http = ["method_not_allowed", *PROBLEM_CODES.values()]
    of_nginx = re.findall(r'"code":"([a-z_]+)"', (ROOT / "deploy" / "nginx.conf").read_text())
    codes = {*raised, *declared, *composed, *of_profiles, *of_http, *of_nginx} - {"forbidden"}
    assert codes == set(STATUS_OF)


def test_every_error_is_documented_with_its_status():
    """Each class of errors with its own code has its status of the OpenAPI document."""
    classes, seen = [ServiceError], set()
    while classes:
        error = classes.pop()
        classes += error.__subclasses__()
        if "code" in vars(error) and error is not Forbidden:
            assert STATUS_OF[error.code] == error.status
            seen.add(error.code)
    assert len(seen) >= 15


def test_errors_of_the_api():
    """The page's tables of errors equal the OpenAPI document, row by row."""
    problems = openapi_source()["x-problems"]
    expected = [
        f"| {status} {row}" for status, codes in problems["statuses"].items() for row in rows(codes)
    ]
    expected.insert(4, "| 401 | one of the reasons below | the proof does not hold |")
    assert table("## Errors") == expected
    assert table("### Why a proof does not hold") == rows(problems["proofs"])


def test_calls_of_the_api():
    """The page's table of calls has the calls of the OpenAPI document, with their statuses."""
    documented = set()
    for row in table("## Calls"):
        calls, _body, answer, _end = row.removeprefix("| ").split("|", 3)
        for method, paths in re.findall(r"`([A-Z]+) ([^`]+(?:`, `/[^`]+)*)`", calls):
            for path in paths.split("`, `"):
                status = re.match(r" (\d+)\b", answer)
                documented.add((method, path.partition("[")[0], int(status[1]) if status else 200))
    assert documented == {
        (method.upper(), path, int(min(operation["responses"])))
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
        if path != "/v1"
    }


def table(heading):
    """Return the rows of the first table below a heading."""
    return re.findall(r"^\|.*\|$", API[API.index(heading) :].split("\n#", 1)[0], re.MULTILINE)[2:]


def rows(advice):
    """Return the rows of codes and their advice; adjacent codes with the same advice share a row."""
    return [
        f"| {', '.join(f'`{code}`' for code in codes)} | {text} |".replace("|  |", "| |")
        for text, codes in itertools.groupby(advice, key=advice.get)
    ]
