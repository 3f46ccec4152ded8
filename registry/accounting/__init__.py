"""The arithmetic: frozen dataclasses in, numbers out. No Django, no files, no clock."""
