"""Helpers of the tests: servers, clients, browsers, forgeries and pictures."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
"""The folder of the project."""
