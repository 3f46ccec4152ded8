"""The web process's door for gunicorn."""

import os

from registry import embedded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
embedded.fill_environment()

from django.core.wsgi import get_wsgi_application  # noqa: E402 (the environment is filled in first)

application = get_wsgi_application()
