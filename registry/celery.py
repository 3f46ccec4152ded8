"""The Celery application. Web code sends tasks by name through it and never imports a worker."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")

app = Celery("stagemeter")
app.config_from_object("django.conf:settings", namespace="CELERY")
