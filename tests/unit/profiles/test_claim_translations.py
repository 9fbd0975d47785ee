"""The reasons against claims, which the client translates: it finds them by their English text."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path

import pytest

import persona_profile
from persona_profile.api import schemas
from persona_profile.development import identity_provider
from persona_profile.errors import ValidationFailed
from persona_profile.profiles import claims

STATIC = Path(persona_profile.__file__).with_name("static")


def reasons(module):
    """Return the reasons that a module raises; each value in them is "7"."""
    raised = [
        node.exc.args[0]
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args
    ]
    return {
        "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in parts)
        for parts in (getattr(each, "values", [each]) for each in raised)
    }


def english_patterns():
    """Return the patterns of the English descriptions that have translations."""
    path = STATIC / "client/messages/en.json"
    for key, message in json.loads(path.read_text(encoding="utf-8")).items():
        if key.startswith("description."):
            for form in [message] if isinstance(message, str) else message.values():
                yield re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(form)))


def reason_against_a_key(body):
    """Return the reason against a wrong key."""
    with pytest.raises(ValidationFailed) as caught:
        schemas.validate(body, {"profile_key": "wrong"})
    [error] = caught.value.errors
    return error.description


def test_reason_against_input():
    """Each reason against a person's input is a text of messages/en.json, as `description.`."""
    patterns = list(english_patterns())
    found = reasons(claims)
    found |= set(map(reason_against_a_key, (schemas.PROFILE_KEY_BODY, schemas.ADDED_KEY_BODY)))
    assert len(found) > 5
    assert {each for each in found if not any(form.fullmatch(each) for form in patterns)} == set()


def test_reason_of_the_development_server(tmp_path):
    """Each reason of the development identity provider is a text of the demo."""
    texts = json.loads((STATIC / "demo/messages/en.json").read_text(encoding="utf-8"))
    provider = identity_provider.DevelopmentIdentityProvider.load(tmp_path)
    seen = set()
    for email in ("no email", "eve@evil.test"):
        with pytest.raises(ValueError, match=r".") as caught:
            provider.bundle(email, "http://127.0.0.1")
        seen.add(str(caught.value))
    assert seen == {text for key, text in texts.items() if key.startswith("development.")}
