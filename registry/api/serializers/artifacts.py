"""Artifacts, and requests for them."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.reverse import reverse

from registry.accounting import requests
from registry.accounting.reuse import ArtifactRequest
from registry.api import access
from registry.api.fields import Flag, Number, Object, Payload, Text, Texts, Whole
from registry.models import Artifact
from registry.selectors.reusable import Reusable
from registry.services.artifacts import SHARED_KINDS

_MOMENT = serializers.DateTimeField()
LARGEST_ENERGY_J = 1e18  # more than mankind uses in a day; beyond it sums overflow


class ArtifactSerializer(serializers.ModelSerializer[Artifact]):
    """An artifact in a list. `rows` counts the rows it was made over."""

    project = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    identity = serializers.DictField(read_only=True, help_text="What must agree for it to answer a request.")
    capture = serializers.DictField(read_only=True, help_text="What a request may ask less of: k, temperatures, …")
    rows = serializers.SerializerMethodField()
    made_by_run = serializers.UUIDField(
        source="made_by_run_id",
        read_only=True,
        allow_null=True,
        help_text="null too where you may not see its project.",
    )
    production_missing = serializers.ListField(child=serializers.CharField(), read_only=True)
    handle = serializers.CharField(read_only=True, help_text="handle@version is its name; empty until it is ready.")
    made_again_of = serializers.UUIDField(source="made_again_of_id", read_only=True, allow_null=True)
    superseded_by = serializers.UUIDField(source="superseded_by_id", read_only=True, allow_null=True)
    evidence = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text="Empty too where you may not see its project."
    )

    class Meta:
        model = Artifact
        fields = [
            "id",
            "project",
            "kind",
            "name",
            "handle",
            "version",
            "status",
            "origin",
            "teacher",
            "dataset",
            "licence",
            "teacher_licence",
            "dataset_licence",
            "licence_name",
            "licence_link",
            "licence_note",
            "may_train",
            "sharing",
            "identity",
            "capture",
            "rows",
            "bytes",
            "content_sha256",
            "production_energy_j",
            "production_missing",
            "evidence",
            "evidence_note",
            "made_by_run",
            "regenerate_reason",
            "made_again_of",
            "superseded_by",
            "simulated",
            "fingerprint",
            "family",
            "created_at",
            "ready_at",
        ]
        read_only_fields = fields

    def get_rows(self, artifact: Artifact) -> int:
        """How many rows."""
        return 0 if artifact.rows is None else artifact.rows.count

    def to_representation(self, artifact: Artifact) -> dict[str, Any]:
        """Its columns, without runs and records of a project that whoever asks may not see."""
        shown = super().to_representation(artifact)
        inside = access.sees(self.context.get("request"), artifact.project_id, public=artifact.project.public)
        return shown if inside else shown | _WITHHELD


_WITHHELD: dict[str, Any] = {"made_by_run": None, "evidence": []}

_TEXTS_OF_JSON = ("identity", "capture", "production_missing", "evidence")
_OF_PROJECT = {"project": "project_slug", "rows": "rows_count", "made_by_run": "made_by_run_id"}
_OF_OTHERS = {"made_again_of": "made_again_of_id", "superseded_by": "superseded_by_id"}
_COLUMN_OF = _OF_PROJECT | _OF_OTHERS


def represented(row: Reusable, request: Request) -> dict[str, Any]:
    """What `ArtifactSerializer` would say of the artifact, straight from its columns: a lookup shows many."""
    shown = {name: getattr(row, _COLUMN_OF.get(name, name)) for name in ArtifactSerializer.Meta.fields}
    for name, value in shown.items():
        if name in _TEXTS_OF_JSON:
            shown[name] = json.loads(value)
        elif isinstance(value, UUID):
            shown[name] = str(value)
        elif isinstance(value, datetime):
            shown[name] = _MOMENT.to_representation(value)
    return shown if access.sees(request, row.project_id, public=row.project_public) else shown | _WITHHELD


def listed(rows: QuerySet[Artifact]) -> QuerySet[Artifact]:
    """`rows` without their long columns, the digests only counted."""
    return rows.select_related("project", "rows").defer("rows__digests", "manifest", "meta")


class FileSerializer(serializers.Serializer[Any]):
    """One file, with the address of its content."""

    name = serializers.CharField()
    sha256 = serializers.CharField()
    bytes = serializers.IntegerField()
    media_type = serializers.CharField()
    url = serializers.URLField()


class UseSerializer(serializers.Serializer[Any]):
    """One run's use of the artifact."""

    run_id = serializers.UUIDField()
    how = serializers.CharField(help_text="made, used, cut or waited.")
    used_share = serializers.FloatField(allow_null=True, help_text="Of its tokens; null until it was measured.")


class ArtifactDetailSerializer(ArtifactSerializer):
    """An artifact with its rows, its files and the runs that used it, as far as you may see them."""

    row_digests = serializers.ListField(child=serializers.CharField(), read_only=True)
    aliases = serializers.SlugRelatedField[Any](slug_field="alias", many=True, read_only=True)
    meta = serializers.DictField(read_only=True)
    files = serializers.SerializerMethodField()
    uses = serializers.SerializerMethodField()

    class Meta(ArtifactSerializer.Meta):
        fields = [*ArtifactSerializer.Meta.fields, "aliases", "row_digests", "meta", "files", "uses"]
        read_only_fields = fields

    @extend_schema_field(FileSerializer(many=True))
    def get_files(self, artifact: Artifact) -> Any:
        """The manifest; empty for an artifact held elsewhere."""
        request = self.context.get("request")
        entries = artifact.manifest if artifact.storage_key else []
        urls = [reverse("api:artifact-file", args=[artifact.pk, entry["name"]], request=request) for entry in entries]
        rows = [{**entry, "url": url} for entry, url in zip(entries, urls, strict=True)]
        return FileSerializer(rows, many=True).data

    @extend_schema_field(UseSerializer(many=True))
    def get_uses(self, artifact: Artifact) -> Any:
        """Uses by runs that whoever asks may see."""
        uses = artifact.uses.filter(run__in=self.context["runs"]).order_by("created_at")
        return UseSerializer(uses, many=True).data


class RequestPayload(Payload):
    """What determines an artifact; see docs/api.md for the fields of each kind."""

    kind = serializers.ChoiceField([(kind.value, kind.label) for kind in SHARED_KINDS])
    identity = Object(help_text="Teacher id, revision and digest; tokenizer and template digests; precision; decoding.")
    capture = Object(required=False, help_text="k, temperatures, encoding, max_length; or max_new_tokens, max_length.")
    row_digests = Texts(required=False, help_text="SHA-256 of each row: prompt, or prompt and answer.")
    project = Text(required=False, help_text="Slug of one of your projects.")
    study = Text(required=False, help_text="Slug of a study; its project is meant.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse what could never be compared with anything."""
        problems = requests.problems(request_from(dict(attrs)))
        if problems:
            raise serializers.ValidationError({name: [text] for name, text in problems.items()})
        return attrs


class ArtifactFilePayload(Payload):
    """One file of an upload, by what it is."""

    name = Text(max_length=100)
    sha256 = serializers.RegexField(r"^[0-9a-f]{64}$", help_text="64 hex digits.")


class UploadPayload(Payload):
    """Files that were sent before, and are all there is of the artifact."""

    upload = serializers.UUIDField(help_text="The id they were sent under.")
    files = ArtifactFilePayload(many=True)


class ArtifactRegistration(RequestPayload):
    """An artifact made elsewhere, and what it took to make it."""

    name = Text(max_length=200, required=False, help_text="What people call it; its kind if left out.")
    production_energy_j = Number(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=LARGEST_ENERGY_J,
        help_text="Joules of all attempts; left out or null if it is not known.",
    )
    licence = Text(
        max_length=200,
        required=False,
        allow_blank=True,
        help_text="SPDX expression. Left out, the teacher's and the dataset's joined by AND.",
    )
    teacher_licence = Text(max_length=200, required=False, allow_blank=True, help_text="SPDX expression.")
    dataset_licence = Text(max_length=200, required=False, allow_blank=True, help_text="SPDX expression.")
    licence_name = Text(max_length=200, required=False, allow_blank=True, help_text="Of a LicenseRef- licence.")
    licence_link = Text(max_length=500, required=False, allow_blank=True, help_text="https:// link to its text.")
    may_train = Flag(
        required=False, allow_null=True, help_text="May its outputs train other models? null: nobody has said."
    )
    dataset = Text(max_length=200, required=False, allow_blank=True, help_text="What people call the rows' source.")
    evidence = Texts(
        required=False,
        max_length=1000,
        help_text="record_id of each stage record that the energy is the sum of.",
    )
    evidence_note = Text(
        max_length=2000,
        required=False,
        allow_blank=True,
        help_text="Needed without records: where the energy comes from. It is shown as not measured here.",
    )
    run_id = Text(max_length=200, required=False, help_text="The run that made it: its id or your own name for it.")
    bytes = Whole(required=False, allow_null=True, min_value=0, max_value=2**63 - 1)
    content_sha256 = serializers.RegexField(r"^[0-9a-f]{64}$", required=False)
    meta = Object(required=False)
    simulated = Flag(required=False)
    stored = UploadPayload(required=False, help_text="Its files, sent before: PUT artifacts/uploads/{upload}/{name}.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A figure says what it rests on."""
        stated = attrs.get("production_energy_j") is not None
        if stated and not attrs.get("evidence") and not attrs.get("evidence_note", "").strip():
            text = "say where production_energy_j comes from, or name the records of it in evidence"
            raise serializers.ValidationError({"evidence_note": [text]})
        return super().validate(attrs)


class SharingPayload(Payload):
    """Who may use an artifact beside its project."""

    sharing = serializers.ChoiceField(Artifact.Sharing.choices)


class LicencePayload(Payload):
    """A stricter licence, and why."""

    licence = Text(max_length=200, help_text="SPDX expression; keeping to it must keep to the present one.")
    licence_name = Text(max_length=200, required=False, allow_blank=True)
    licence_link = Text(max_length=500, required=False, allow_blank=True)
    may_train = Flag(required=False, allow_null=True)
    note = Text(max_length=2000, help_text="At least ten characters, for whoever reads it later.")


def request_from(values: dict[str, Any]) -> ArtifactRequest:
    """The request that checked `values` describe; takes its parts out of them."""
    return ArtifactRequest(
        kind=values.pop("kind"),
        identity=values.pop("identity"),
        capture=values.pop("capture", {}),
        row_digests=tuple(values.pop("row_digests", [])),
    )
