"""Licences: derived by AND, narrowed with a note, and what they allow across projects."""

import pytest

from registry.models import Artifact, AuditEvent, Membership
from registry.openlicences import OPEN
from registry.services import artifacts, licences, reuse, studies
from registry.services.errors import Conflict, Invalid, NotAllowed
from tests import scenes
from tests.conftest import make_spec

NOTE = "the teacher's owner asked us to"


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("Apache-2.0", True),
        ("Apache-2.0 AND ODC-By-1.0", True),
        ("Apache-2.0 AND CC-BY-NC-4.0", False),
        ("MIT OR CC-BY-NC-4.0", True),
        ("CC-BY-ND-4.0", False),
        ("LicenseRef-llama3", False),
        ("Apache-2.0 AND LicenseRef-llama3", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True),
        ("MIT WITH LicenseRef-house", False),
        ("odc-by-1.0", True),
        ("PolyForm-Noncommercial-1.0.0", False),
        ("PolyForm-Small-Business-1.0.0", False),
        ("NCGL-UK-2.0", False),
        ("BUSL-1.1", False),
        ("Aladdin", False),
        ("Elastic-2.0", False),
        ("BSD-3-Clause-No-Nuclear-License", False),
        ("", False),
        ("beer", False),
    ],
)
def test_what_may_be_handed_on(expression, allowed):
    assert licences.allows_sharing(expression) is allowed


def test_every_licence_on_the_list_is_one_of_spdx():
    assert [key for key in OPEN if licences.problem_with(key)] == []
    assert [key for key in OPEN if licences.joined(key) != key] == []


@pytest.mark.parametrize(
    ("new", "old", "narrower"),
    [
        ("Apache-2.0", "Apache-2.0", True),
        ("Apache-2.0 AND MIT", "Apache-2.0", True),
        ("MIT", "Apache-2.0 OR MIT", True),
        ("Apache-2.0 OR MIT", "MIT", False),
        ("Apache-2.0", "Apache-2.0 AND ODC-By-1.0", False),
        ("(Apache-2.0 OR MIT) AND CC-BY-4.0", "CC-BY-4.0", True),
        ("", "MIT", False),
    ],
)
def test_narrower_is_what_keeps_to_the_old_one_too(new, old, narrower):
    assert licences.narrows(new, old) is narrower


def test_an_expression_that_would_explode_is_refused():
    names = ("MIT", "ISC", "Zlib", "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0")
    pairs = [f"({a} OR {b})" for a, b in zip(names, reversed(names), strict=True)]
    many = " AND ".join([*pairs[:4], "(CC-BY-3.0 OR CC-BY-4.0)", "(GPL-2.0-only OR GPL-3.0-only)", "(X11 OR NCSA)"])
    with pytest.raises(Invalid, match="alternatives"):
        licences.narrows(many, "MIT")


def test_a_run_s_artifact_takes_on_teacher_and_dataset():
    columns = licences.of_run(make_spec("kd", dataset={"id": "allenai/tulu-3-sft-mixture"}), of_teacher=True)
    assert columns == {
        "teacher_licence": "Apache-2.0",
        "dataset_licence": "ODC-By-1.0",
        "licence": "Apache-2.0 AND ODC-By-1.0",
        "may_train": True,
    }


def test_an_unknown_licence_stays_unknown_and_is_not_guessed():
    columns = licences.of_run(make_spec("kd", dataset={"id": "somebody/something"}), of_teacher=True)
    assert columns["licence"] == ""
    teacher = make_spec("kd", teacher={"id": "somebody/model"}, dataset={"id": "tour-facts"})
    assert licences.of_run(teacher, of_teacher=True)["may_train"] is None


@pytest.fixture
def artifact(study) -> Artifact:
    return scenes.add_artifact(scenes.add_run(study))


def narrow(artifact, actor, licence, **changes):
    values = {"note": NOTE, "may_train": None} | changes
    licences.narrow(actor=actor, artifact=artifact, licence=licence, **values)


def test_a_curator_narrows_with_a_note_that_is_kept(artifact, owner):
    narrow(artifact, owner, "Apache-2.0 AND CC-BY-4.0", may_train=False)
    assert (artifact.licence, artifact.licence_note, artifact.may_train) == ("Apache-2.0 AND CC-BY-4.0", NOTE, False)
    event = AuditEvent.objects.get(action="artifact licence narrowed")
    assert (event.actor, event.detail["before"]["licence"]) == (owner, "Apache-2.0")


@pytest.mark.parametrize(
    ("licence", "changes", "field"),
    [
        ("MIT", {}, "licence"),
        ("beer", {}, "licence"),
        ("Apache-2.0", {"note": "because"}, "note"),
        ("Apache-2.0", {"note": "because" + "\u200b" * 12}, "note"),
        ("Apache-2.0 AND LicenseRef-house", {}, "licence_name"),
        ("Apache-2.0 AND LicenseRef-house", {"name": "House rules", "link": "javascript:alert(1)"}, "licence_link"),
    ],
)
def test_what_is_no_narrowing_is_refused_by_field(artifact, owner, licence, changes, field):
    with pytest.raises(Invalid) as refused:
        narrow(artifact, owner, licence, **changes)
    assert field in refused.value.problems
    artifact.refresh_from_db()
    assert (artifact.licence, artifact.licence_note) == ("Apache-2.0", "")


@pytest.mark.parametrize("part", ["teacher_licence", "dataset_licence"])
def test_what_teacher_or_dataset_forbid_no_other_licence_allows(artifact, owner, part):
    """Whatever was stated first, and though the artifact's own licence is not known."""
    columns = {"teacher_licence": "", "dataset_licence": "", "licence": "", part: "CC-BY-NC-4.0"}
    Artifact.objects.filter(pk=artifact.pk).update(**columns)
    with pytest.raises(Invalid, match=r"MIT allows what CC-BY-NC-4\.0 does not"):
        narrow(artifact, owner, "MIT")
    Artifact.objects.filter(pk=artifact.pk).update(licence="MIT")  # as it may stand since before
    with pytest.raises(Conflict, match=r"\(CC-BY-NC-4\.0\) is not known to let others use it\. Let others ask"):
        licences.share(actor=owner, artifact=artifact, sharing="shared")
    with pytest.raises(Invalid, match=r"MIT allows what its teacher and dataset \(CC-BY-NC-4\.0\) do not"):
        licences.stated("MIT", {part: "CC-BY-NC-4.0"})
    assert licences.stated("", {part: "CC-BY-NC-4.0"})["licence"] == ""


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "http://x.org", "https://", "https://x.org/\n", "https://" + "x" * 500]
)
def test_a_link_is_an_address_that_a_browser_only_opens(artifact, owner, link):
    for refused in (
        lambda: licences.stated("MIT", {"licence_link": link}),
        lambda: narrow(artifact, owner, "Apache-2.0", link=link),
    ):
        with pytest.raises(Invalid) as problem:
            refused()
        assert list(problem.value.problems) == ["licence_link"]
    assert licences.stated("MIT", {"licence_link": "https://x.org/mit"})["licence_link"] == "https://x.org/mit"


def test_what_was_said_of_its_outputs_cannot_be_taken_back(artifact, owner):
    narrow(artifact, owner, "Apache-2.0", may_train=False)
    with pytest.raises(Invalid, match="only can stay so"):
        narrow(artifact, owner, "Apache-2.0", may_train=True)


def test_only_a_maintainer_curates(artifact, member, stranger):
    for actor in (member, stranger):
        with pytest.raises(NotAllowed):
            narrow(artifact, actor, "Apache-2.0")
        with pytest.raises(NotAllowed):
            licences.share(actor=actor, artifact=artifact, sharing="shared")


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"licence": ""}, "nobody knows its licence"),
        ({"licence": "CC-BY-NC-4.0"}, "not known to let others"),
        ({"licence": "LicenseRef-house"}, "not known to let others"),
        ({"may_train": False}, "may not train"),
    ],
)
def test_publishing_needs_a_known_licence_that_allows_it(artifact, owner, columns, why):
    Artifact.objects.filter(pk=artifact.pk).update(**columns)
    with pytest.raises(Conflict, match=why):
        licences.share(actor=owner, artifact=artifact, sharing="shared")
    artifact.refresh_from_db()
    assert artifact.sharing == "project"


@pytest.fixture
def elsewhere(stranger, study):
    """Another private project, of the stranger."""
    project = studies.ensure_project(slug="elsewhere", name="Elsewhere", public=False)
    Membership.objects.create(project=project, user=stranger, role=Membership.Role.SUBMITTER)
    return project


def look(artifact, project, user):
    return reuse.find(artifacts.request_of(artifact), project, user)


def test_a_published_artifact_is_offered_and_seen_everywhere(artifact, owner, stranger, elsewhere):
    assert look(artifact, elsewhere, stranger) == reuse.Found(candidates=())
    licences.share(actor=owner, artifact=artifact, sharing="shared")
    assert [c.artifact_id for c in look(artifact, elsewhere, stranger).candidates] == [str(artifact.pk)]
    assert Artifact.objects.visible_to(stranger).filter(pk=artifact.pk).exists()


def test_one_that_may_be_asked_for_is_named_by_its_project_alone(artifact, owner, stranger, elsewhere):
    licences.share(actor=owner, artifact=artifact, sharing="request")
    found = look(artifact, elsewhere, stranger)
    assert found.candidates == ()
    assert [(one.project, one.production_energy_j) for one in found.elsewhere] == [(artifact.project.slug, 9000.0)]
    assert "ask its maintainers" in found.elsewhere[0].reason
    assert not Artifact.objects.visible_to(stranger).filter(pk=artifact.pk).exists()
    decision = reuse.decide(request=artifacts.request_of(artifact), project=elsewhere, user=stranger)
    assert decision.action == "make"
    assert artifact.project.slug in decision.reason


def test_narrowing_a_published_one_takes_it_back(artifact, owner, stranger, elsewhere):
    licences.share(actor=owner, artifact=artifact, sharing="shared")
    narrow(artifact, owner, "Apache-2.0 AND CC-BY-NC-4.0")
    assert artifact.sharing == "project"
    assert look(artifact, elsewhere, stranger).candidates == ()


def test_its_own_project_may_always_use_it(artifact, owner, member):
    narrow(artifact, owner, "Apache-2.0 AND CC-BY-NC-4.0", may_train=False)
    assert len(look(artifact, artifact.project, member).candidates) == 1


def test_a_run_s_artifact_keeps_both_licences(study, member):
    from registry.services import runs

    runs.submit(actor=member, study=study, spec=make_spec("kd"))
    cache = Artifact.objects.get(kind="logit_cache")
    assert (cache.teacher_licence, cache.dataset_licence, cache.licence) == ("Apache-2.0",) * 3
    assert (cache.may_train, cache.dataset) == (True, "tour-facts")
