"""Readers: a module for each format, which reads a file before a library decodes it.

A reader bounds the structures of a file, returns the metadata that browsers apply, and leaves out of
the file for the decoder what no pixel needs.
"""
