"""The registry app."""

from django.apps import AppConfig


class RegistryConfig(AppConfig):
    """The one data app."""

    name = "registry"
    default_auto_field = "django.db.models.BigAutoField"
