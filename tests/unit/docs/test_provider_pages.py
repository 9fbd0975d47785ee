"""The pages about kinds of proof, providers and rejected proofs agree with the code."""

import json
import re

import pytest
from support import ROOT
from support.servers.provider_pages import FOLDER, entries

from persona_profile.api.openapi import openapi_source
from persona_profile.auth.openid_issuers import OpenIDIssuers
from persona_profile.errors import DnsUnavailable

GUIDES = ROOT / "docs/how-to"
REJECTED = (GUIDES / "rejected-proofs.md").read_text()
CHOOSING = (GUIDES / "choosing-proofs.md").read_text()
PAGES = sorted(FOLDER.glob("*.md"))
TESTS = (ROOT / "tests/functional/auth/test_real_providers.py").read_text()
AUTH = ROOT / "persona_profile/auth"
KINDS = ("browserid", "openid", "email_verification")


def rows(text):
    """Return the rows of codes in a text: the codes, the cause, and the advice."""
    found = re.findall(r"^\| ((?:`[a-z_0-9]+`(?:, )?)+) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    return [(re.findall(r"[a-z_0-9]+", codes), cause, advice) for codes, cause, advice in found]


def test_every_code_of_a_proof_is_explained():
    """The page has each code of the contract that a proof can give, once."""
    codes = [code for names, _cause, _advice in rows(REJECTED) for code in names]
    assert len(codes) == len(set(codes))
    assert set(codes) == {*openapi_source()["x-problems"]["proofs"], DnsUnavailable.code}


@pytest.mark.parametrize(
    ("heading", "own"),
    [
        ("BrowserID", "browserid"),
        ("ID tokens", "openid"),
        ("Email verification tokens", "email_verification"),
    ],
)
def test_codes_of_one_kind(heading, own):
    """No other kind of proof gives the codes that the page has for one kind alone."""
    section = REJECTED.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    modules = [path for kind in KINDS for path in AUTH.glob(f"{kind}*.py") if kind != own]
    foreign = "".join(path.read_text() for path in modules)
    # A fetch gives this code for every kind; ID tokens and email verification tokens replace it.
    codes = {code for names, _cause, _advice in rows(section) for code in names}
    codes -= {"support_document_too_large"}
    assert len(codes) > 3
    assert {code for code in codes if f'"{code}"' in foreign} == set()


def test_kinds_of_proof():
    """The table of kinds has a column for each kind of the API, by its member."""
    [members] = re.findall(r"^\| member \| (.*) \|$", CHOOSING, re.MULTILINE)
    named = [re.findall(r"`(\w+)`", each) for each in members.split(" | ")]
    assert named[:3] == [["assertion"], ["id_token"], ["evt"]]
    request = openapi_source()["paths"]["/v1/sessions"]["post"]["requestBody"]
    examples = request["content"]["application/json"]["x-example-proofs"]
    assert set(named[3]) == set(examples)


def test_table_of_providers():
    """The table has each page of a provider, and says which of them the tests run."""
    run = dict.fromkeys(
        re.findall(r"\(providers/([\w-]+\.md)[^)]*\).* \| yes \|$", CHOOSING, re.MULTILINE)
    )
    others = re.findall(r"\(providers/([\w-]+\.md)[^)]*\).* \| no \|$", CHOOSING, re.MULTILINE)
    assert {*run, *others} == {page.name for page in PAGES}
    for name in run:
        [tested] = set(re.findall(r"`(Test\w+)`", (FOLDER / name).read_text()))
        assert f"class {tested}:" in TESTS
    assert all("**Not run here**" in (FOLDER / name).read_text() for name in others)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_entries_of_providers(page):
    """The server accepts each entry of `openid.issuers` on a page."""
    found = entries(page.name, "example.org")
    assert found
    for entry in found:
        is_local = entry["issuer"].startswith("http://localhost")
        trusted = OpenIDIssuers.parse([entry], is_development=is_local)
        issuer = trusted.get(entry["issuer"])
        assert issuer is not None
        assert issuer.vouches_for("gmail.com") is False
        assert issuer.assumes_verified("example.org") == ("assume_verified" in entry)


def test_program_of_oidc_provider():
    """The lines of its page are those of the provider that the tests run."""
    program = (ROOT / "tests/oracle/provider.mjs").read_text()
    [block] = re.findall(r"```js\n(.*?)```", (FOLDER / "oidc-provider.md").read_text(), re.DOTALL)
    lines = [line.strip() for line in block.splitlines()]
    assert lines
    assert [line for line in lines if line not in map(str.strip, program.splitlines())] == []


def test_advice_on_claims():
    """The `claims` parameter of a page asks for both claims."""
    [text] = re.findall(r"`claims=(\{.*?\})`", (FOLDER / "oidc-provider.md").read_text())
    assert json.loads(text) == {"id_token": {"email": None, "email_verified": None}}
