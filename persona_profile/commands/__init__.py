"""The parts of the `persona-profile` command."""
