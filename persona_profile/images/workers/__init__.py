"""Workers: confined processes that decode hostile files, and the service's side of them."""

from typing import Final

ALL_CORES: Final = "all-cores"
"""The argument of a fork server that has no service to leave a core to."""
