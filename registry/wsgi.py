"""The web process's door for gunicorn."""

import gc
import os

from registry import embedded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
embedded.fill_environment()

from django.core.wsgi import get_wsgi_application  # noqa: E402 (the environment is filled in first)
from django.urls import get_resolver  # noqa: E402

application = get_wsgi_application()
# All views, before workers are forked: else each imports them again, while somebody waits for its first answer.
get_resolver().url_patterns  # noqa: B018 (reading it is what imports them)

# What the start has made stays; a collection that walks it again and again costs more than most requests do.
gc.collect()
gc.freeze()

# What is loaded by now stays: looking through it for garbage would hold up a request for tens of milliseconds.
gc.collect()
gc.freeze()
