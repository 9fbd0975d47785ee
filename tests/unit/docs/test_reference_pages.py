"""The pages about settings, command and old names agree with the code."""

import argparse
import re

from limits import RateLimitItem
from support import ROOT

from persona_profile.cli import _parser
from persona_profile.settings import NAMES, parse_settings

SOURCE = "".join(path.read_text() for path in (ROOT / "persona_profile").rglob("*.py"))
SETTINGS_PAGE = (ROOT / "docs/reference/settings.md").read_text()


def test_every_setting_is_explained():
    """production.ini explains every setting."""
    text = (ROOT / "production.ini").read_text()
    assert len(NAMES) > 15
    missing = {name for name in NAMES if not re.search(rf"^#?{re.escape(name)} =", text, re.MULTILINE)}
    assert missing == {
        "development.folder",
        "development.provider_listen",
        "development.issuer_listen",
    }


def test_settings_page():
    """The page of settings lists each setting with its default."""
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \|", SETTINGS_PAGE, re.MULTILINE)
    values = parse_settings({"public_origins": "https://a.example", "keyring.path": "k"}, {})
    defaults = {name: shown(getattr(values, name.replace(".", "_"))) for name in NAMES}
    defaults |= {"public_origins": "required", "keyring.path": "none"}
    assert len(rows) == len(dict(rows))
    assert dict(rows) == defaults


def shown(value):
    """Return a setting's default in the notation of the page and `production.ini`."""
    if isinstance(value, RateLimitItem):
        multiple = value.multiples if value.multiples > 1 else ""
        return f"{value.amount}/{multiple}{value.GRANULARITY.name}"
    if isinstance(value, tuple):
        return " ".join(value) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_command_page():
    """The page of the command lists every job with its arguments and options."""
    page = (ROOT / "docs/reference/command.md").read_text()
    rows = re.findall(r"^\| `([a-z -]+?)((?: [A-Z]+)*)` \| (.*?) ?\|", page, re.MULTILINE)
    listed = {
        job: (arguments.split(), set(re.findall(r"--[a-z-]+", more))) for job, arguments, more in rows
    }
    assert listed == dict(jobs(_parser(), ""))


def jobs(parser, name):
    """Yield a command's jobs with their arguments and options."""
    groups = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    for group in groups:
        for word, below in group.choices.items():
            yield from jobs(below, f"{name} {word}".strip())
    if not groups:
        shown = [
            each for each in parser._actions if each.help != argparse.SUPPRESS and each.dest != "help"
        ]
        arguments = [each.metavar for each in shown if not each.option_strings]
        yield name, (arguments, {each.option_strings[-1] for each in shown if each.option_strings})


def test_renamed_names():
    """The page of renamed names lists existing new names and no existing old ones."""
    page = (ROOT / "docs/reference/renamed.md").read_text()
    metrics = (ROOT / "docs/reference/metrics.md").read_text()
    settings, rest = page.partition("## Metrics")[::2]
    for old, new in re.findall(r"^\| `([a-z_.]+)` \| `([a-z_.]+)` \|", settings, re.MULTILINE):
        assert (old in NAMES, new in NAMES) == (False, True)
    for old, new in re.findall(r"^\| `(persona_\w+)` \| `(persona_\w+)` \|", rest, re.MULTILINE):
        assert (f"`{old}`" in metrics, f"`{new}`" in metrics) == (False, True)
