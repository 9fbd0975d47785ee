"""Colours: from the modes and colour spaces of files to sRGB with or without alpha."""
