"""The class of requests."""

from __future__ import annotations

import pytest
import webtest

from persona_profile.api.requests import ServiceRequest
from persona_profile.app import make_app
from persona_profile.settings import parse_settings


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """Return an application without the checks of other tests."""
    folder = tmp_path_factory.mktemp("app")
    settings = {
        "development": "true",
        "development.folder": str(folder),
        "public_origins": "http://localhost",
    }
    made = make_app(parse_settings(settings, {}))
    yield made
    made.close()


def test_requests_have_one_class(app):
    """No property is added to single requests, and nothing listens to each of them."""
    assert app.router.request_factory is ServiceRequest
    assert app.router.request_extensions is None
    assert not app.router.registry.has_listeners


@pytest.mark.parametrize("path", ["/v1/", "/v1/nothing", "/v1/profiles", "/"])
def test_no_sniffing(app, path):
    """Each answer, of an error and of the demo too, forbids browsers to guess its type, once."""
    answer = webtest.TestApp(app).get(path, expect_errors=True)
    assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"]
