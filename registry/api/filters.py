"""Typed filters of the lists."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import django_filters as filters
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.forms import FloatField, IntegerField

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


class FloatFilter(filters.NumberFilter):
    """By a finite number."""

    field_class = FloatField  # the library's own is a decimal, whose size has no end


class WholeFilter(filters.NumberFilter):
    """By a whole number that a column can hold."""

    field_class = IntegerField

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, min_value=-(2**63), max_value=2**63 - 1, **options)


class Ranged(filters.FilterSet):
    """Every column in `ranges` (name → path) by its bounds, those in `exact` by their value, and lists in their order.

    Numbers have `…_min` and `…_max`, both included. Moments have `…_after` (included) and `…_before` (not included),
    without the `_at` of their names.
    """

    ranges: ClassVar[Mapping[str, str]] = {"created_at": "created_at"}
    exact: ClassVar[Sequence[str]] = ()

    @classmethod
    def get_filters(cls) -> dict[str, filters.Filter]:
        """Those that were declared, and those of the columns."""
        found: dict[str, filters.Filter] = super().get_filters()
        if cls._meta.model is None:
            return found
        for name in cls.exact:
            boolean = column_of(cls._meta.model, name).get_internal_type() == "BooleanField"
            found[name] = filters.BooleanFilter(field_name=name) if boolean else filters.CharFilter(field_name=name)
        for name, path in cls.ranges.items():
            found |= _bounds(name, path, column_of(cls._meta.model, path).get_internal_type())
        return found


def column_of(model: type[Model], path: str) -> Any:
    """The column at the end of a path over relations."""
    *relations, name = path.split("__")
    for relation in relations:
        model = model._meta.get_field(relation).related_model  # type: ignore[assignment]
    return model._meta.get_field(name)


def _bounds(name: str, path: str, kind: str) -> dict[str, filters.Filter]:
    if kind == "DateTimeField":
        word = name.removesuffix("_at")
        return {
            f"{word}_after": MomentFilter(field_name=path, lookup_expr="gte"),
            f"{word}_before": MomentFilter(field_name=path, lookup_expr="lt"),
        }
    make = FloatFilter if kind == "FloatField" else WholeFilter
    return {
        f"{name}_min": make(field_name=path, lookup_expr="gte"),
        f"{name}_max": make(field_name=path, lookup_expr="lte"),
    }


def _same(*names: str, below: str = "") -> dict[str, str]:
    return {name: f"{below}{name}" for name in names}


_SUMMED = [f"{part}_energy_j" for part in ("data", "teacher", "student", "evaluation", "gpu", "cpu", "ram", "reported")]
_MEASURED = [
    column.name
    for column in Stage._meta.concrete_fields
    if column.get_internal_type() in ("FloatField", "BigIntegerField", "PositiveIntegerField", "DateTimeField")
]


class StudyFilter(Ranged):
    """Of studies."""

    project = filters.CharFilter(field_name="project__slug", help_text="Slug of the project.")
    origin = filters.ChoiceFilter(choices=Origin.choices)

    class Meta:
        model = Study
        fields: list[str] = []


class RunFilter(Ranged):
    """Of runs."""

    exact = ("student_size", "hardware_class", "configuration", "simulated")
    ranges = _same("seed", "created_at", "started_at", "finished_at") | _same(
        *_SUMMED, "lost_energy_j", "duration_s", "quality", "records", below="summary__"
    )

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

    class Meta:
        model = Run
        fields: list[str] = []

    def containing(self, rows: QuerySet[Any], _name: str, value: str) -> QuerySet[Any]:
        """Rows with the words of `value`; the last may be just begun."""
        ordered = "order" in self.data  # whose cursors are no keys, and whose first page may lie anywhere
        below = "" if ordered else self.data.get("after", "")
        return runs_matching(rows, value, below=below, page=MOST if ordered else self._page())

    def _page(self) -> int:
        """Rows on the page asked for (pages refuse what is none); without end where it is walked from the old end."""
        text = self.data.get("limit", "")
        if self.data.get("before"):
            return MOST
        return min(int(text), MAX_LIMIT) if text.isascii() and text.isdecimal() else DEFAULT_LIMIT


class _OfRun(Ranged):
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

    exact = ("record_id", "kind", "role", "status", "name", "parent_id", "gpu_method", "cpu_method", "simulated")
    ranges = _same(*_MEASURED)

    class Meta:
        model = Stage
        fields: list[str] = []


class ScoreFilter(_OfRun):
    """Of scores."""

    exact = ("score_id", "benchmark", "metric", "judge", "harness_version")
    ranges = _same("value", "stderr", "n", "shots", "created_at")

    class Meta:
        model = EvaluationScore
        fields: list[str] = []


class ArtifactFilter(Ranged):
    """Of artifacts; `search` looks into name, kind, teacher, dataset and licence."""

    exact = ("handle", "simulated")
    ranges = _same("bytes", "version", "production_energy_j", "created_at", "ready_at")

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
