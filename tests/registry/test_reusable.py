"""The statements of a lookup name what the ORM would: who may be told of what, and in which order."""

import itertools
import random

import pytest
from django.db.models import Q
from django.http import HttpRequest
from rest_framework.request import Request

from registry.api.serializers.artifacts import ArtifactSerializer, represented
from registry.models import Artifact, Project
from registry.selectors import reusable
from registry.selectors.reusable import Reach
from registry.services import rowsets, studies
from tests import scenes

FAMILIES, TEACHERS = ("f" * 64, "e" * 64), ("teacher", "another")
SMALL, LARGE, OTHER = ["a", "b"], ["a", "b", "c", "d"], ["a", "x", "y"]


@pytest.fixture
def crowd(member, project) -> list[Project]:
    """Artifacts of every sharing, status and standing, in the member's, a public and a private project."""
    others = [studies.ensure_project(slug=f"other-{public}", name="Other", public=public) for public in (True, False)]
    draw = random.Random(5)  # noqa: S311 (no secret)
    sets = [rowsets.of(rows) for rows in (SMALL, LARGE, OTHER)]
    every = itertools.product(
        [project, *others], sets, Artifact.Sharing.values, ("ready", "making", "withdrawn"), ("", "key")
    )
    made: list[Artifact] = []
    for number, (where, rows, sharing, status, key) in enumerate(every):
        one = Artifact(
            project=where,
            kind=draw.choice(("logit_cache", "logit_cache", "synthetic_dataset")),
            name=f"{number}",
            status=status,
            sharing=sharing,
            storage_key=key,
            rows=rows,
            family=draw.choice(FAMILIES),
            teacher=TEACHERS[0],
            dataset=draw.choice(("hub/one", "hub/two")),
            fingerprint=f"{number % 5}" * 64,
            simulated=draw.random() < 0.2,
            regenerate_reason=f"made again, number {number}",
            superseded_by=made[0] if made and draw.random() < 0.2 else None,
        )
        one.teacher = TEACHERS[FAMILIES.index(one.family)] if draw.random() < 0.7 else TEACHERS[0]
        made.append(one)
    Artifact.objects.bulk_create(made)
    return [project, *others]


def told(reach: Reach):
    """What the reach means, as the ORM says it."""
    rows = Artifact.objects.filter(kind=reach.kind, status__in=["ready", "making"])
    if reach.for_worker:
        rows = rows.exclude(status="ready", storage_key="")
    if reach.everything:
        return rows
    shared = Q(project__public=True) | Q(sharing__in=["shared", "request"])
    return rows.filter(Q(project__in=reach.mine) | shared) if reach.others else rows.filter(project__in=reach.mine)


@pytest.fixture(params=["a token's own project", "a member", "a superuser", "a worker"])
def reach(request, crowd) -> Reach:
    """Of logit caches, as four who ask have it."""
    return Reach(
        kind="logit_cache",
        mine=(crowd[0].pk,),
        others=request.param != "a token's own project",
        everything=request.param == "a superuser",
        for_worker=request.param == "a worker",
    )


def test_those_of_the_family_over_enough_rows_come_as_they_are_offered(reach):
    probes, key = rowsets.spread(SMALL, 4), rowsets.digest_of(SMALL)
    found = reusable.over(reach, family=FAMILIES[0], rows=key, count=2, probes=probes)
    wanted = told(reach).filter(family=FAMILIES[0], rows__digests__contains=SMALL).select_related("rows")
    order = sorted(
        wanted.order_by("rows__count", "-id"),
        key=lambda one: (one.superseded_by_id is not None, one.simulated, one.rows_id != key),
    )
    assert [row.id for row in found] == [one.pk for one in order]
    assert found


@pytest.mark.parametrize("most", [3, 100])
def test_those_of_the_teacher_over_some_of_the_rows_come_with_the_family_first(reach, most):
    besides = [told(reach).filter(family=FAMILIES[0]).order_by("-id").values_list("pk", flat=True)[0]]
    asked = {"count": 4, "probes": rowsets.spread(LARGE, 8), "sets": 2}
    found = reusable.near(reach, family=FAMILIES[0], teacher=TEACHERS[0], besides=besides, most=most, **asked)
    nearest = [rowsets.digest_of(rows) for rows in (LARGE, OTHER)]
    wanted = told(reach).filter(rows__in=nearest, teacher=TEACHERS[0]).exclude(pk__in=besides).order_by("-id")
    order = sorted(wanted, key=lambda one: one.family != FAMILIES[0])
    assert [row.id for row in found] == [one.pk for one in order][:most]
    assert found


def test_others_are_found_by_fingerprint_and_by_dataset(reach):
    newest = told(reach).order_by("-id").values_list("pk", flat=True)
    assert [row.id for row in reusable.equal(reach, "1" * 64, 4)] == list(newest.filter(fingerprint="1" * 64)[:4])
    assert [row.id for row in reusable.of_dataset(reach, "hub/one", 4)] == list(newest.filter(dataset="hub/one")[:4])


def test_what_is_shown_of_one_is_what_a_list_shows(study, member, stranger):
    run = scenes.add_run(study)
    first = scenes.add_artifact(run)
    for changes, user in (({}, member), ({"superseded_by": first}, member), ({}, stranger)):
        one = scenes.add_artifact(run, **changes)
        asked = Request(HttpRequest())
        asked.user, asked.auth = user, None
        mine = Reach(kind=one.kind, mine=(study.project_id,), others=False)
        (row,) = reusable.equal(mine, one.fingerprint, 1)
        listed = ArtifactSerializer(Artifact.objects.get(pk=one.pk), context={"request": asked}).data
        assert represented(row, asked) == listed
        assert (listed["made_by_run"] is None) == (user is stranger)
