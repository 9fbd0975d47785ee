"""Reading, editing, exporting and erasing a profile, its picture and its sessions."""
