def test_edit(app, sign_in):
    """An edited name is there when the profile is read again."""
    headers = sign_in("alice@example.com")
    app.patch_json("/v1/profiles/alice@example.com", {"name": "Alice"}, headers=headers)
    assert app.get("/v1/profiles", headers=headers).json["profiles"][0]["name"] == "Alice"
