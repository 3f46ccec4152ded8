"""Licences: derived from teacher and dataset, and what they allow across projects."""

from license_expression import ExpressionError, get_spdx_licensing

from registry.accounting.spec import RunSpec
from registry.workloads import catalogue

_SPDX = get_spdx_licensing()
# Creative Commons' NoDerivatives forbids handing on what was derived; NonCommercial forbids most uses here.
_FORBIDDING = ("-NC", "-ND", "LicenseRef-proprietary")


def problem_with(expression: str) -> str | None:
    """Why `expression` is no SPDX licence expression; `None` if it is one."""
    try:
        errors = _SPDX.validate(expression).errors
    except ExpressionError as error:
        errors = [str(error)]
    return f"{expression!r} is no SPDX licence expression: {'; '.join(errors)}" if errors else None


def derived(spec: RunSpec, *, of_teacher: bool) -> str:
    """The licence of what is made from the run's dataset, and from the teacher too. Empty where one is unknown."""
    parts = [catalogue.dataset(spec.dataset.id, spec.dataset.revision).licence]
    if of_teacher:
        parts.append(catalogue.model(spec.teacher.id, spec.teacher.revision).licence)
    if not all(parts):
        return ""
    return str(_SPDX.parse(" AND ".join(f"({part})" for part in parts)).simplify())


def allows_sharing(expression: str) -> bool:
    """Whether an artifact under this licence may be offered to other projects."""
    return bool(expression) and not any(term in expression for term in _FORBIDDING)
