"""RunSpec → planned stages, each with the artifact it would make."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from registry.accounting.reuse import ArtifactRequest
from registry.accounting.spec import DatasetSpec, DecodingSpec, RunSpec
from registry.accounting.stages import INPUTS_OF_STAGE, OUTPUT_OF_STAGE, STAGES_OF_PIPELINE, role_of

# What the workers run the teacher with, and what they do with a row that is longer than max_length.
ENGINE = "transformers"
OVERLONG_ROWS = "drop"

_TEACHER_SETTINGS = (
    *(f"teacher.{name}" for name in ("id", "revision", "precision")),
    *(f"dataset.{one.name}" for one in fields(DatasetSpec)),
)
# The settings of a run's spec that determine a teacher artifact, by its kind: those of the dataset through the digests
# of the rows they select, max_length as it is.
DETERMINING: Mapping[str, tuple[str, ...]] = {
    "logit_cache": (*_TEACHER_SETTINGS, *(f"distillation.{name}" for name in ("k", "temperatures", "encoding"))),
    "synthetic_dataset": (*_TEACHER_SETTINGS, *(f"decoding.{one.name}" for one in fields(DecodingSpec))),
}


@dataclass(frozen=True, kw_only=True)
class Identities:
    """Digests that a spec only names. `row_digests` is `None` while nobody has read the rows."""

    teacher_digest: str
    tokenizer_digest: str
    template_digest: str
    student_digest: str
    row_digests: tuple[str, ...] | None  # of the training rows: prompt and answer
    prompt_digests: tuple[str, ...] | None  # of the training rows: prompt alone


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """One stage of a run before anything has run. `request`: what it would make, `None` if nothing or not yet known."""

    kind: str
    role: str
    inputs: tuple[str, ...]
    output: str | None
    request: ArtifactRequest | None = None


def plan(spec: RunSpec, identities: Identities) -> tuple[PlannedStage, ...]:
    """The stages of the run in order. A teacher stage has no request until the rows are known."""
    inputs = INPUTS_OF_STAGE[spec.pipeline]
    return tuple(
        PlannedStage(
            kind=kind,
            role=role_of(kind),
            inputs=inputs.get(kind, ()),
            output=OUTPUT_OF_STAGE[kind],
            request=artifact_request(OUTPUT_OF_STAGE[kind], spec, identities),
        )
        for kind in STAGES_OF_PIPELINE[spec.pipeline]
    )


def artifact_request(kind: str | None, spec: RunSpec, identities: Identities) -> ArtifactRequest | None:
    """What determines the artifact of `kind` that this run needs; `None` without a kind or while its rows are unknown.

    Teacher artifacts depend on neither the student, the training nor the run's seed: every run of a sweep asks for
    the same one. Raises `KeyError` for a kind no stage makes.
    """
    return None if kind is None else _REQUESTS[kind](spec, identities)


def asked_beyond(
    request: ArtifactRequest,
    *,
    every_temperature: bool = False,
    engine: str = ENGINE,
    overlong_rows: str = OVERLONG_ROWS,
) -> ArtifactRequest:
    """A teacher artifact's request with what no spec says: that each temperature be held, and who made it and how."""
    identity = {**request.identity, "engine": engine, "overlong_rows": overlong_rows}
    return replace(request, identity=identity, needed={} if every_temperature else request.needed)


def _prepared_dataset(spec: RunSpec, identities: Identities) -> ArtifactRequest:
    identity = {
        # What is not stated determines nothing; and every turn of a conversation is prepared, not the first alone.
        "dataset": {name: value for name, value in asdict(spec.dataset).items() if value != ""},
        "turns": "all",
        "tokenizer_digest": identities.tokenizer_digest,
        "template_digest": identities.template_digest,
    }
    return ArtifactRequest(kind="prepared_dataset", identity=identity)


def _logit_cache(spec: RunSpec, identities: Identities) -> ArtifactRequest | None:
    if identities.row_digests is None:
        return None
    capture = {
        "k": spec.distillation.k,
        "temperatures": spec.distillation.kept_temperatures,
        "encoding": spec.distillation.encoding,
        "max_length": spec.dataset.max_length,
    }
    identity = _teacher_identity(spec, identities)
    return ArtifactRequest(
        kind="logit_cache",
        identity=identity,
        capture=capture,
        needed={"temperatures": (spec.distillation.temperature,)},
        row_digests=identities.row_digests,
    )


def _synthetic_dataset(spec: RunSpec, identities: Identities) -> ArtifactRequest | None:
    if identities.prompt_digests is None:
        return None
    decoding = asdict(spec.decoding)
    # The length decides which prompts are dropped before the teacher sees them.
    capture = {"max_new_tokens": decoding.pop("max_new_tokens"), "max_length": spec.dataset.max_length}
    return ArtifactRequest(
        kind="synthetic_dataset",
        identity={**_teacher_identity(spec, identities), "decoding": decoding},
        capture=capture,
        row_digests=identities.prompt_digests,
    )


def _student(spec: RunSpec, identities: Identities) -> ArtifactRequest:
    """The whole spec, seed included: two different specs never share a student."""
    identity = {
        "spec": spec.to_dict(),
        "teacher_digest": identities.teacher_digest,
        "student_digest": identities.student_digest,
        "tokenizer_digest": identities.tokenizer_digest,
        "template_digest": identities.template_digest,
    }
    return ArtifactRequest(kind="student", identity=identity)


def _teacher_identity(spec: RunSpec, identities: Identities) -> dict[str, Any]:
    return {
        "teacher": {"id": spec.teacher.id, "revision": spec.teacher.revision, "digest": identities.teacher_digest},
        "tokenizer_digest": identities.tokenizer_digest,
        "template_digest": identities.template_digest,
        "precision": spec.teacher.precision,
        "engine": ENGINE,
        "overlong_rows": OVERLONG_ROWS,
    }


_REQUESTS: Mapping[str, Callable[[RunSpec, Identities], ArtifactRequest | None]] = {
    "prepared_dataset": _prepared_dataset,
    "logit_cache": _logit_cache,
    "synthetic_dataset": _synthetic_dataset,
    "student": _student,
}
