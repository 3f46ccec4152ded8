"""The cast of the tests, and factories for what they handle."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

from registry.accounting.spec import RunSpec
from registry.models import Membership, Project, Study, User
from registry.services import accounts, studies
from stagemeter.records import StageRecord

_numbers = itertools.count(1)


@pytest.fixture(autouse=True, scope="session")
def quick_passwords() -> Iterator[None]:
    """The real hasher takes most of a second, which every person in every test would pay."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(scope="module")
def module_db(django_db_setup, django_db_blocker) -> Iterator[None]:
    """The database for what is written once and read by a whole module; each test's own changes are undone after it.

    Not beside transactional tests: they would empty the tables from another connection, and wait for this one.
    """
    with django_db_blocker.unblock(), transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def project(db) -> Project:
    """A private project."""
    return studies.ensure_project(slug=f"lab-{next(_numbers)}", name="Lab", public=False)


def _person(name: str) -> User:
    return User.objects.create_user(f"{name}-{next(_numbers)}", password="a long enough password")


@pytest.fixture
def owner(project) -> User:
    """Admin of the project."""
    user = _person("owner")
    Membership.objects.create(project=project, user=user, role=Membership.Role.ADMIN)
    return user


@pytest.fixture
def member(project) -> User:
    """May submit in the project, and no more."""
    user = _person("member")
    Membership.objects.create(project=project, user=user, role=Membership.Role.SUBMITTER)
    return user


@pytest.fixture
def stranger(db) -> User:
    """Has an account, and no part in the project."""
    return _person("stranger")


@pytest.fixture
def study(project) -> Study:
    """A study of the project, with the tour's suite."""
    return studies.create_study(
        actor=None,
        project=project,
        slug=f"study-{next(_numbers)}",
        name="A study",
        suite=["token_accuracy", "choice", "exact_match"],
    )


@pytest.fixture
def token_for():
    """`token_for(user)` → the header that authenticates as that user."""

    def issue(user: User, **options: Any) -> dict[str, str]:
        _, secret = accounts.issue_token(user=user, **options)
        return {"HTTP_AUTHORIZATION": f"Token {secret}"}

    return issue


def make_spec(pipeline: str = "kd", **changes: Any) -> RunSpec:
    """A small run of the tour's workload; `changes` go over the top level of its JSON."""
    spec: dict[str, Any] = {
        "pipeline": pipeline,
        "teacher": {"id": "smollm2-135m-instruct"},
        "student": {"id": "smollm2-135m-instruct", "drop_layers": "8-25"},
        "dataset": {"id": "tour-facts", "train_rows": 40, "validation_rows": 8, "evaluation_rows": 16},
    }
    return RunSpec.from_dict(spec | changes)


def make_record(**changes: Any) -> StageRecord:
    """A record of a CPU host, one minute long, that measured everything it expects."""
    start = datetime(2026, 1, 31, 12, tzinfo=UTC)
    values: dict[str, Any] = {
        "kind": "student_training",
        "started_at": start,
        "ended_at": start + timedelta(seconds=60),
        "duration_s": 60.0,
        "components": ("cpu", "ram"),
        "cpu_energy_j": 1000.0,
        "ram_energy_j": 100.0,
    }
    return StageRecord(**(values | changes))
