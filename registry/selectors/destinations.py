"""Where an upload goes, in one prepared statement: the study and its project, what the caller may do there, who is told
of it, and the teacher's reference that the run is measured against.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from registry.accounting.quality import Mark
from registry.accounting.stages import TEACHER_REFERENCE
from registry.models import Project, Run, Study, User
from registry.selectors import prepared
from registry.selectors.callers import attributes, listed


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A study with its project, and the caller's `role` there (`None` for none).

    `heard` says whether a webhook listens to the project. `teacher` holds the reference's scores, oldest first.
    """

    study: Study
    role: str | None
    heard: bool
    reference: uuid.UUID | None
    teacher: list[Mark]


def _of_study(study: str) -> str:
    """The newest reference, for the same teacher where one is named; of the same workload rather than of none."""
    return f"""
        SELECT r.id FROM registry_run AS r
        WHERE r.study_id = {study} AND r.pipeline = '{TEACHER_REFERENCE}' AND r.status = '{Run.Status.FINISHED}'
        AND (%(teacher)s = '' OR r.teacher = %(teacher)s) AND r.workload IN (%(workload)s, '')
        ORDER BY r.workload = %(workload)s DESC, r.id DESC LIMIT 1
    """


# ruff: noqa: S608 (the statements are put together of the models' own column names)
REFERENCE = _of_study("%(study)s::uuid")
DESTINATION = f"""
    SELECT {listed("s", Study)}, {listed("p", Project)}, m.role,
        EXISTS (SELECT FROM registry_webhook AS w WHERE w.project_id = p.id AND w.enabled),
        ref.id,
        (SELECT json_agg(json_build_array({", ".join(f"e.{name}" for name in Mark._fields)}) ORDER BY e.id)
         FROM registry_evaluationscore AS e WHERE e.run_id = ref.id)
    FROM registry_study AS s JOIN registry_project AS p ON p.id = s.project_id
    LEFT JOIN registry_membership AS m ON m.project_id = p.id AND m.user_id = %(user)s
    LEFT JOIN LATERAL ({_of_study("s.id")}) AS ref ON true
    WHERE s.slug = %(slug)s
    AND (%(everything)s::boolean OR p.public OR m.id IS NOT NULL)
    AND (%(within)s::uuid IS NULL OR p.id = %(within)s::uuid)
"""


def find(slug: str, *, user: User | None, within: uuid.UUID | None, teacher: str, workload: str) -> Destination | None:
    """The study of that slug, if `user` may see it; `None` is the system. `within` is the one project allowed."""
    values = {
        "slug": slug,
        "user": None if user is None else user.pk,
        "everything": user is None or user.is_superuser,
        "within": within,
        "teacher": teacher,
        "workload": workload,
    }
    for row in prepared.rows(DESTINATION, values):
        names = attributes(Study)
        *rest, role, heard, reference, scores = row
        study = Study.from_db(DEFAULT_DB_ALIAS, names, _read(Study, rest[: len(names)]))
        study.project = Project.from_db(DEFAULT_DB_ALIAS, attributes(Project), rest[len(names) :])
        taken = [Mark(*score) for score in scores or []]
        return Destination(study=study, role=role, heard=heard, reference=reference, teacher=taken)
    return None


def reference(study: uuid.UUID, *, teacher: str, workload: str) -> uuid.UUID | None:
    """The run of the study that a run of that teacher and workload is measured against."""
    found = prepared.rows(REFERENCE, {"study": study, "teacher": teacher, "workload": workload})
    return found[0][0] if found else None


def _read(model: type[Study], row: list[Any]) -> list[Any]:
    """The row with its JSON read."""
    return [
        json.loads(value) if field.get_internal_type() == "JSONField" else value
        for field, value in zip(model._meta.concrete_fields, row, strict=True)
    ]
