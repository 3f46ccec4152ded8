"""Every address: health, the REST layer, then the pages."""

from django.urls import include, path

from registry.api.health import HealthView

handler500 = "frontend.views.errors.failed"

urlpatterns = [
    path("healthz", HealthView.as_view(), name="health"),
    path("api/", include("registry.api.urls")),
    path("", include("frontend.urls")),
]
