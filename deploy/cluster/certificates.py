"""Certificates for a trial: an authority and what it vouches for, made at each start by openssl."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from processes import NotStarted

_DAYS: Final = "30"


def make(folder: Path, machines: Mapping[Path, str]) -> None:
    """Make `ca.pem` in a folder, and `ca.pem`, `cert.pem` and `key.pem` in that of each address.

    Raises:
        NotStarted: openssl fails.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    authority, secret = folder / "ca.pem", folder / "ca-key.pem"
    _openssl("-subj", "/CN=cluster on one machine", "-keyout", secret, "-out", authority)
    for machine, address in machines.items():
        machine.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(authority, machine)
        _openssl(
            *("-CA", authority, "-CAkey", secret, "-subj", f"/CN={address}"),
            *("-addext", f"subjectAltName=IP:{address}"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-keyout", machine / "key.pem", "-out", machine / "cert.pem"),
        )
    secret.unlink()  # nobody needs to vouch for more


def _openssl(*arguments: str | Path) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    command = ["openssl", "req", "-x509", *key, "-days", _DAYS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotStarted(f"a certificate can't be made: {done.stderr.strip()}")
