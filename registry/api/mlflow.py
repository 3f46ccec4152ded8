"""The part of MLflow's tracking API that trainers use: with `MLFLOW_TRACKING_URI` here, a run is booked at its end.

An experiment is a study, found by its name or slug and made if need be. The token travels as `MLFLOW_TRACKING_TOKEN`.
Tags say what no parameter can: `stagemeter.pipeline`, `stagemeter.stage` (default student_training), and the other
fields of a run (`stagemeter.student`, `stagemeter.teacher`, …). Energy comes from the client's system metrics of power.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django.db.models import Q
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.errors import answer_to
from registry.importers import booking, mlflow
from registry.importers.findings import ImportRefused
from registry.models import Study, TrackedRun
from registry.services import tracking
from registry.services.errors import Invalid, Missing, ServiceError

LOG = logging.getLogger(__name__)
TAG = "stagemeter."
MOST_LISTED = 1000
_CODES = {400: "INVALID_PARAMETER_VALUE", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
_CODES |= {404: "RESOURCE_DOES_NOT_EXIST", 409: "INVALID_PARAMETER_VALUE", 429: "REQUEST_LIMIT_EXCEEDED"}
Call = Callable[[Request, dict[str, Any]], dict[str, Any]]


@extend_schema(exclude=True)
class MlflowView(Endpoint):
    """One address for all calls, as MLflow names them below /api/2.0/mlflow/."""

    serves_rows = False
    queryset = TrackedRun.objects.none()
    pagination_class = None
    filter_backends = []
    scopes = {"POST": ("upload",)}

    def get(self, request: Request, call: str) -> Response:
        """A call that reads."""
        return self._answer(_GET, request, call, dict(request.query_params.items()))

    def post(self, request: Request, call: str) -> Response:
        """A call that writes, or searches."""
        return self._answer(_POST, request, call, request.data)

    def _answer(self, calls: Mapping[str, Call], request: Request, call: str, body: Any) -> Response:
        if call not in calls:
            raise Missing(f"{call[:80]} is no call of MLflow that is understood here: {', '.join(sorted(calls))}.")
        if not isinstance(body, dict):
            raise Invalid({"body": "must be an object"})
        return Response(calls[call](request, body))

    def get_exception_handler(self) -> Callable[..., Response | None]:
        """Refusals as MLflow's clients read them."""
        return _refusal


def _refusal(error: Exception, _context: Mapping[str, Any]) -> Response | None:
    found = answer_to(error)
    if found is None:
        return None
    status, body = found
    words = "; ".join([body["message"], *(f"{name}: {texts[0]}" for name, texts in body["fields"].items())])
    code = "RESOURCE_ALREADY_EXISTS" if isinstance(error, _Exists) else _CODES.get(status, "INTERNAL_ERROR")
    return Response({"error_code": code, "message": words}, status=status)


# Experiments


def _experiment_by_name(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    name = _text(body, "experiment_name")
    study = access.visible(request, Study).filter(Q(name=name) | Q(slug=name)).order_by("id").first()
    if study is None:
        raise Missing(f"There is no experiment {name[:80]!r} for you to see.")
    return {"experiment": _experiment(study)}


def _experiment_of(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return {"experiment": _experiment(_study(request, body))}


def _create_experiment(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    name, tags = _text(body, "name"), _pairs(body.get("tags"))
    project = access.Desk(request).target({"project": tags.get(f"{TAG}project")})
    if access.visible(request, Study).filter(Q(name=name) | Q(slug=name)).exists():
        raise _Exists({"name": f"the experiment {name[:80]!r} exists"})
    study = tracking.create_experiment(actor=access.actor(request), project=project, name=name, tags=tags)
    return {"experiment_id": str(study.pk)}


def _search_experiments(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    rows = access.visible(request, Study).order_by("-id")[: _most(body)]
    return {"experiments": [_experiment(study) for study in rows]}


class _Exists(Invalid):
    """An experiment of that name is there."""


def _experiment(study: Study) -> dict[str, Any]:
    made_ms = int(study.created_at.timestamp() * 1000)
    return {
        "experiment_id": str(study.pk),
        "name": study.name,
        "artifact_location": f"stagemeter:/{study.slug}",
        "lifecycle_stage": "active",
        "creation_time": made_ms,
        "last_update_time": made_ms,
        "tags": [{"key": f"{TAG}study", "value": study.slug}],
    }


# Runs


def _create_run(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    study, tags = _study(request, body), _pairs(body.get("tags"))
    name = str(body.get("run_name") or tags.get("mlflow.runName") or "run")
    started_ms = _whole(body, "start_time", int(time.time() * 1000))
    tags.setdefault("mlflow.runName", name)
    actor = access.actor(request)
    return {"run": _run(tracking.begin(actor=actor, study=study, name=name, started_ms=started_ms, tags=tags))}


def _update_run(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    tracked = _tracked(request, body)
    status = str(body["status"]) if "status" in body else None
    ended_ms = _whole(body, "end_time", None)
    actor = access.actor(request)
    name = str(body.get("run_name", ""))
    tracking.update(actor=actor, tracked=tracked, status=status, ended_ms=ended_ms, name=name)
    if tracked.status in tracking.ENDED and tracked.run_id is None:  # a record is never changed
        _book(request, tracked)
    return {"run_info": _run(tracked)["info"]}


def _book(request: Request, tracked: TrackedRun) -> None:
    """Into the ledger. A trainer that has ended is not failed by it: what became of it is kept beside the run."""
    told = {name[len(TAG) :]: value for name, value in tracked.tags.items() if name.startswith(TAG)}
    try:
        source = {"name": tracked.name, "bytes": None, "sha256": tracked.pk.hex}
        findings = mlflow.findings([_run(tracked, history=True)], source)
        (group,) = findings.groups
        facts = {name: told[name] for name in booking.RUN_FIELDS if name in told and name != "seed"}
        facts = {"pipeline": "training", "student": findings.groups[group].get("student") or tracked.name} | facts
        answers = booking.Answers(
            runs={group: {"external_id": f"mlflow-{tracked.pk.hex}", **facts}},
            stages={stage.key: told.get("stage", "student_training") for stage in findings.stages},
        )
        actor = access.actor(request)
        found = booking.book(findings=findings, answers=answers, study=tracked.study, actor=actor, keep=True)
    except (ServiceError, ImportRefused) as error:
        words, run = f"refused: {error}", None
    else:
        run = found.runs[0] if found.kept else None
        problems = [f"{row.label}: {row.problems}" for row in found.rows if row.problems]
        words = "booked" if run else f"refused: {'; '.join([*problems, *found.needed.values()])}"
    if run is None:
        LOG.warning("The tracked run %s was not booked: %s", tracked.pk, words)
    tracking.note_booking(tracked=tracked, run=run or tracked.run, words=words)


def _get_run(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return {"run": _run(_tracked(request, body))}


def _search_runs(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    wanted = body.get("experiment_ids", [])
    if body.get("filter") or body.get("order_by"):
        raise Invalid({"filter": "is not understood here; search over /api/v1/runs/"})
    if not isinstance(wanted, list):
        raise Invalid({"experiment_ids": "must be a list"})
    keys = [_key(str(one), "experiment_ids") for one in wanted]
    rows = access.visible(request, TrackedRun).filter(study__in=keys).order_by("-id")[: _most(body)]
    return {"runs": [_run(tracked) for tracked in rows]}


def _log_metric(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return _log(request, body, metrics=[_metric(body)])


def _log_parameter(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return _log(request, body, params={_text(body, "key"): str(body.get("value", ""))})


def _set_tag(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return _log(request, body, tags={_text(body, "key"): str(body.get("value", ""))})


def _log_batch(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    metrics = [_metric(item) for item in _objects(body.get("metrics"))]
    return _log(request, body, metrics=metrics, params=_pairs(body.get("params")), tags=_pairs(body.get("tags")))


def _log(request: Request, body: dict[str, Any], **what: Any) -> dict[str, Any]:
    tracking.log(actor=access.actor(request), tracked=_tracked(request, body), **what)
    return {}


def _nothing(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    """Inputs and models: they name what the parameters name, and nothing is kept of them."""
    _tracked(request, body)
    return {}


def _history(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    rows = _tracked(request, body).metrics.filter(key=_text(body, "metric_key")).order_by("timestamp_ms", "step")
    found = rows.values_list("key", "value", "timestamp_ms", "step")[:25_000]
    return {"metrics": [_shown(*row) for row in found]}


def _run(tracked: TrackedRun, *, history: bool = False) -> dict[str, Any]:
    """As MLflow shows it: of each metric the last value, or all of them."""
    rows = tracked.metrics.order_by("key", "timestamp_ms", "step")
    if not history:
        rows = tracked.metrics.order_by("key", "-step", "-timestamp_ms").distinct("key")
    metrics = rows.values_list("key", "value", "timestamp_ms", "step")
    tags = {**tracked.tags, "mlflow.runName": tracked.name}
    tags |= {f"{TAG}booking": tracked.booking} if tracked.booking else {}
    tags |= {f"{TAG}run": str(tracked.run_id)} if tracked.run_id else {}
    info = {
        "run_id": tracked.pk.hex,
        "run_uuid": tracked.pk.hex,
        "run_name": tracked.name,
        "experiment_id": str(tracked.study_id),
        "user_id": tracked.tags.get("mlflow.user", ""),
        "status": tracked.status,
        "start_time": tracked.started_ms,
        "artifact_uri": f"stagemeter:/{tracked.pk.hex}",
        "lifecycle_stage": "active",
    }
    return {
        "info": info | ({} if tracked.ended_ms is None else {"end_time": tracked.ended_ms}),
        "data": {
            "metrics": [_shown(*row) for row in metrics],
            "params": [{"key": key, "value": value} for key, value in tracked.params.items()],
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        },
    }


def _shown(key: str, value: float, timestamp_ms: int, step: int) -> dict[str, Any]:
    return {"key": key, "value": value, "timestamp": timestamp_ms, "step": step}


# What comes in: MLflow writes whole numbers of 64 bits as numbers or as texts.


def _study(request: Request, body: dict[str, Any]) -> Study:
    key = _key(_text(body, "experiment_id"), "experiment_id")
    study: Study | None = access.visible(request, Study).select_related("project").filter(pk=key).first()
    if study is None:
        raise Missing(f"There is no experiment {key} for you to see.")
    return study


def _tracked(request: Request, body: dict[str, Any]) -> TrackedRun:
    key = _key(_text(body, "run_id" if "run_id" in body else "run_uuid"), "run_id")
    rows = access.visible(request, TrackedRun).select_related("study__project", "project")
    tracked: TrackedRun | None = rows.filter(pk=key).first()
    if tracked is None:
        raise Missing(f"There is no run {key.hex} for you to see.")
    return tracked


def _key(text: str, name: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise Missing(f"There is no {name} {text[:80]!r}.") from error


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value or "\x00" in value:
        raise Invalid({name: "must be a text"})
    return value


def _whole(body: Mapping[str, Any], name: str, default: Any) -> Any:
    value = body.get(name)
    if value is None:
        return default
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise Invalid({name: f"{str(value)[:40]!r} is no whole number"}) from error


def _metric(item: Mapping[str, Any]) -> dict[str, Any]:
    value = item.get("value")
    try:
        figure = float(value)  # type: ignore[arg-type]  # "NaN" and "Infinity" come as texts
    except (TypeError, ValueError, OverflowError):
        figure = math.nan
        if value not in ("NaN", None):
            raise Invalid({"value": f"{str(value)[:40]!r} is no number"}) from None
    moment = _whole(item, "timestamp", int(time.time() * 1000))
    return {"key": _text(item, "key"), "value": figure, "timestamp": moment, "step": _whole(item, "step", 0)}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    found = [] if value is None else value
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise Invalid({"body": "must hold lists of objects"})
    return found


def _pairs(value: Any) -> dict[str, str]:
    return {_text(item, "key"): str(item.get("value", "")) for item in _objects(value)}


def _most(body: Mapping[str, Any]) -> int:
    wanted: int = _whole(body, "max_results", MOST_LISTED)
    return min(max(wanted, 1), MOST_LISTED)


_GET: dict[str, Call] = {
    "experiments/get": _experiment_of,
    "experiments/get-by-name": _experiment_by_name,
    "metrics/get-history": _history,
    "runs/get": _get_run,
}
_POST: dict[str, Call] = {
    "experiments/create": _create_experiment,
    "experiments/search": _search_experiments,
    "runs/create": _create_run,
    "runs/log-batch": _log_batch,
    "runs/log-inputs": _nothing,
    "runs/log-metric": _log_metric,
    "runs/log-parameter": _log_parameter,
    "runs/search": _search_runs,
    "runs/set-tag": _set_tag,
    "runs/update": _update_run,
}
