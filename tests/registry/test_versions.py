"""Names of artifacts, and that nothing published is changed."""

import pytest
from django.db import IntegrityError, transaction

from registry.accounting.reuse import ArtifactRequest
from registry.models import Artifact, Membership, User
from registry.selectors.versions import resolve, versions_of
from registry.services import artifacts, versions
from registry.services.errors import Conflict, Invalid, NotAllowed

pytestmark = pytest.mark.django_db


def register(project, number, name="OLMo-2 32B, top 100"):
    request = ArtifactRequest(
        kind="logit_cache", identity={"teacher": {"id": f"teacher-{number}"}}, row_digests=("a", "b")
    )
    return artifacts.register(actor=None, project=project, request=request, name=name, production_energy_j=1.0)


@pytest.fixture
def three(project):
    return [register(project, number) for number in range(3)]


def named(project, reference, user, handle="olmo-2-32b-top-100"):
    return resolve(project=project.slug, handle=handle, reference=reference, user=user)


def test_versions_count_up_under_one_handle(three, project):
    assert [(a.handle, a.version) for a in three] == [("olmo-2-32b-top-100", n) for n in (1, 2, 3)]
    assert register(project, 9, name="other").version == 1


def test_a_name_without_a_letter_gets_the_handle_of_its_kind(project):
    assert register(project, 1, name="…").handle == "logit-cache"


def test_a_version_means_itself_and_latest_the_newest_that_is_ready(three, project, owner):
    assert named(project, "2", owner) == named(project, "v2", owner) == three[1]
    assert named(project, "latest", owner) == three[2]
    artifacts.withdraw(artifact=three[2], actor=owner, reason="wrong rows")
    assert named(project, "latest", owner) == three[1]
    assert named(project, "3", owner) == three[2]
    versions.supersede(artifact=three[1], by=three[0], actor=owner, reason="the first one was right")
    assert named(project, "latest", owner) == three[0]
    for nothing in ("4", "stable", "99999999999999999999", "²"):
        assert named(project, nothing, owner) is None


def test_a_number_is_never_given_again(three, project, owner):
    artifacts.withdraw(artifact=three[2], actor=owner, reason="wrong rows")
    assert register(project, 2).version == 4


def test_an_alias_moves_from_version_to_version(three, project, owner):
    for artifact in three[:2]:
        versions.set_alias(artifact=artifact, alias="paper", actor=owner)
        assert named(project, "paper", owner) == artifact
    assert [row.alias for row in versions_of(three[0], owner)[1].aliases.all()] == ["paper"]
    versions.drop_alias(artifact=three[1], alias="paper", actor=owner)
    assert named(project, "paper", owner) is None
    with pytest.raises(Invalid, match="no alias"):
        versions.drop_alias(artifact=three[1], alias="paper", actor=owner)


@pytest.mark.parametrize("alias", ["latest", "3", "v3", "", "Über", "a b", "a" * 61, "-x", "a@b"])
def test_words_that_are_no_aliases_are_refused(three, owner, alias):
    with pytest.raises(Invalid, match="alias"):
        versions.set_alias(artifact=three[0], alias=alias, actor=owner)


def test_only_a_version_that_is_ready_has_aliases(three, owner):
    artifacts.withdraw(artifact=three[0], actor=owner, reason="wrong rows")
    with pytest.raises(Conflict, match="withdrawn"):
        versions.set_alias(artifact=three[0], alias="paper", actor=owner)


def test_a_submitter_names_and_supersedes_nothing(three, member):
    with pytest.raises(NotAllowed):
        versions.set_alias(artifact=three[0], alias="paper", actor=member)
    with pytest.raises(NotAllowed):
        versions.supersede(artifact=three[0], by=three[1], actor=member, reason="better")


def test_what_a_stranger_may_not_see_has_no_name_for_him(three, project, stranger):
    assert named(project, "latest", stranger) is None
    assert versions_of(three[0], stranger) == ()
    Membership.objects.create(project=project, user=stranger, role="viewer")
    assert named(project, "latest", User.objects.get(pk=stranger.pk)) == three[2]


def test_a_better_one_is_another_of_its_kind_and_project_and_not_superseded_itself(three, owner):
    first, second, third = three
    with pytest.raises(Invalid, match="name another"):
        versions.supersede(artifact=first, by=first, actor=owner, reason="better")
    with pytest.raises(Invalid, match="say why"):
        versions.supersede(artifact=first, by=second, actor=owner, reason="")
    versions.supersede(artifact=second, by=third, actor=owner, reason="better")
    with pytest.raises(Conflict, match="superseded itself"):
        versions.supersede(artifact=first, by=second, actor=owner, reason="better")
    assert list(third.supersedes.all()) == [second]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "another"},
        {"identity": {}},
        {"capture": {"k": 1}},
        {"fingerprint": "0" * 64},
        {"family": "0" * 64},
        {"version": 9},
        {"handle": "other"},
        {"rows": None},
        {"ready_at": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_database_itself_refuses_to_change_what_is_published(three, change):
    with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
        Artifact.objects.filter(pk=three[0].pk).update(**change)


def test_stored_content_is_as_fixed_as_what_determines_it(three, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    artifacts.store(artifact=three[0], folder=tmp_path, meta={"rows": 1}, row_digests=["a"])
    for change in ({"manifest": []}, {"content_sha256": ""}, {"meta": {"rows": 2}}):
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
            Artifact.objects.filter(pk=three[0].pk).update(**change)
