"""Dated factors a study's reader may choose from."""

from django.db.models import Q, QuerySet

from registry.models import Factor, Study


def of_study(study: Study) -> QuerySet[Factor]:
    """The newest grid factor of each region, the project's own before everybody's, by region."""
    rows = Factor.objects.filter(Q(project=None) | Q(project=study.project), kind=Factor.Kind.GRID)
    newest = rows.order_by("region", "-valid_from").distinct("region")
    return Factor.objects.filter(pk__in=newest.values("pk")).order_by("region")


def of_region(study: Study, region: str) -> Factor | None:
    """The newest grid factor of a region by its name, or `None`."""
    return None if "\x00" in region else of_study(study).filter(region=region).first()
