#!/usr/bin/env python
"""Django's command line, over embedded servers where none are configured."""

import os
import sys

from registry import embedded


def main() -> None:
    """Fill the environment in, then hand over to Django."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
    embedded.fill_environment()
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
