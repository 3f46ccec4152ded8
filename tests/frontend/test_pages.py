"""What the pages answer, to whom."""

import csv
import io
import json

import pytest
from django.urls import reverse

from registry.models import Artifact, Run
from tests import scenes

pytestmark = pytest.mark.django_db


@pytest.fixture
def scene(study):
    """A study with six finished runs and their shared artifacts, in a private project."""
    return scenes.distilled_study(study)


def publish(project):
    project.public = True
    project.save()


def private_addresses(study, scene):
    return [
        reverse("study", args=[study.slug]),
        reverse("study_points_json", args=[study.slug]),
        reverse("study_points_csv", args=[study.slug]),
        reverse("run", args=[scene["kd 12 layers"].pk]),
        reverse("artifact", args=[Artifact.objects.first().pk]),
    ]


def test_what_belongs_to_a_private_project_is_not_there_for_strangers(client, stranger, study, scene):
    for person in (None, stranger):
        if person:
            client.force_login(person)
        for address in private_addresses(study, scene):
            assert (address, client.get(address).status_code) == (address, 404)


def test_a_member_sees_all_of_it(client, member, study, scene):
    client.force_login(member)
    for address in private_addresses(study, scene):
        assert (address, client.get(address).status_code) == (address, 200)


def test_lists_show_a_stranger_nothing_of_it(client, stranger, study, scene):
    client.force_login(stranger)
    for name in ("home", "studies", "runs", "artifacts"):
        body = client.get(reverse(name)).content.decode()
        assert study.slug not in body
        assert "logit_cache of" not in body


@pytest.mark.parametrize("name", ["run_new", "lookup", "upload"])
def test_what_writes_or_asks_for_somebody_needs_a_login(client, db, name):
    answer = client.get(reverse(name))
    assert answer.status_code == 302
    assert answer.url.startswith(reverse("login"))


def test_home_counts_what_reuse_did_not_burn(client, member, scene):
    client.force_login(member)
    home = client.get(reverse("home")).context["home"]
    assert home.spared.energy_j == 2 * 9000.0
    assert home.spared.uses == 2


def test_home_takes_the_same_number_of_queries_for_any_number_of_runs(
    client, member, study, scene, django_assert_max_num_queries
):
    scenes.open_run(study)
    client.force_login(member)
    with django_assert_max_num_queries(20):
        client.get(reverse("home"))


def test_a_list_of_runs_takes_the_same_number_of_queries_for_any_number(
    client, member, scene, django_assert_max_num_queries
):
    client.force_login(member)
    with django_assert_max_num_queries(10):
        client.get(reverse("runs"))


def test_a_run_that_waits_says_not_yet_and_never_zero(client, member, study):
    run = scenes.open_run(study)
    client.force_login(member)
    body = client.get(reverse("run", args=[run.pk])).content.decode()
    assert "not yet" in body
    assert "40/100" in body


def test_a_lost_attempt_stands_on_the_runs_page(client, member, study):
    run = scenes.open_run(study)
    client.force_login(member)
    body = client.get(reverse("run", args=[run.pk])).content.decode()
    assert "no heartbeat" in body


def test_an_open_run_asks_for_its_fragment_and_a_finished_one_does_not(client, member, study, scene):
    client.force_login(member)
    waiting = client.get(reverse("run", args=[scenes.open_run(study).pk])).content.decode()
    finished = client.get(reverse("run", args=[scene["kd 12 layers"].pk])).content.decode()
    assert 'hx-trigger="every 2s"' in waiting
    assert "hx-trigger" not in finished


def test_the_live_fragment_tells_when_there_are_new_records(client, member, study):
    run = scenes.open_run(study)
    client.force_login(member)
    address = reverse("run", args=[run.pk])
    assert client.get(address, {"part": "live", "seen": "0"})["HX-Trigger"] == "records-changed"
    assert "HX-Trigger" not in client.get(address, {"part": "live", "seen": "1"})


def test_what_is_being_made_says_how_fast(client, member, study):
    run = scenes.open_run(study)
    job = run.jobs.get(status="running")
    job.progress = {"done": 3, "total": 9, "note": "generating", "figures": {"tokens_per_s": 123.4}}
    job.save()
    client.force_login(member)
    body = client.get(reverse("run", args=[run.pk]), {"part": "live", "seen": "0"}).content.decode()
    assert "123.4" in body
    assert "tokens/s" in body


def test_a_submitter_cancels_a_run_and_a_stranger_does_not_find_it(client, member, stranger, study):
    run = scenes.open_run(study)
    address = reverse("run_cancel", args=[run.pk])
    client.force_login(stranger)
    assert client.post(address).status_code == 404
    client.force_login(member)
    client.post(address)
    run.refresh_from_db()
    assert run.status == Run.Status.CANCELLED


def test_the_scope_in_the_address_decides_what_is_charged(client, member, study, scene):
    client.force_login(member)
    full, student = (
        client.get(reverse("study_points_json", args=[study.slug]), {"scope": scope}).json()
        for scope in ("full", "student_only")
    )
    before, after = (next(p["energy_kwh"] for p in v["points"] if p["pipeline"] == "kd") for v in (full, student))
    assert before - after == pytest.approx(9000 / 3.6e6)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"scope": "everything"}, "everything is not one of"),
        ({"n": "0"}, "greater than or equal to 1"),
        ({"pue": "0.5"}, "greater than or equal to 1"),
        ({"intensity": "nan"}, "Enter a number"),
        ({"n": "many"}, "Enter a whole number"),
    ],
)
def test_assumptions_that_cannot_be_are_refused_with_a_sentence(client, member, study, query, word):
    client.force_login(member)
    answer = client.get(reverse("study", args=[study.slug]), query)
    assert answer.status_code == 400
    assert word in answer.content.decode()


def test_hardware_that_differs_is_said(client, member, study, scene):
    reference = scene["kd 12 layers"].reference
    scenes.complete_run(study, "sft", reference, training_j=1.0, factor=1.0, hardware_class="H100")
    client.force_login(member)
    body = client.get(reverse("study", args=[study.slug])).content.decode()
    assert "Hardware differs" in body
    kept = client.get(reverse("study", args=[study.slug]), {"hardware": "H100"}).content.decode()
    assert "Hardware differs" not in kept


def test_co2e_follows_pue_and_grid(client, member, study, scene):
    client.force_login(member)
    query = {"pue": "1.5", "intensity": "0.4"}
    rows = client.get(reverse("study", args=[study.slug]), query).context["rows"]
    for row in rows:
        assert row.co2e_kg == pytest.approx(row.placement.point.energy_j / 3.6e6 * 1.5 * 0.4)


def test_every_study_page_says_that_its_figures_are_a_lower_bound(client, member, study, scene):
    client.force_login(member)
    assert "lower bound" in client.get(reverse("study", args=[study.slug])).content.decode()


def test_csv_holds_the_points_and_disarms_formulas(client, member, study, scene):
    Run.objects.filter(pk=scene["sft 12 layers"].pk).update(student_size="=HYPERLINK(1)", configuration="=evil")
    client.force_login(member)
    answer = client.get(reverse("study_points_csv", args=[study.slug]))
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert len(rows) == 6
    assert {row["student"] for row in rows} >= {"'=HYPERLINK(1)"}
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row.values())


def test_a_name_with_markup_in_it_stays_text(client, member, study, scene):
    Run.objects.filter(study=study).update(student_size="<img src=x onerror=alert(1)>")
    client.force_login(member)
    body = client.get(reverse("study", args=[study.slug])).content.decode()
    assert "<img src=x" not in body


def test_runs_are_found_by_what_they_are(client, member, scene):
    client.force_login(member)
    found = client.get(reverse("runs"), {"pipeline": "kd", "q": "20 lay"}).context["rows"]
    assert [row.run.pk for row in found] == [scene["kd 20 layers"].pk]


def test_an_older_page_starts_below_the_last_run(client, member, study):
    for _ in range(51):
        scenes.add_run(study)
    client.force_login(member)
    first = client.get(reverse("runs")).context
    second = client.get(reverse("runs"), {"before": first["page"].before}).context
    assert (len(first["rows"]), len(second["rows"])) == (50, 1)


def test_artifacts_are_found_by_kind_and_text(client, member, scene):
    client.force_login(member)
    found = client.get(reverse("artifacts"), {"kind": "logit_cache", "q": "smollm2"}).context["results"].rows
    assert [artifact.kind for artifact in found] == ["logit_cache"]


def test_an_artifacts_page_shows_energy_per_use_and_its_users(client, member, scene):
    client.force_login(member)
    cache = Artifact.objects.get(kind="logit_cache")
    answer = client.get(reverse("artifact", args=[cache.pk]))
    detail = answer.context["detail"]
    assert (detail.finished_uses, detail.energy_per_use_j, detail.spared_j) == (2, 4500.0, 9000.0)
    assert "KD 20 layers" in answer.content.decode()


def test_the_reason_for_making_it_again_stands_on_the_artifacts_page(client, member, scene):
    Artifact.objects.filter(kind="logit_cache").update(regenerate_reason="the old one came from a broken build")
    client.force_login(member)
    body = client.get(reverse("artifact", args=[Artifact.objects.get(kind="logit_cache").pk])).content.decode()
    assert "the old one came from a broken build" in body


def test_why_an_artifact_is_corrupt_is_said(client, member, scene):
    from registry.services import artifacts

    cache = Artifact.objects.get(kind="logit_cache")
    artifacts.mark_corrupt(artifact=cache, reason="logits.safetensors has another SHA-256")
    client.force_login(member)
    body = client.get(reverse("artifact", args=[cache.pk])).content.decode()
    assert "logits.safetensors has another SHA-256" in body


def test_what_is_not_there_is_answered_in_the_pages_own_design(client, db):
    answer = client.get("/studies/nothing-of-the-kind/")
    assert answer.status_code == 404
    assert "Nothing here" in answer.content.decode()


def test_no_page_has_anything_inline(client, member, study, scene):
    client.force_login(member)
    addresses = [reverse(name) for name in ("home", "runs", "artifacts", "lookup", "upload", "run_new", "login")]
    for address in [*addresses, *private_addresses(study, scene)[:1], *private_addresses(study, scene)[3:]]:
        answer = client.get(address)
        body = answer.content.decode()
        assert (address, " style=" in body, " onclick=" in body, "<style" in body) == (address, False, False, False)
        assert "unsafe" not in answer["Content-Security-Policy"]


def test_charts_travel_as_data(client, member, study, scene):
    client.force_login(member)
    charts = client.get(reverse("study", args=[study.slug])).context["charts"]
    assert set(charts) == {"frontier", "stages", "amortisation"}
    json.dumps(charts)


def test_guessing_passwords_is_closed_after_a_while(client, member, settings):
    settings.AXES_FAILURE_LIMIT = 3
    for _ in range(3):
        answer = client.post(reverse("login"), {"username": member.username, "password": "guess"})
    assert answer.status_code == 429
    assert "Too many attempts" in answer.content.decode()


def test_the_page_for_our_own_faults_needs_no_request(db):
    from django.template.loader import render_to_string

    assert "That is our fault" in render_to_string("500.html")


def test_signing_in_leads_where_one_wanted_to_go(client, member):
    wanted = reverse("upload")
    posted = {"username": member.username, "password": "a long enough password", "next": wanted}
    assert client.post(reverse("login"), posted).url == wanted


def test_signing_in_leads_to_no_other_site(client, member):
    posted = {"username": member.username, "password": "a long enough password", "next": "https://example.org/"}
    assert client.post(reverse("login"), posted).url == reverse("home")


def test_a_study_without_runs_says_so(client, member, study):
    client.force_login(member)
    answer = client.get(reverse("study", args=[study.slug]))
    assert answer.status_code == 200
    assert "No configuration has energy and Q yet." in answer.content.decode()


def test_a_partial_run_is_listed_with_what_it_lacks(client, member, study):
    run = scenes.add_run(study)
    scenes.add_stage(run, "preprocess", 20.0)
    client.force_login(member)
    body = client.get(reverse("study", args=[study.slug])).content.decode()
    assert "Partial, and never on the frontier" in body
    assert "student_training: no record" in body


def test_a_simulated_run_is_marked_left_out_of_its_study_and_shown_alone(client, member, study, scene):
    run = scene["sft 12 layers"]
    scenes.add_stage(run, "evaluation", 1.0, simulated=True)
    client.force_login(member)
    page, link = reverse("study", args=[study.slug]), reverse("run", args=[run.pk])
    assert "from a simulated meter, not from hardware" in client.get(link).content.decode()
    assert '<span class="tag tag-warn">simulated</span>' in client.get(reverse("runs")).content.decode()
    measured = client.get(page).content.decode()
    assert "1 simulated run is left out" in measured and 'href="?simulated=true"' in measured
    assert link not in measured
    alone = client.get(page, {"simulated": "true"}).content.decode()
    assert 'id="simulated-only"' in alone and "Show the 5 measured runs instead" in alone
    assert link in alone and reverse("run", args=[scene["sft 20 layers"].pk]) not in alone
    assert '<input type="hidden" name="simulated" value="true"' in alone
    assert client.get(page, {"simulated": "perhaps"}).status_code == 400
    rows = client.get(reverse("study_points_json", args=[study.slug]), {"simulated": "true"}).json()
    assert (rows["simulated"], rows["left_out_runs"], len(rows["points"])) == (True, 5, 1)


def test_hardware_can_be_chosen_among_the_runs_that_are_shown(client, member, study, scene):
    run = scene["sft 12 layers"]
    Run.objects.filter(pk=run.pk).update(hardware_class="1 × Simulated H100")
    scenes.add_stage(run, "evaluation", 1.0, simulated=True)
    client.force_login(member)
    page = reverse("study", args=[study.slug])
    assert "Simulated H100" not in client.get(page).content.decode()
    assert client.get(page, {"simulated": "true", "hardware": "1 × Simulated H100"}).status_code == 200


def test_the_teachers_own_run_has_a_page(client, member, scene):
    client.force_login(member)
    reference = scene["kd 12 layers"].reference
    body = client.get(reverse("run", args=[reference.pk])).content.decode()
    assert "the denominators of Q" in body


def test_a_bare_upload_has_a_page_too(client, member, study):
    run = scenes.add_run(study, "prune_then_tune", spec={}, environment={}, external_id="x-1", origin="upload")
    scenes.add_stage(run, "pruning", 5.0, role="student")
    client.force_login(member)
    body = client.get(reverse("run", args=[run.pk])).content.decode()
    assert "Prune then tune" in body or "prune then tune" in body
    assert "No environment was recorded" in body


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("runs", {"q": "\x00"}),
        ("runs", {"status": "dancing"}),
        ("runs", {"study": "\x00"}),
        ("artifacts", {"kind": "teapot"}),
    ],
)
def test_filters_that_cannot_be_are_refused(client, db, name, query):
    assert client.get(reverse(name), query).status_code == 400


@pytest.mark.parametrize("query", [{"before": "x"}, {"before": "\x00"}, {"before": ""}])
def test_a_page_key_that_is_none_means_the_first_page(client, db, query):
    assert client.get(reverse("runs"), query).status_code == 200
