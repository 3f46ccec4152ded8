"""A study of very many runs is read another way, and says the same."""

import gzip
import html
import itertools
import random
import re

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache

from registry.accounting.figures import SCOPES
from registry.models import Artifact, ArtifactUse, Run, RunSummary, StudyChange
from registry.selectors import large, studies
from tests import scenes

ANYBODY = AnonymousUser()


@pytest.fixture
def crowd(study):
    """Sixty runs with everything that can be the matter with one, drawn from a fixed seed."""
    study.project.public = True
    study.project.save()
    draw = random.Random(7)  # noqa: S311 (no secret)
    artifacts = [
        Artifact.objects.create(
            project=study.project,
            kind=draw.choice(["logit_cache", "synthetic_dataset", "prepared_dataset"]),
            name=f"artifact {n}",
            status="ready",
            fingerprint=f"{n:064d}",
            family="f",
            production_energy_j=None if n == 9 else draw.uniform(1e6, 5e6),
            simulated=n == 8,
        )
        for n in range(10)
    ]
    for n in range(60):
        run = scenes.add_run(
            study,
            draw.choice(["sft", "kd", "synthetic_sft"]),
            configuration=f"c{n % 16}",
            workload=("math", "code")[n % 32 // 16],
            seed=n,
            status="failed" if n % 13 == 0 else "finished",
            hardware_class=("one", "other")[n % 16 % 5 == 0],
        )
        RunSummary.objects.create(
            run=run,
            data_energy_j=draw.choice([None, 1e5]),
            teacher_energy_j=draw.choice([None, None, 3e5]),
            student_energy_j=draw.uniform(1e6, 9e6),
            evaluation_energy_j=1e5,
            missing={"student": ["student_training: gpu"]} if n % 17 == 1 else {},
            quality=None if n % 19 == 2 else draw.uniform(0.3, 0.95),
            records=3,
        )
        for artifact in draw.sample(artifacts, draw.choice([0, 1, 1, 2])):
            kinds = [use.artifact.kind for use in run.uses.all()]
            if artifact.kind in kinds:
                continue
            how = draw.choice(["used", "cut"])
            share = draw.choice([0.25, 0.5, None]) if how == "cut" else 1.0
            ArtifactUse.objects.create(run=run, artifact=artifact, how=how, used_share=share)
    return study


def placed(placements):
    return {
        p.point.key: (p.on_frontier, pytest.approx(p.point.energy_j), pytest.approx(p.point.q), p.point.n)
        for p in placements
        if p.point.complete
    }


def facts(view, thinning):
    return thinning, set(view.hardware), view.simulated, view.left_out


def test_it_says_what_reading_every_run_says(crowd):
    scopes = [*((scope, 3) for scope in SCOPES), ("amortised", "reused")]
    for average, (scope, n), hardware in itertools.product((False, True), scopes, (None, "one")):
        crowd.average_workloads = average
        small = studies.frontier(crowd, user=ANYBODY, scope=scope, n=n, hardware=hardware)
        found = large.view(crowd, ANYBODY, scope=scope, n=n, hardware=hardware)
        where, counted = (average, scope, n, hardware), found.thinning
        stand = sum(p.on_frontier for p in small.placements)
        assert (where, placed(found.placements)) == (where, placed(small.placements))
        assert facts(found, (counted.partial, counted.configurations, counted.on_frontier)) == facts(
            small, (len(small.partial), len(small.placements), stand)
        )


def test_what_was_burnt_is_the_same_sum(crowd):
    RunSummary.objects.update(missing={})
    Artifact.objects.filter(production_energy_j=None).update(production_energy_j=1e6)
    small = studies.frontier(crowd, user=ANYBODY).burnt
    assert large.view(crowd, ANYBODY).burnt.energy_j == pytest.approx(small.energy_j)


def test_a_hole_is_a_hole_in_what_was_burnt(crowd):
    burnt = large.view(crowd, ANYBODY).burnt
    assert burnt.energy_j is None and "runs" in burnt.missing[0]


def test_the_points_shown_are_capped_and_speak_for_the_others(crowd, monkeypatch):
    monkeypatch.setattr(large, "thinned", lambda e, q, mask: original(e, q, mask, 5))
    whole = studies.frontier(crowd, user=ANYBODY, scope="student_only")
    found = large.view(crowd, ANYBODY, scope="student_only")
    assert len(found.placements) <= 5 < len(whole.standing)
    assert found.thinning.on_frontier == sum(p.on_frontier for p in whole.placements)
    assert {p.point.key for p in found.placements} == set(found.thinning.stands_for)


original = large.thinned


CHANGES = {
    "summary": lambda run: RunSummary.objects.filter(run=run).update(quality=0.1),
    "status": lambda run: Run.objects.filter(pk=run.pk).update(status="cancelled"),
    "run": lambda run: scenes.add_run(run.study),
    "artifact": lambda run: Artifact.objects.filter(uses__run__study=run.study).update(production_energy_j=7.0),
    "use": lambda run: ArtifactUse.objects.filter(run__study=run.study).first().delete(),
}


def test_whatever_the_figures_are_made_of_changes_the_version(crowd):
    run = crowd.runs.first()
    for name, change in CHANGES.items():
        before = large.version(crowd)
        assert large.version(crowd) == before
        change(run)
        assert (name, large.version(crowd) != before) == (name, True)


def test_other_studies_and_renamed_licences_leave_the_version(crowd):
    before = large.version(crowd)
    Artifact.objects.update(licence="MIT")
    assert large.version(crowd) == before


def test_folding_old_marks_leaves_the_version(crowd):
    run = crowd.runs.first()
    for _ in range(400):  # one in fifty folds
        RunSummary.objects.filter(run=run).update(quality=0.1)
        before = large.version(crowd)
        assert before == large.version(crowd)
    assert StudyChange.objects.filter(study=crowd).count() < 400


def test_what_was_made_is_kept_until_the_study_changes(crowd):
    cache.clear()
    made = []

    def make():
        made.append(1)
        return f"text {len(made)}"

    asked = {"scope": "full", "n": 1}
    assert [large.kept(crowd, "rows", asked, make) for _ in range(2)] == ["text 1", "text 1"]
    assert large.kept(crowd, "rows", {**asked, "n": 2}, make) == "text 2"
    scenes.add_run(crowd)
    assert large.kept(crowd, "rows", asked, make) == "text 3"
    assert large.kept(crowd, "rows", {"scope": "amortised", "n": "reused"}, make) == "text 4"
    assert large.kept(crowd, "rows", {"scope": "amortised", "n": "reused"}, make) == "text 5"


def test_rest_and_page_of_a_large_study_say_what_they_leave_out(crowd, client, monkeypatch):
    cache.clear()
    whole = client.get(f"/api/v1/studies/{crowd.slug}/frontier/").json()
    assert whole["thinned"] is None
    monkeypatch.setattr(large, "LARGE", 10)
    monkeypatch.setattr(large, "thinned", lambda e, q, mask: original(e, q, mask, 6))
    body = client.get(f"/api/v1/studies/{crowd.slug}/frontier/").json()
    stand = [point for point in whole["points"] if point["on_frontier"]]
    assert len(body["points"]) == body["thinned"]["shown"] <= 6
    assert [point["key"] for point in body["points"] if point["on_frontier"]] == [point["key"] for point in stand]
    assert sum(point["stands_for"] for point in body["points"]) + body["thinned"]["incomplete"] == len(whole["points"])
    page = client.get(f"/studies/{crowd.slug}/")
    assert page.status_code == 200
    assert f"of {len(whole['points'])} configurations are drawn" in re.sub(r"<[^>]*>", "", page.content.decode())
    assert client.get(f"/studies/{crowd.slug}/", {"n": "0"}).status_code == 400
    asked = html.unescape(re.search(r"points\.json\?([^\"]*)", page.content.decode()).group(1))
    saved = client.get(f"/studies/{crowd.slug}/points.json?{asked}").json()
    assert (saved["points"], saved["thinned"]) == (body["points"], body["thinned"])
    table = client.get(f"/studies/{crowd.slug}/points.csv").content.decode().splitlines()
    assert len(table) == 1 + len(body["points"]) and "stands_for" in table[0]
    assert client.get(f"/studies/{crowd.slug}/points.csv", {"n": "0"}).status_code == 400
    refused = client.get(f"/api/v1/studies/{crowd.slug}/frontier/", {"teacher": "A"})
    assert refused.status_code == 400 and "leave it out" in refused.json()["error"]["fields"]["teacher"][0]


def test_the_answer_is_kept_as_it_is_sent_and_told_apart_by_its_tag(crowd, client, monkeypatch):
    cache.clear()
    monkeypatch.setattr(large, "LARGE", 10)
    address = f"/api/v1/studies/{crowd.slug}/frontier/"
    plain, small = client.get(address), client.get(address, headers={"accept-encoding": "gzip"})
    assert gzip.decompress(small.content) == plain.content and small.headers["Content-Encoding"] == "gzip"
    tag = {"if-none-match": small.headers["ETag"]}
    assert (client.get(address, headers=tag).status_code, client.get(address, headers=tag).content) == (304, b"")
    assert large.tag_of(crowd, "rest", {"n": "reused", "scope": "amortised"}) == ""
    RunSummary.objects.update(quality=0.2)
    assert client.get(address, headers=tag).status_code == 200
