"""Licences: derived from teacher and dataset, narrowed by a curator, and what they allow across projects.

Every artifact has one SPDX expression, which joins its teacher's and its dataset's by AND: whoever uses it must keep to
both. An unknown one is empty, and an empty one allows nothing to others.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import product
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import transaction
from license_expression import AND, OR, ExpressionError, LicenseWithExceptionSymbol, get_spdx_licensing

from registry.accounting.spec import RunSpec
from registry.models import Artifact, Membership, User
from registry.openlicences import OPEN
from registry.selectors.reusable import Reusable
from registry.services import accounts, audit
from registry.services.errors import Conflict, Invalid
from registry.workloads import catalogue

_SPDX = get_spdx_licensing()
CUSTOM = "LicenseRef-"
LONGEST, LONGEST_LINK = 200, 500
_check_link = URLValidator(schemes=["https"])
MOST_ALTERNATIVES = 64


def problem_with(expression: str) -> str | None:
    """Why `expression` is no SPDX licence expression; `None` if it is one. `LicenseRef-…` names a custom licence."""
    try:
        parsed = _SPDX.parse(expression)
        unknown = [] if parsed is None else [key for key in _SPDX.unknown_license_keys(parsed) if not _is_custom(key)]
    except ExpressionError as error:
        return f"{expression[:80]!r} is no SPDX licence expression: {error}"
    if parsed is None:
        return f"{expression[:80]!r} is no SPDX licence expression"
    if unknown:
        way_out = f"; name a custom licence {CUSTOM}name, with its name and a link"
        return f"{expression[:80]!r} is no SPDX licence expression: unknown {', '.join(unknown)}{way_out}"
    return None


def custom_problems(expression: str, name: str, link: str) -> dict[str, str]:
    """What is wrong with a licence's name and link, by field. A custom one needs both, any other may have them."""
    custom = any(_is_custom(key) for key in _keys(expression))
    problems = {}
    if len(name) > LONGEST:
        problems["licence_name"] = f"longer than {LONGEST} characters"
    elif custom and not name.strip():
        problems["licence_name"] = "a custom licence needs the name that people know it by"
    if len(link) > LONGEST_LINK:
        problems["licence_link"] = f"longer than {LONGEST_LINK} characters"
    elif custom and not link:
        problems["licence_link"] = "a custom licence needs an https:// link to its text"
    elif link and not _is_link(link):
        problems["licence_link"] = f"{link[:80]!r} is no https:// link to the licence's text"
    return problems


def joined(*expressions: str) -> str:
    """All of them together, by AND; empty where one is unknown."""
    if not expressions or not all(expressions):
        return ""
    text = str(_SPDX.parse(" AND ".join(f"({part})" for part in expressions)).simplify())
    return text if len(text) <= LONGEST else ""


def of_run(spec: RunSpec, *, of_teacher: bool) -> dict[str, object]:
    """The licence columns of what is made from the run's dataset, and from the teacher too."""
    dataset = catalogue.dataset(spec.dataset.id, spec.dataset.revision).licence
    if not of_teacher:
        return {"dataset_licence": dataset, "licence": joined(dataset)}
    teacher = catalogue.model(spec.teacher.id, spec.teacher.revision)
    return {
        "dataset_licence": dataset,
        "teacher_licence": teacher.licence,
        "licence": joined(teacher.licence, dataset),
        "may_train": teacher.may_train,
    }


def derived(spec: RunSpec, *, of_teacher: bool) -> str:
    """The licence of what is made from the run's dataset, and from the teacher too. Empty where one is unknown."""
    return str(of_run(spec, of_teacher=of_teacher)["licence"])


@lru_cache(maxsize=4096)
def allows_sharing(expression: str) -> bool:
    """Whether what is under this licence may be handed on: one of its alternatives is known to let others use it."""
    return _permits(_parsed(expression))


def obstacle_to_sharing(artifact: Artifact | Reusable) -> str | None:
    """Why other projects may not use it, as the end of a sentence; `None` if they may.

    What its teacher or its dataset doesn't allow, no licence stated for the artifact itself does.
    """
    if not artifact.licence:
        return "nobody knows its licence"
    if not allows_sharing(artifact.licence):
        return f"its licence ({artifact.licence}) is not known to let others use it"
    for whose, expression in (("teacher", artifact.teacher_licence), ("dataset", artifact.dataset_licence)):
        if expression and not allows_sharing(expression):
            return f"its {whose}'s licence ({expression}) is not known to let others use it"
    if artifact.may_train is False:
        return "its outputs may not train other models"
    return None


def why_members_only(artifact: Artifact, user: User | AnonymousUser) -> str | None:
    """Why its files are not for `user`, who sees the artifact, as a sentence; `None` if they are.

    A public project shows what it has; it hands on only what may be handed on.
    """
    if user.is_authenticated and (user.is_superuser or artifact.project_id in user.member_project_ids()):
        return None
    obstacle = obstacle_to_sharing(artifact)
    return obstacle and f"Its files are for members of the project {artifact.project.slug} alone, since {obstacle}."


def narrows(new: str, old: str) -> bool:
    """Whether keeping to `new` always keeps to `old` too: every alternative of it takes on all of one of `old`'s."""
    before, after = _clauses(_parsed(old)), _clauses(_parsed(new))
    return bool(after) and all(any(one <= clause for one in before) for clause in after)


def _laxer(new: str, *known: str) -> str:
    """Those of the `known` licences that keeping to `new` doesn't keep to, as words; empty if there is none."""
    return " and ".join(dict.fromkeys(one for one in known if one and not narrows(new, one)))


STATED = ("teacher_licence", "dataset_licence", "licence_name", "licence_link", "may_train")


def stated(licence: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """The licence columns of what somebody registers: theirs, or the one that teacher and dataset give.

    Raises `Invalid` by field; a stated licence may narrow what they give, never widen it.
    """
    values = {"licence": licence} | {name: more[name] for name in STATED if more.get(name) not in (None, "")}
    problems: dict[str, str] = {}
    for name in ("licence", "teacher_licence", "dataset_licence"):
        expression = values.get(name, "")
        if len(expression) > LONGEST:
            problems[name] = f"longer than {LONGEST} characters"
        elif expression and (problem := problem_with(expression)):
            problems[name] = problem
    if problems:
        raise Invalid(problems)
    given = [values.get(name, "") for name in ("teacher_licence", "dataset_licence")]
    if licence and (laxer := _laxer(licence, *given)):
        way_out = "state one that keeps to them too, or leave it out"
        raise Invalid({"licence": f"{licence} allows what its teacher and dataset ({laxer}) do not; {way_out}"})
    values["licence"] = licence or joined(*given)
    problems = custom_problems(values["licence"], values.get("licence_name", ""), values.get("licence_link", ""))
    if problems:
        raise Invalid(problems)
    return values


@transaction.atomic
def narrow(
    *, actor: User, artifact: Artifact, licence: str, note: str, name: str = "", link: str = "", may_train: bool | None
) -> None:
    """State a stricter licence than the derived one, or the first where none is known, and say why.

    A curator is a maintainer of the project. What others may no longer use stops being offered to them; runs that used
    it keep it in their books. Raises `Invalid`, `NotAllowed`.
    """
    accounts.require_role(actor, artifact.project, Membership.Role.MAINTAINER)
    row = Artifact.objects.select_for_update().get(pk=artifact.pk)
    problem = problem_with(licence) or (None if len(licence) <= LONGEST else f"longer than {LONGEST} characters")
    problems = {"licence": problem} if problem else custom_problems(licence, name, link)
    if not problem and (laxer := _laxer(licence, row.licence, row.teacher_licence, row.dataset_licence)):
        problems["licence"] = f"{licence} allows what {laxer} does not; a licence can only be narrowed"
    if row.may_train is False and may_train is not False:
        problems["may_train"] = "it was stated that its outputs may not train other models, which only can stay so"
    if audit.legible(note) < 10:
        problems["note"] = "say in at least ten characters why, for whoever reads it later"
    if problems:
        raise Invalid(problems)
    before = {"licence": row.licence, "may_train": row.may_train}
    row.licence, row.licence_note, row.may_train = licence, note.strip(), may_train
    row.licence_name, row.licence_link = name.strip(), link.strip()
    if row.sharing == Artifact.Sharing.SHARED and obstacle_to_sharing(row):
        row.sharing = Artifact.Sharing.PROJECT
    row.save(update_fields=["licence", "licence_note", "licence_name", "licence_link", "may_train", "sharing"])
    audit.record(
        actor=actor, project=row.project, action="artifact licence narrowed", subject=row, before=before, reason=note
    )
    artifact.refresh_from_db()


@transaction.atomic
def share(*, actor: User, artifact: Artifact, sharing: str) -> None:
    """Publish an artifact to every project, let others know that it exists, or keep it to its project.

    Raises `Conflict` where its licence is unknown or does not let others use it, `Invalid`, `NotAllowed`.
    """
    accounts.require_role(actor, artifact.project, Membership.Role.MAINTAINER)
    if sharing not in Artifact.Sharing.values:
        raise Invalid({"sharing": f"{sharing!r} must be one of {', '.join(Artifact.Sharing.values)}"})
    row = Artifact.objects.select_for_update().get(pk=artifact.pk)
    if sharing == Artifact.Sharing.SHARED and (obstacle := obstacle_to_sharing(row)):
        way_out = "Let others ask for it instead (sharing 'request'), or keep it to its project"
        if not row.licence:
            way_out = "State its licence first, with a note"
        raise Conflict(f"It cannot be published to other projects: {obstacle}. {way_out}.", artifact=row.pk)
    row.sharing = sharing
    row.save(update_fields=["sharing"])
    audit.record(actor=actor, project=row.project, action="artifact shared", subject=row, sharing=sharing)
    artifact.refresh_from_db()


def _is_custom(key: str) -> bool:
    return key.startswith(CUSTOM)


def _is_link(link: str) -> bool:
    try:
        _check_link(link)
    except ValidationError:
        return False
    return True


def _is_open(symbol: Any) -> bool:
    """Whether it is a licence on the list. An exception that SPDX knows allows more, never less."""
    if isinstance(symbol, LicenseWithExceptionSymbol):
        exception = symbol.exception_symbol
        return _is_open(symbol.license_symbol) and exception.is_exception and not _is_custom(exception.key)
    return symbol.key in OPEN


def _keys(expression: str) -> list[str]:
    return [] if not expression else list(_SPDX.license_keys(_SPDX.parse(expression)))


def _parsed(expression: str) -> Any:
    """The expression as a tree; `None` for an empty one and for what is none."""
    return None if not expression or problem_with(expression) else _SPDX.parse(expression)


def _permits(tree: Any) -> bool:
    """Whether one of its alternatives is made of open licences alone."""
    if isinstance(tree, AND):
        return all(_permits(part) for part in tree.args)
    if isinstance(tree, OR):
        return any(_permits(part) for part in tree.args)
    return tree is not None and _is_open(tree)


def _clauses(tree: Any) -> set[frozenset[str]]:
    """The alternatives of an expression, each as the licences to keep to. Raises `Invalid` for too many."""
    if tree is None:
        return set()
    if isinstance(tree, OR):
        return _few(clause for part in tree.args for clause in _clauses(part))
    if isinstance(tree, AND):
        ways = product(*(_clauses(part) for part in tree.args))
        return _few(frozenset().union(*way) for way in ways)
    return {frozenset([str(tree)])}


def _few(clauses: Iterable[frozenset[str]]) -> set[frozenset[str]]:
    found: set[frozenset[str]] = set()
    for clause in clauses:
        found.add(clause)
        if len(found) > MOST_ALTERNATIVES:
            raise Invalid({"licence": f"it has more than {MOST_ALTERNATIVES} alternatives; choose among them"})
    return found
