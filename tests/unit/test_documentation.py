import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
API = (ROOT / "docs" / "api.md").read_text()
SOURCE = "".join(path.read_text() for path in (ROOT / "persona_profile").rglob("*.py"))


def test_every_code_is_documented():
    """Every code that an error can have stands in the documentation of the API."""
    raised = re.findall(
        r"(?:InvalidProof|InvalidSession|InvalidJws|FetchError|Unauthorized|UnprocessablePicture|PictureRefused|_Failure)"
        r'\(\s*"([a-z_0-9]+)"',
        SOURCE,
    )
    declared = re.findall(r'^    code(?:: str)? = "([a-z_0-9]+)"', SOURCE, re.MULTILINE)
    composed = [
        f"{what}_{reason}"
        for reason in re.findall(r'InvalidProof\(f"\{what\}_([a-z_]+)"', SOURCE)
        for what in ("certificate", "assertion")
    ]
    codes = {*raised, *declared, *composed} - {"forbidden"}
    assert len(codes) > 40
    assert {code for code in codes if f"`{code}`" not in API} == set()


def test_every_setting_is_explained():
    """Every setting stands in production.ini, explained."""
    settings = re.findall(r'_setting\("([a-z_.]+)"', SOURCE)
    text = (ROOT / "production.ini").read_text()
    assert len(settings) > 15
    missing = {
        name for name in settings if not re.search(rf"^#?{re.escape(name)} =", text, re.MULTILINE)
    }
    assert missing == {"development.folder"}


def test_decisions_are_listed():
    """Every decision record stands in their index."""
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text()
    assert all(path.name in index for path in folder.glob("0*.md"))


def test_conformance_of_pictures():
    """Every row of the table of pictures names tests that there are."""
    rows = re.findall(
        r"^\| .+ \| ((?:`test_\w+`(?:, )?)+) \|$", (ROOT / "docs/pictures.md").read_text(), re.MULTILINE
    )
    named = {name for row in rows for name in re.findall(r"test_\w+", row)}
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(rows) > 30
    assert {name for name in named if f"def {name}(" not in tests} == set()
