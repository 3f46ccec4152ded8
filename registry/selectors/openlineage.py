"""Runs as OpenLineage events (spec 2-0-2): what ran, what it read, what it made, what that cost.

A run is a run, its configuration in its study a job, an artifact a dataset. Energies travel in two facets of our own,
whose JSON Schema this installation publishes. https://openlineage.io/docs/spec/object-model
"""

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from django.db.models import Prefetch, QuerySet
from django.urls import reverse

from registry.models import Artifact, ArtifactUse, Run, RunSummary
from registry.selectors.messages import Happening, moment

SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
FACETS = "https://openlineage.io/spec/facets/"
PRODUCER = "https://pypi.org/project/stagemeter/"
ENERGY, ARTIFACT = "StagemeterEnergyRunFacet", "StagemeterArtifactDatasetFacet"
ROLES = ("data", "teacher", "student", "evaluation")
COMPONENTS = ("gpu", "cpu", "ram", "reported")
READ_AT_ONCE = 500
TYPE_OF_STATUS = {
    Run.Status.FINISHED: "COMPLETE",
    Run.Status.FAILED: "FAIL",
    Run.Status.CANCELLED: "ABORT",
    Run.Status.RUNNING: "RUNNING",
    Run.Status.QUEUED: "OTHER",
}
TYPE_OF_EVENT = {
    "run.submitted": "OTHER",
    "run.started": "START",
    "run.finished": "COMPLETE",
    "run.failed": "FAIL",
    "run.cancelled": "ABORT",
    "run.uploaded": "COMPLETE",
    "run.imported": "COMPLETE",
}

Json = dict[str, Any]


def message(happening: Happening, site: str) -> Json:
    """The OpenLineage event that an event of ours is; a test is a JobEvent without inputs and outputs."""
    at = moment(happening.at)
    if happening.event in TYPE_OF_EVENT:
        run = _read(Run.objects.filter(pk=happening.subject_id)).get()
        return _run_event(run, TYPE_OF_EVENT[happening.event], at, site)
    artifact = None
    if happening.event.startswith("artifact."):
        artifact = Artifact.objects.select_related("project").filter(pk=happening.subject_id).first()
    if artifact is None:
        job = {"namespace": _namespace(site, happening.project.slug), "name": happening.event}
        return {"eventTime": at, "producer": PRODUCER, "schemaURL": f"{SPEC}JobEvent", "job": job}
    dataset = _dataset(artifact, site)
    change = {"artifact.ready": "CREATE", "artifact.withdrawn": "DROP", "artifact.released": "DROP"}
    if happening.event in change:
        dataset["facets"]["lifecycleStateChange"] = _facet(
            "1-0-1/LifecycleStateChangeDatasetFacet", lifecycleStateChange=change[happening.event]
        )
    return {"eventTime": at, "producer": PRODUCER, "schemaURL": f"{SPEC}DatasetEvent", "dataset": dataset}


def events(runs: QuerySet[Run], site: str) -> Iterator[Json]:
    """START and the last known state of each run, oldest run first."""
    last = None
    while True:
        page = runs.order_by("pk") if last is None else runs.filter(pk__gt=last).order_by("pk")
        found = list(_read(page)[:READ_AT_ONCE])
        for run in found:
            yield from _of_run(run, site)
        if len(found) < READ_AT_ONCE:
            return
        last = found[-1].pk


def facet_schema(site: str) -> Json:
    """JSON Schema of the two facets of our own."""
    joules = {"type": ["number", "null"], "minimum": 0, "description": "Joules; null: not measured, which is not 0."}
    base = {"$ref": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunFacet"}
    of_dataset = {"$ref": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/DatasetFacet"}
    parts = dict.fromkeys((*ROLES, *COMPONENTS), joules)
    energy = {f"{name}_energy_j": value for name, value in parts.items()}
    text, nullable = {"type": "string"}, {"type": ["string", "null"]}
    artifact = {"id": {**text, "format": "uuid"}, "kind": text, "fingerprint": text, "contentSha256": nullable}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": _schema_address(site),
        "$defs": {
            ENERGY: {
                "type": "object",
                "description": "Operational energy of a run's metered parts, by role and by component.",
                "allOf": [
                    base,
                    {
                        "type": "object",
                        "required": ["simulated", *energy],
                        "properties": {
                            **energy,
                            "duration_s": {"type": ["number", "null"]},
                            "quality": {"type": ["number", "null"], "description": "Q, student over teacher."},
                            "simulated": {"type": "boolean"},
                        },
                    },
                ],
            },
            ARTIFACT: {
                "type": "object",
                "description": "What an artifact is, and all energy of all attempts that made it.",
                "allOf": [
                    of_dataset,
                    {
                        "type": "object",
                        "required": ["id", "kind", "fingerprint"],
                        "properties": {**artifact, "licence": text, "production_energy_j": joules},
                    },
                ],
            },
        },
    }


def _read(runs: QuerySet[Run]) -> QuerySet[Run]:
    uses = ArtifactUse.objects.select_related("artifact__project").order_by("pk")
    made = Artifact.objects.select_related("project").order_by("pk")
    return runs.select_related("project", "study", "summary").prefetch_related(
        Prefetch("uses", uses), Prefetch("made", made)
    )


def _of_run(run: Run, site: str) -> Iterator[Json]:
    begun = run.started_at or run.created_at
    if run.status != Run.Status.QUEUED:
        yield _run_event(run, "START", moment(begun), site)
    yield _run_event(run, TYPE_OF_STATUS[Run.Status(run.status)], moment(run.finished_at or begun), site)


def _run_event(run: Run, kind: str, at: str, site: str) -> Json:
    uses = list(run.uses.all())
    made = {use.artifact.pk: use.artifact for use in uses if use.how == ArtifactUse.How.MADE}
    made |= {artifact.pk: artifact for artifact in run.made.all()}
    read = {use.artifact.pk: use.artifact for use in uses if use.artifact.pk not in made}
    return {
        "eventType": kind,
        "eventTime": at,
        "producer": PRODUCER,
        "schemaURL": f"{SPEC}RunEvent",
        "run": {"runId": str(run.pk), "facets": _run_facets(run, kind, site)},
        "job": {
            "namespace": _namespace(site, run.project.slug),
            "name": f"{run.study.slug}.{run.pipeline}.{run.configuration[:16]}",
            "facets": {
                "jobType": _facet(
                    "2-0-4/JobTypeJobFacet", processingType="BATCH", integration="STAGEMETER", jobType="RUN"
                )
            },
        },
        "inputs": _datasets(read.values(), site),
        "outputs": _datasets(made.values(), site),
    }


def _run_facets(run: Run, kind: str, site: str) -> Json:
    facets: Json = {}
    if kind == "FAIL":
        facets["errorMessage"] = _facet(
            "1-0-1/ErrorMessageRunFacet", message=run.error or "no reason is known", programmingLanguage="PYTHON"
        )
    if kind not in ("START", "OTHER"):
        facets["stagemeter_energy"] = _energy(run, site)
    return facets


def _energy(run: Run, site: str) -> Json:
    summary: RunSummary | None = getattr(run, "summary", None)
    names = [*(f"{name}_energy_j" for name in (*ROLES, *COMPONENTS)), "duration_s", "quality"]
    figures = {name: getattr(summary, name, None) for name in names}
    return _own(ENERGY, site) | figures | {"simulated": run.simulated}


def _datasets(artifacts: Iterable[Artifact], site: str) -> list[Json]:
    return [_dataset(artifact, site) for artifact in artifacts]


def _dataset(artifact: Artifact, site: str) -> Json:
    facets: Json = {
        "stagemeter_artifact": _own(ARTIFACT, site)
        | {
            "id": str(artifact.pk),
            "kind": artifact.kind,
            "fingerprint": artifact.fingerprint,
            "contentSha256": artifact.content_sha256 or None,
            "licence": artifact.licence,
            "production_energy_j": artifact.production_energy_j,
        }
    }
    if artifact.version is not None:
        facets["version"] = _facet("1-0-1/DatasetVersionDatasetFacet", datasetVersion=str(artifact.version))
    name = f"{artifact.kind}/{artifact.fingerprint}"
    return {"namespace": _namespace(site, artifact.project.slug), "name": name, "facets": facets}


def _facet(name: str, **values: Any) -> Json:
    """A facet of the standard: `name` is its version and file."""
    kind = name.partition("/")[2]
    return {"_producer": PRODUCER, "_schemaURL": f"{FACETS}{name}.json#/$defs/{kind}", **values}


def _own(name: str, site: str) -> Json:
    return {"_producer": PRODUCER, "_schemaURL": f"{_schema_address(site)}#/$defs/{name}"}


def _schema_address(site: str) -> str:
    return site + reverse("api:openlineage-facets")


def _namespace(site: str, project: str) -> str:
    return f"stagemeter://{urlsplit(site).netloc}/{project}"
