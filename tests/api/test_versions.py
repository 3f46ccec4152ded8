"""Artifacts by name over REST, and what is said of them once they are published."""

import pytest

from registry.models import Artifact
from tests.api.test_artifacts import registration


@pytest.fixture
def versions(api, project):
    """Three versions of "A cache", by other teachers."""
    made = [api.post("artifacts/", registration(identity={"teacher": {"id": f"t{n}"}})).json() for n in range(3)]
    assert [(row["handle"], row["version"]) for row in made] == [("a-cache", n) for n in (1, 2, 3)]
    return made


@pytest.fixture
def curator(owner, call_as):
    return call_as(owner)


def named(caller, project, reference):
    return caller.get(f"artifacts/{project.slug}/a-cache@{reference}/")


def test_an_artifact_is_found_by_version_latest_and_alias(api, curator, project, versions):
    assert named(api, project, "2").json()["id"] == named(api, project, "v2").json()["id"] == versions[1]["id"]
    assert named(api, project, "latest").json()["id"] == versions[2]["id"]
    shown = curator.post(f"artifacts/{versions[0]['id']}/aliases/", {"alias": "paper"})
    assert (shown.status_code, shown.json()["aliases"]) == (200, ["paper"])
    assert named(api, project, "paper").json()["id"] == versions[0]["id"]
    assert curator.delete(f"artifacts/{versions[0]['id']}/aliases/paper/").json()["aliases"] == []
    assert named(api, project, "paper").status_code == 404


def test_a_private_name_is_404_for_a_stranger(outsider, project, versions):
    assert named(outsider, project, "latest").status_code == 404


def test_what_is_withdrawn_is_no_longer_latest_and_stays_readable(api, curator, project, versions):
    response = curator.post(f"artifacts/{versions[2]['id']}/withdraw/", {"reason": "made over the wrong rows"})
    assert (response.status_code, response.json()["status"]) == (200, "withdrawn")
    assert named(api, project, "latest").json()["id"] == versions[1]["id"]
    assert named(api, project, "3").json()["status"] == "withdrawn"
    again = curator.post(f"artifacts/{versions[2]['id']}/withdraw/", {"reason": "made over the wrong rows"})
    assert again.status_code == 409


def test_a_better_one_is_named_with_a_reason(curator, versions):
    body = {"by": versions[1]["id"], "reason": "captured in fp32"}
    response = curator.post(f"artifacts/{versions[0]['id']}/supersede/", body)
    assert (response.status_code, response.json()["superseded_by"]) == (200, versions[1]["id"])


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("withdraw/", {}, 400),
        ("withdraw/", {"reason": ""}, 400),
        ("withdraw/", {"reason": "x", "colour": "blue"}, 400),
        ("supersede/", {"reason": "better"}, 400),
        ("supersede/", {"by": "00000000-0000-7000-8000-000000000000", "reason": "better"}, 400),
        ("supersede/", {"by": 5, "reason": "better"}, 400),
        ("aliases/", {"alias": "latest"}, 400),
        ("aliases/", {"alias": "7"}, 400),
        ("aliases/", {}, 400),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(curator, versions, path, body, status):
    response = curator.post(f"artifacts/{versions[0]['id']}/{path}", body)
    assert response.status_code == status, response.content
    row = Artifact.objects.get(pk=versions[0]["id"])
    assert (row.status, row.superseded_by, row.aliases.count()) == ("ready", None, 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [("withdraw/", {"reason": "x"}), ("aliases/", {"alias": "paper"}), ("supersede/", {"reason": "x"})],
)
def test_a_submitter_says_nothing_of_what_is_published(api, versions, path, body):
    body |= {"by": versions[1]["id"]} if path == "supersede/" else {}
    assert api.post(f"artifacts/{versions[0]['id']}/{path}", body).status_code == 403
    assert api.delete(f"artifacts/{versions[0]['id']}/aliases/paper/").status_code == 403
