"""Typed filters of the lists."""

from datetime import UTC, datetime
from typing import Any

import django_filters as filters
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from registry.api.pagination import DEFAULT_LIMIT, MAX_LIMIT
from registry.models import Artifact, EvaluationScore, Factor, Origin, Run, Stage, Study, Webhook, WebhookDelivery
from registry.selectors.artifact_search import matching
from registry.selectors.words import MOST, runs_matching


class MomentField(filters.fields.IsoDateTimeField):
    """A time in UTC: the database knows no zone beyond ±15:59, Python knows them to ±23:59."""

    def clean(self, value: Any) -> datetime | None:
        """The moment. Raises `ValidationError`, also for one that lies in no year of UTC."""
        moment: datetime | None = super().clean(value)
        try:
            return None if moment is None else moment.astimezone(UTC)
        except OverflowError as error:
            raise ValidationError("This lies outside the years 1 to 9999.") from error


class MomentFilter(filters.IsoDateTimeFilter):
    """By a time with a zone."""

    field_class = MomentField


class StudyFilter(filters.FilterSet):
    """Of studies."""

    project = filters.CharFilter(field_name="project__slug", help_text="Slug of the project.")
    origin = filters.ChoiceFilter(choices=Origin.choices)

    class Meta:
        model = Study
        fields: list[str] = []


class RunFilter(filters.FilterSet):
    """Of runs."""

    project = filters.CharFilter(field_name="project__slug", help_text="Slug of the project.")
    study = filters.CharFilter(field_name="study__slug", help_text="Slug of the study.")
    status = filters.ChoiceFilter(choices=Run.Status.choices)
    origin = filters.ChoiceFilter(choices=Origin.choices)
    pipeline = filters.CharFilter()
    student = filters.CharFilter()
    teacher = filters.CharFilter()
    workload = filters.CharFilter()
    external_id = filters.CharFilter(help_text="The uploader's own name for the run.")
    search = filters.CharFilter(
        method="containing",
        help_text="Words of pipeline, student, teacher, workload or the uploader's name for it; the last may be begun.",
    )
    created_after = MomentFilter(field_name="created_at", lookup_expr="gte")
    created_before = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Run
        fields: list[str] = []

    def containing(self, rows: QuerySet[Any], _name: str, value: str) -> QuerySet[Any]:
        """Rows with the words of `value`; the last may be just begun."""
        return runs_matching(rows, value, below=self.data.get("after", ""), page=self._page())

    def _page(self) -> int:
        """Rows on the page asked for (pages refuse what is none); without end where it is walked from the old end."""
        text = self.data.get("limit", "")
        if self.data.get("before"):
            return MOST
        return min(int(text), MAX_LIMIT) if text.isascii() and text.isdecimal() else DEFAULT_LIMIT


class _OfRun(filters.FilterSet):
    """Rows of one run, by its key or its uploader's name for it."""

    run = filters.CharFilter(method="of_run", help_text="The run's id, or its uploader's name for it.")
    study = filters.CharFilter(field_name="run__study__slug", help_text="Slug of the study.")
    project = filters.CharFilter(field_name="project__slug", help_text="Slug of the project.")
    origin = filters.ChoiceFilter(choices=Origin.choices)

    def of_run(self, rows: QuerySet[Any], _name: str, value: str) -> QuerySet[Any]:
        """The rows of the run that `value` names."""
        return rows.filter(run__in=Run.objects.visible_to(self.request.user).by_name(value))


class StageFilter(_OfRun):
    """Of stage records."""

    record_id = filters.CharFilter()
    kind = filters.CharFilter()
    role = filters.CharFilter()
    status = filters.CharFilter()
    simulated = filters.BooleanFilter()
    started_after = MomentFilter(field_name="started_at", lookup_expr="gte")
    started_before = MomentFilter(field_name="started_at", lookup_expr="lt")

    class Meta:
        model = Stage
        fields: list[str] = []


class ScoreFilter(_OfRun):
    """Of scores."""

    score_id = filters.CharFilter()
    benchmark = filters.CharFilter()

    class Meta:
        model = EvaluationScore
        fields: list[str] = []


class ArtifactFilter(filters.FilterSet):
    """Of artifacts; `search` looks into name, kind, teacher, dataset and licence."""

    search = filters.CharFilter(
        method="containing",
        help_text="Words, or how they begin, of name, kind, teacher, dataset or licence; or how a fingerprint begins.",
    )
    project = filters.CharFilter(field_name="project__slug", help_text="Slug of the project.")
    kind = filters.ChoiceFilter(choices=Artifact.Kind.choices)
    status = filters.ChoiceFilter(choices=Artifact.Status.choices)
    origin = filters.ChoiceFilter(choices=Origin.choices)
    teacher = filters.CharFilter()
    dataset = filters.CharFilter()
    licence = filters.CharFilter(help_text="The whole SPDX expression.")
    fingerprint = filters.CharFilter()
    family = filters.CharFilter()

    class Meta:
        model = Artifact
        fields: list[str] = []

    def containing(self, rows: QuerySet[Any], _name: str, value: str) -> QuerySet[Any]:
        """Rows with words that begin as those of `value`."""
        return matching(rows, value)


class FactorFilter(filters.FilterSet):
    """Of factors."""

    kind = filters.ChoiceFilter(choices=Factor.Kind.choices)
    region = filters.CharFilter()

    class Meta:
        model = Factor
        fields: list[str] = []


class WebhookFilter(filters.FilterSet):
    """Of webhooks."""

    project = filters.CharFilter(field_name="project__slug", help_text="Slug of the project.")
    enabled = filters.BooleanFilter()

    class Meta:
        model = Webhook
        fields: list[str] = []


class DeliveryFilter(filters.FilterSet):
    """Of messages to webhooks."""

    webhook = filters.UUIDFilter(field_name="webhook_id", help_text="Id of the webhook.")
    status = filters.ChoiceFilter(choices=WebhookDelivery.Status.choices)
    event = filters.CharFilter()

    class Meta:
        model = WebhookDelivery
        fields: list[str] = []
