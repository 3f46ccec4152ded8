"""RunSpec → planned stages, each with the artifact it would make."""

from collections.abc import Mapping
from dataclasses import dataclass

from registry.accounting.reuse import ArtifactRequest
from registry.accounting.spec import RunSpec
from registry.accounting.stages import INPUTS_OF_STAGE, OUTPUT_OF_STAGE, STAGES_OF_PIPELINE, role_of


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
    """One stage of a run before anything has run. `request` is what it would make, `None` if nothing or not known yet."""

    kind: str
    role: str
    inputs: tuple[str, ...]
    output: str | None
    request: ArtifactRequest | None = None
