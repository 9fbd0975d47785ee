"""Makes the content of the volumes of compose.yaml.

Secrets and certificates that are there already stay; nginx's settings are renewed.
"""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from persona_profile.keys.keyring import Keyring
from persona_profile.keys.keyring_file import KeyringFile

VOLUMES: Final = Path(os.environ.get("VOLUMES", "/volumes"))
SHIPPED: Final = Path(__file__).with_name("nginx.conf")
DAYS: Final = 365


def main() -> None:
    """Make secrets for each container, and the front."""
    owner, group = (int(each) for each in os.environ["OWNER"].split(":"))
    for name, user in (("root", "root"), ("admin", "persona_admin"), ("service", "persona")):
        # MariaDB's image reads them as its own user, in a volume that no other container has.
        password = VOLUMES / "database" / name
        if not password.exists():
            password.write_text(secrets.token_hex(24))
            password.chmod(0o444)
        if name != "root":
            folder = VOLUMES / ("admin" if name == "admin" else "secrets")
            for file, database in (("backend.url", "persona"), ("ledger.url", "persona_ledger")):
                url = folder / file
                if not url.exists():
                    url.write_text(f"mysql://{user}:{password.read_text()}@mariadb:3306/{database}\n")
                    url.chmod(0o400)
                os.chown(url, owner, group)
    keyring = VOLUMES / "secrets" / "keyring.json"
    if not keyring.exists():
        KeyringFile(keyring).create(Keyring.generate())
    os.chown(keyring, owner, group)
    make_front(VOLUMES / "front", os.environ["DOMAIN"], os.environ["DIALOG"])


def make_front(folder: Path, domain: str, dialog: str) -> None:
    """Write nginx's settings, and a certificate of our own until there is another one."""
    if not (folder / "privkey.pem").exists():
        make_certificate(folder, domain)
    text = SHIPPED.read_text()
    for old, new in (
        ("https://login.example.com", dialog),
        ("profiles.example.com", domain),
        ("127.0.0.1:6543", "persona-profile:6543"),
        ("/etc/ssl/persona-profile", "/run/front"),
        ("/var/log/nginx/access.log", "/dev/stdout"),
        ("/var/log/nginx/error.log", "/dev/stderr"),
    ):
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)


def make_certificate(folder: Path, domain: str) -> None:
    """Write a self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, domain)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    descriptor = os.open(folder / "privkey.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private)


if __name__ == "__main__":
    main()
