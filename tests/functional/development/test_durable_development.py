"""The development server on a file: `make run BACKEND=sqlite`."""

import webtest
from support.clients.identities import AUDIENCE
from support.pictures.pictures import encode, quadrants
from support.servers.applications import application

EMAIL = "alice@example.com"


def start(folder):
    """Start the application again; return it with the headers of a session."""
    app = webtest.TestApp(
        application(folder, backend="sqlite", backend__url=f"sqlite:///{folder}/items.sqlite"),
        extra_environ={"HTTP_HOST": "127.0.0.1:6543"},
    )
    proof = {"assertion": app.app.development.identity_provider.bundle(EMAIL, AUDIENCE)}
    token = app.post_json("/v1/sessions", {"proofs": [proof]}, status=201).json["token"]
    return app, {"Authorization": f"Bearer {token}"}


def stop(app):
    """Stop the application as the server does."""
    app.app.close()


def test_data_outlive_a_restart(tmp_path):
    """Profile, picture, its URL and even the session are there after a restart."""
    app, headers = start(tmp_path)
    app.patch_json(f"/v1/profiles/{EMAIL}", {"name": "Alice"}, headers=headers)
    photo = headers | {"Content-Type": "image/jpeg"}
    before = app.put(f"/v1/profiles/{EMAIL}/picture", encode(quadrants()), headers=photo).json
    stop(app)
    app, again = start(tmp_path)
    for session in (headers, again):
        assert app.get(f"/v1/profiles/{EMAIL}", headers=session).json == before
    path = before["picture"]["urls"]["64"].removeprefix(AUDIENCE)
    assert app.get(path).content_type.startswith("image/")
    stop(app)


def test_a_used_proof_stays_used(tmp_path):
    """An assertion that opened a session before the restart opens none after it."""
    app, _ = start(tmp_path)
    proof = {"assertion": app.app.development.identity_provider.bundle(EMAIL, AUDIENCE)}
    app.post_json("/v1/sessions", {"proofs": [proof]}, status=201)
    stop(app)
    app, _ = start(tmp_path)
    assert (
        app.post_json("/v1/sessions", {"proofs": [proof]}, status=401).json["code"] == "proof_replayed"
    )
    stop(app)


def test_keyring_is_private(tmp_path):
    """The keyring that development makes is readable by its owner alone."""
    app, _ = start(tmp_path)
    stop(app)
    assert (tmp_path / "keyring.json").stat().st_mode & 0o777 == 0o600
