"""Tables. Everything here is read through selectors and written through services."""

from registry.models.accounts import ApiToken, User
from registry.models.artifacts import SEARCHED, Artifact, ArtifactAlias, ArtifactUse, RowSet
from registry.models.audit import AuditEvent, IdempotencyKey
from registry.models.base import Origin, Words
from registry.models.hosts import Factor, HostProfile
from registry.models.leases import ArtifactLease
from registry.models.projects import Membership, Project, Study, StudyChange
from registry.models.runs import Attempt, Job, Run, RunKind, RunNameWord, RunSummary
from registry.models.scores import EvaluationScore, ScoreFile
from registry.models.stages import GpuUse, Stage, StageReview
from registry.models.traces import Trace
from registry.models.tracking import TrackedMetric, TrackedRun
from registry.models.webhooks import Webhook, WebhookDelivery

__all__ = [
    "SEARCHED",
    "ApiToken",
    "Artifact",
    "ArtifactAlias",
    "ArtifactLease",
    "ArtifactUse",
    "Attempt",
    "AuditEvent",
    "EvaluationScore",
    "Factor",
    "GpuUse",
    "HostProfile",
    "IdempotencyKey",
    "Job",
    "Membership",
    "Origin",
    "Project",
    "RowSet",
    "Run",
    "RunKind",
    "RunNameWord",
    "RunSummary",
    "ScoreFile",
    "Stage",
    "StageReview",
    "Study",
    "StudyChange",
    "Trace",
    "TrackedMetric",
    "TrackedRun",
    "User",
    "Webhook",
    "WebhookDelivery",
    "Words",
]
