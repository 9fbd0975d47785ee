"""Reading, editing, exporting and erasing a profile, its picture and its sessions.

`Unavailable` and `KeysUnavailable` are raised as in `store`.
"""
