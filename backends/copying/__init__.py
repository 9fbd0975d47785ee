"""Copies, backups and restores of whole stores, through the interface alone."""
