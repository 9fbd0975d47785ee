"""Packaging of the Persona Profile Server."""

import json
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithCommit(build_py):
    """Notes in the package which commit it is built from, if that is known."""

    def run(self) -> None:
        """Copy the package, and write `version.json` beside it."""
        super().run()
        if self.editable_mode:
            return  # a checkout changes without being built again
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - whichever git there is
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
        document = {"version": self.distribution.get_version(), "commit": head.stdout.strip()}
        Path(self.build_lib, "persona_profile", "version.json").write_text(json.dumps(document))


setup(
    name="persona-profile-server",
    version="0.1.0",
    description="The service behind the profile cards of a federated sign-in dialog",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MPL-2.0",
    license_files=["LICENSE"],
    cmdclass={"build_py": BuildWithCommit},
    python_requires=">=3.11",
    packages=[
        "backends",
        "backends.copying",
        "backends.engines",
        "backends.engines.migrations",
        "backends.engines.migrations.versions",
        "backends.testing",
        "loadtest",
        "loadtest.gate",
        "loadtest.gate.report",
        "loadtest.generator",
        "loadtest.identities",
        "loadtest.pictures",
        "persona_profile",
        "persona_profile.api",
        "persona_profile.auth",
        "persona_profile.capacity",
        "persona_profile.cli",
        "persona_profile.development",
        "persona_profile.doctor",
        "persona_profile.images",
        "persona_profile.images.colours",
        "persona_profile.images.readers",
        "persona_profile.images.workers",
        "persona_profile.keys",
        "persona_profile.profiles",
        "persona_profile.rate_limits",
        "persona_profile.runtime",
        "persona_profile.serving",
        "persona_profile.store",
        "persona_profile.store.maintenance",
    ],
    package_dir={"": "."},
    package_data={
        "backends": ["py.typed"],
        "loadtest": ["py.typed"],
        "loadtest.gate": ["service-levels.toml"],
        "loadtest.gate.report": ["report.html"],
        "persona_profile.api": ["openapi.yaml"],
        "persona_profile.capacity": ["costs.json"],
        "persona_profile": ["py.typed", "static/*/*", "version.json"],
    },
    install_requires=[
        "alembic>=1.16",
        "cachetools>=7",
        "colander>=2.0",
        "cornice>=6.1,<7",
        "cryptography>=46",
        "dnspython>=2.7,<3",
        "idna>=3.10",
        "joserfc>=1.8,<2",
        "limits>=5.6,<6",
        "mozjpeg-lossless-optimization>=1.3",
        "multipart>=2.0.1,<3",
        "pillow>=12.1",
        "pillow-heif>=1.1",
        "pillow-jxl-plugin>=1.3.8,<2",
        "plaster>=1.1",
        "plaster-pastedeploy>=1.0",
        "prometheus-client>=0.23",
        # A list that grows: each release has it as of its day.
        "publicsuffixlist>=1.0.2",
        "pymysql>=1.2.0",  # the first that rejects a server without TLS if TLS is required
        "pyramid>=2.1,<3",
        "pyyaml>=6.0.3",
        # The data of one Unicode for every interpreter: properties, and normalization.
        "regex>=2026.11.19",
        "unicodedata2>=18",
        # Pyramid 2.1 and Cornice 6.1 import pkg_resources, which setuptools 82 no longer has.
        "setuptools>=77,<82",
        "sqlalchemy>=2.0.44",
        # Names of time zones, whatever the operating system brings.
        "tzdata",
        "urllib3>=2.5,<3",
        "waitress>=3.0.1,<4",
    ],
    extras_require={
        # What the benchmarks of pictures measure with, and against.
        "benchmark": ["matplotlib>=3.10", "pebble>=5.1", "ssimulacra2>=0.3"],
        "lint": [
            "import-linter>=2.3",
            "mypy>=1.18",
            "ruff>=0.14",
            "types-cachetools",
            "types-PyYAML",
            "types-regex",
            "uv>=0.9",  # for `make lock`
        ],
        # What makes the load, and what draws its report.
        "loadtest": ["locust>=2.39", "matplotlib>=3.10"],
        # For the charts of `storage stats --plot` and `model --plot`.
        "plot": ["matplotlib>=3.10"],
        # Rate limits that several processes share.
        "redis": ["redis>=6.2,<8"],
        "test": [
            "coverage>=7.10",  # the first that follows subprocesses by itself
            "pytest-cov>=7",  # collects the data of pytest's parallel processes
            "cryptography_vectors>=46",  # those of NIST and the RFCs
            "emoji>=2.16",  # every emoji that there is
            "hypothesis>=6.140",
            "jsonschema-rs>=0.60",
            "locust>=2.39",
            "matplotlib>=3.10",
            "mock",  # PyBrowserID's test support imports it
            "numpy>=2.1",
            "oidc-provider-mock>=0.3.4",  # a provider of another author
            "openapi-spec-validator>=0.9",
            "PyBrowserID==0.14.0",
            "PyJWT>=2.10",
            "pyevp>=0.2,<0.3",  # an issuer of email verification tokens, and a browser
            "pycryptodome>=3.21",  # independent_keys.py must not share the service's library
            "pytest>=9",
            "pytest-benchmark>=5.1",
            "pytest-timeout>=2.4",
            "pytest-xdist>=3.8",
            "redis>=6.2,<8",
            "schemathesis>=4.32,<5",
            "selenium>=4.36",
            "sqlglot>=30",
            "trustme>=1.2",
            "WebTest>=3.0.7",
        ],
    },
    entry_points={
        "console_scripts": ["persona-profile = persona_profile.cli:main"],
        "paste.app_factory": ["main = persona_profile.serving:make_app"],
        "paste.server_runner": ["main = persona_profile.serving.server:serve"],
        "persona_profile.authenticators": [
            "browserid = persona_profile.auth.browserid:from_context",
            "evp = persona_profile.auth.email_verification:from_context",
            "openid = persona_profile.auth.openid:from_context",
        ],
        "persona_profile.backends": [
            "memory = backends.engines.memory:MemoryBackend.from_url",
            "mysql = backends.engines.mysql:MysqlBackend.from_url",
            "sqlite = backends.engines.sqlite:SqliteBackend.from_url",
        ],
    },
)
