"""Every address: the REST layer, then the pages."""

from django.urls import include, path

urlpatterns = [
    path("api/", include("registry.api.urls")),
    path("", include("frontend.urls")),
]
