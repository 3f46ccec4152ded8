"""From the form over the plan into the queue."""

import json

import pytest
from django.urls import reverse

from frontend.forms import RunForm, flattened, nested
from frontend.templatetags.figures import energy
from registry import storage
from registry.accounting.plan import artifact_request
from registry.accounting.presets import PRESETS, paper, paper_ablation, tour
from registry.accounting.spec import RunSpec
from registry.accounting.sweeps import expand
from registry.models import Artifact, AuditEvent, Job, Run, Stage, Study
from registry.selectors.expectations import Expectation
from registry.services import artifacts, jobs, runs
from registry.services.jobs import Result
from registry.workloads import catalogue
from tests.conftest import make_record
from tests.registry.working import ready, work

pytestmark = pytest.mark.django_db


def form_data(spec, study):
    """What a browser would send of the form that shows `spec`."""
    form = RunForm(initial=flattened(spec) | {"study": study.slug}, studies=Study.objects.all())
    shown = {name: form[name] for name in form.fields if form[name].initial != ""}
    return {name: bound.field.prepare_value(bound.initial) for name, bound in shown.items()}


def ready_cache(study, spec, actor=None):
    wanted = artifact_request("logit_cache", spec, catalogue.identities(spec))
    cache = artifacts.register(
        actor=actor, project=study.project, request=wanted, name="the cache", production_energy_j=9000.0
    )
    cache.storage_key = "0" * 32  # held here, so that a worker can read it
    cache.save(update_fields=["storage_key"])
    return cache


@pytest.mark.parametrize("pipeline", ["sft", "kd", "synthetic_sft"])
@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_survives_the_form_unchanged(study, preset, pipeline):
    spec = PRESETS[preset](pipeline)
    form = RunForm(form_data(spec, study), studies=Study.objects.all())
    assert form.is_valid(), form.errors
    assert form.specs == (spec,)


def test_the_form_has_every_setting_of_a_spec(study):
    spec = tour(20, "kd")
    assert nested(flattened(spec)) == {**spec.to_dict()}
    assert RunSpec.from_dict(nested(flattened(spec))) == spec


def test_without_a_preset_the_form_holds_the_papers_values(client, member):
    client.force_login(member)
    initial = client.get(reverse("run_new")).context["form"].initial
    assert (initial["training.learning_rate"], initial["training.optimizer"]) == (5e-5, "adafactor")
    assert (initial["training.batch_size"], initial["training.accumulation_steps"]) == (4, 16)
    assert (initial["distillation.k"], initial["distillation.ce_weight"]) == (100, 0.5)


def test_a_preset_that_does_not_exist_is_not_found(client, member):
    client.force_login(member)
    assert client.get(reverse("run_new"), {"preset": "paper-70b"}).status_code == 404


def test_only_studies_one_may_submit_to_are_offered(client, member, stranger, study):
    for person, expected in ((member, [study]), (stranger, [])):
        client.force_login(person)
        form = client.get(reverse("run_new")).context["form"]
        assert list(form.fields["study"].queryset) == expected


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        (("training.learning_rate", "-1"), "above 0 and at most 1"),
        (("distillation.temperature", "3"), "not among the temperatures the cache holds"),
        (("student.drop_layers", "19-10"), "empty or a block"),
        (("dataset.train_rows", "many"), "whole number"),
        (("distillation.temperatures", "1; two"), "commas between them"),
        (("teacher.id", "nobody"), "is no model here"),
        (("dataset.id", "nothing"), "is no dataset here"),
        (("evaluation.suite", "alpaca_eval_2_lc"), "needs a language model as judge"),
        (("seed", ""), "required"),
    ],
)
def test_each_refusal_stands_beside_its_field(client, member, study, field, sentence):
    name, value = field
    client.force_login(member)
    answer = client.post(reverse("run_plan"), form_data(tour(20, "kd"), study) | {name: value})
    assert answer.status_code == 400
    assert sentence in " ".join(answer.context["form"].errors[name])
    assert not Run.objects.exists()


def test_planning_shows_the_stages_and_queues_nothing(client, member, study):
    client.force_login(member)
    answer = client.post(reverse("run_plan"), form_data(tour(20, "kd"), study))
    kinds = [stage.planned.kind for stage in answer.context["plan"].stages]
    assert kinds == ["preprocess", "logit_caching", "student_training", "evaluation"]
    assert "unknown" in answer.content.decode()
    assert not Run.objects.exists()
    assert not Artifact.objects.exists()


def test_an_artifact_that_exists_is_used_and_said_so(client, member, study):
    cache = ready_cache(study, tour(20, "kd"))
    client.force_login(member)
    body = client.post(reverse("run_plan"), form_data(tour(12, "kd"), study)).content.decode()
    assert "exactly what this run needs" in body
    assert cache.get_absolute_url() in body


def test_too_much_mass_beyond_the_top_k_is_warned_of_on_the_plan_and_on_the_runs_page(client, member, study):
    hot = tour(12, "kd").to_dict()
    hot["distillation"]["temperature"] = 2.0
    spec = RunSpec.from_dict(hot)
    client.force_login(member)

    def planned(spec):
        return client.post(reverse("run_plan"), form_data(spec, study)).content.decode()

    assert "tail-warning" not in planned(tour(12, "kd"))
    assert "53% does" in planned(spec)
    cache = ready_cache(study, spec)
    for mass, sentence in ((0.31, "At T = 2 31% of the teacher"), (0.19, "")):
        cache.meta = {"k": 100, "tail_mass": {"1": 0.01, "2": mass}}
        cache.save(update_fields=["meta"])
        run = runs.submit(actor=member, study=study, spec=spec)
        for page in (planned(spec), client.get(run.get_absolute_url()).content.decode()):
            assert ("tail-warning" in page) == bool(sentence)
            assert sentence.replace("'", "&#x27;") in page
    cache.meta = {"k": 50, "tail_mass": {"2": 0.01}}  # of another k: nothing is known for this one
    cache.save(update_fields=["meta"])
    assert "53% does" in planned(spec)


def test_submitting_queues_the_run(client, member, study, django_capture_on_commit_callbacks):
    client.force_login(member)
    spec = tour(12, "sft")
    answer = client.post(reverse("run_submit"), {"study": study.slug, "spec": json.dumps(spec.to_dict())})
    run = Run.objects.get(pipeline="sft")
    assert answer.url == run.get_absolute_url()
    assert run.submitted_by == member
    assert list(Job.objects.filter(run=run).values_list("kind", flat=True)) == [
        "preprocess",
        "student_training",
        "evaluation",
    ]


def test_making_it_again_without_a_reason_is_refused_on_the_plan(client, owner, study):
    ready_cache(study, tour(20, "kd"))
    client.force_login(owner)
    posted = {"study": study.slug, "spec": json.dumps(tour(20, "kd").to_dict()), "regenerate": "1"}
    answer = client.post(reverse("run_submit"), posted)
    assert answer.status_code == 409
    assert "say why it must be made again" in answer.content.decode()
    assert not Run.objects.exists()


def test_making_again_what_may_exist_asks_for_a_reason_on_the_plan(client, owner, study):
    client.force_login(owner)
    spec = paper("1B", "kd").to_dict() | {"evaluation": tour(20, "kd").to_dict()["evaluation"]}
    answer = client.post(reverse("run_submit"), {"study": study.slug, "spec": json.dumps(spec), "regenerate": "1"})
    assert answer.status_code == 400
    assert answer.context["may_regenerate"]
    assert "known once the data is prepared" in answer.content.decode()
    assert not Run.objects.exists()


def test_making_it_again_with_a_reason_keeps_the_reason(client, owner, study):
    ready_cache(study, tour(20, "kd"))
    client.force_login(owner)
    posted = {"study": study.slug, "spec": json.dumps(tour(20, "kd").to_dict()), "regenerate": "1"}
    client.post(reverse("run_submit"), posted | {"regenerate_reason": "another build of the engine"})
    assert Artifact.objects.filter(regenerate_reason="another build of the engine").exists()


def test_what_is_made_again_shows_who_why_and_the_energy_spent_again(client, owner, study, tmp_path):
    cache = ready_cache(study, tour(20, "kd"))
    client.force_login(owner)
    posted = {"study": study.slug, "spec": json.dumps(tour(20, "kd").to_dict()), "regenerate": "1"}
    refused = client.post(reverse("run_submit"), posted | {"regenerate_reason": "too short"})
    assert (refused.status_code, Run.objects.count()) == (400, 0)
    assert 'value="too short"' in refused.content.decode()
    client.post(reverse("run_submit"), posted | {"regenerate_reason": "another build of the engine"})
    run = Run.objects.get(pipeline="kd")
    while not Artifact.objects.filter(made_again_of=cache, status="ready").exists():
        work(run.jobs.filter(status="ready").first(), tmp_path)
    again = Artifact.objects.get(made_again_of=cache)
    assert again.production_energy_j == 1100.0
    body = client.get(again.get_absolute_url()).content.decode()
    notice = body[body.index('id="regenerate-reason"') :].split("</p>")[0]
    log = body[body.index('id="history"') :].split("</section>")[0]
    for words in ("another build of the engine", cache.get_absolute_url(), str(owner), energy(1100.0)):
        assert words in notice
    assert "artifact begun" in log
    assert "another build of the engine" in log
    event = AuditEvent.objects.get(subject_id=str(again.pk), action="artifact begun")
    assert (event.actor, event.detail) == (
        owner,
        {"reason": "another build of the engine", "again_of": str(cache.pk)},
    )


def test_what_the_quota_has_no_room_for_is_said_on_the_page_of_its_run_and_kept_nowhere(
    client, owner, study, tmp_path, settings
):
    settings.ARTIFACT_URL = f"file://{tmp_path / 'store'}"
    study.project.quota_bytes = 10
    study.project.save()
    run = runs.submit(actor=owner, study=study, spec=tour(20, "kd"))
    ticket = jobs.claim(job_id=ready(run).pk, worker="w")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows.jsonl").write_text('{"prompt": "more than ten bytes"}\n')
    assert not jobs.finish(ticket=ticket, record=make_record(kind="preprocess"), result=Result(folder=tmp_path / "out"))
    run.refresh_from_db()
    client.force_login(owner)
    body = client.get(run.get_absolute_url()).content.decode()
    assert f"The project {study.project.slug} may keep 10 bytes of artifact files and keeps 0 bytes" in body
    assert "ask for a larger quota" in body
    assert (run.status, list(storage.held())) == ("failed", [])
    assert set(run.uses.values_list("artifact__status", "artifact__storage_key")) == {("failed", "")}
    assert Stage.objects.filter(run=run, energy_j__gt=0).count() == 1, "what was burnt is booked all the same"


def test_a_submitter_may_not_make_it_again(client, member, study):
    ready_cache(study, tour(20, "kd"))
    client.force_login(member)
    posted = {"study": study.slug, "spec": json.dumps(tour(20, "kd").to_dict()), "regenerate": "1"}
    answer = client.post(reverse("run_submit"), posted | {"regenerate_reason": "because I say so"})
    assert answer.status_code == 403
    assert "needs the role maintainer" in answer.content.decode()


def test_a_stranger_submits_nothing(client, stranger, study):
    client.force_login(stranger)
    posted = {"study": study.slug, "spec": json.dumps(tour(12, "sft").to_dict())}
    assert client.post(reverse("run_submit"), posted).status_code == 404
    assert not Run.objects.exists()


@pytest.mark.parametrize("spec", ["", "{", "[]", "null", '{"pipeline": "kd"}', '{"pipeline": NaN}'])
def test_a_spec_that_is_none_is_answered_with_what_is_wrong(client, member, study, spec):
    client.force_login(member)
    assert client.post(reverse("run_submit"), {"study": study.slug, "spec": spec}).status_code == 400


def test_the_teachers_own_pipeline_is_not_for_people(client, member, study):
    client.force_login(member)
    spec = tour(12, "sft").to_dict() | {"pipeline": "teacher_reference"}
    answer = client.post(reverse("run_submit"), {"study": study.slug, "spec": json.dumps(spec)})
    assert answer.status_code == 400


def test_changing_the_plan_leads_back_to_the_form_with_its_values(client, member, study):
    client.force_login(member)
    spec = tour(12, "kd")
    posted = {"study": study.slug, "spec": json.dumps(spec.to_dict()), "change": "1"}
    form = client.post(reverse("run_submit"), posted).context["form"]
    assert form.initial["student.drop_layers"] == "8-25"


def test_a_run_can_be_submitted_again_from_its_page(client, member, study):
    client.force_login(member)
    spec = tour(12, "sft")
    client.post(reverse("run_submit"), {"study": study.slug, "spec": json.dumps(spec.to_dict())})
    run = Run.objects.get(pipeline="sft")
    form = client.get(reverse("run_new"), {"from": str(run.pk)}).context["form"]
    assert form.initial["dataset.id"] == spec.dataset.id


def test_a_study_that_cannot_be_is_not_found(client, member):
    client.force_login(member)
    assert client.post(reverse("run_submit"), {"study": "\x00", "spec": "{}"}).status_code == 404


def posted(study, grids, **more):
    return {"study": study.slug, "grids": json.dumps(grids), **more}


def test_several_values_in_a_field_are_a_sweep_and_the_plan_shows_it(client, member, study):
    client.force_login(member)
    values = {"distillation.temperature": "1, 2,4", "distillation.ce_weight": "0.3, 0.8"}
    answer = client.post(reverse("run_plan"), form_data(tour(20, "kd"), study) | values)
    plan = answer.context["plan"]
    assert [(s.distillation.temperature, s.distillation.ce_weight) for s in plan.sweep.specs] == [
        (t, a) for t in (1.0, 2.0, 4.0) for a in (0.3, 0.8)
    ]
    assert (answer.context["made"], answer.context["alone"], answer.context["by_exact"]) == (1, 6, 3)
    assert not Run.objects.exists()


def test_the_plan_of_a_sweep_tells_alike_artifacts_apart_and_sums_what_is_known(client, member, study, monkeypatch):
    client.force_login(member)
    costs = {"logit_caching": 7.2e6}
    monkeypatch.setattr(
        "registry.services.sweeps.expected", lambda stage, *_: Expectation(energy_j=costs.get(stage.kind), basis="b")
    )
    values = {"dataset.split_seed": "1, 2"}
    answer = client.post(reverse("run_plan"), form_data(tour(20, "kd"), study) | values)
    plan, page = answer.context["plan"], answer.content.decode()
    assert (plan.burnt_j, plan.known_j) == (None, 2 * 7.2e6)
    assert plan.unknown == ("prepared_dataset", "training_and_evaluation")
    assert "prepared dataset, training and evaluation." in page and energy(plan.known_j) in page
    told = [text for place, text in answer.context["apart"].items() if plan.needs[place].kind == "prepared_dataset"]
    assert len(told) == len(set(told)) == 2 and all(text in page for text in told)


def test_words_are_chosen_side_by_side(client, member, study):
    client.force_login(member)
    chosen = {"pipeline": ["sft", "kd"], "distillation.temperature": "1, 2", "student.drop_layers": "10-19, 8-25"}
    answer = client.post(reverse("run_plan"), form_data(tour(20, "kd"), study) | chosen)
    assert len(answer.context["plan"].sweep.specs) == 6
    assert "2 combinations differ from others only in what their pipeline never reads" in answer.content.decode()


def test_a_sweep_over_lists_has_semicolons_between_them(study):
    values = form_data(tour(20, "kd"), study) | {"distillation.temperatures": "1, 2; 1, 2, 8"}
    form = RunForm(values, studies=Study.objects.all())
    assert form.is_valid(), form.errors
    assert [spec.distillation.temperatures for spec in form.specs] == [(1.0, 2.0), (1.0, 2.0, 8.0)]


def test_a_grid_survives_the_form_unchanged(study):
    for grid in paper_ablation("1B"):
        form = RunForm(form_data(grid, study), studies=Study.objects.all())
        assert form.is_valid(), form.errors
        assert form.specs == expand([grid]).specs


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        (("seed", "0, one"), "whole number"),
        (("distillation.temperature", "1, 3"), "not among the temperatures the cache holds"),
        (("seed", ", ".join(map(str, range(501)))), "more than 500 runs"),
        (("student.drop_layers", "10-19, 19-10"), "empty or a block"),
    ],
)
def test_a_bad_value_among_several_is_refused_beside_its_field(client, member, study, field, sentence):
    client.force_login(member)
    answer = client.post(reverse("run_plan"), form_data(tour(20, "kd"), study) | dict([field]))
    assert answer.status_code == 400
    assert sentence in str(answer.context["form"].errors)


def test_the_papers_ablation_opens_as_two_grids_and_plans_15_runs(client, member, study):
    client.force_login(member)
    page = client.get(reverse("run_new"), {"preset": "paper-ablation-1b"})
    form = page.context["form"]
    shown = {name: form[name].field.prepare_value(form[name].initial) for name in form.fields if name != "study"}
    shown = {name: value for name, value in shown.items() if value != ""}
    answer = client.post(reverse("run_plan"), posted(study, json.loads(page.context["others_json"]), **shown))
    assert (len(answer.context["rows"]), answer.context["made"]) == (15, 2)
    assert (answer.context["alone"], answer.context["by_exact"]) == (15, 9)


def test_submitting_a_sweep_queues_every_run(client, member, study):
    client.force_login(member)
    grid = tour(12, "kd").to_dict() | {"seed": [0, 1, 2]}
    answer = client.post(reverse("run_submit"), posted(study, [grid]))
    assert answer.url == f"{reverse('runs')}?study={study.slug}"
    assert sorted(Run.objects.filter(pipeline="kd").values_list("seed", flat=True)) == [0, 1, 2]
    assert Artifact.objects.filter(kind="logit_cache").count() == 1


def test_a_grid_of_the_plan_is_changed_left_out_or_joined_by_another(client, member, study):
    client.force_login(member)
    grids = [tour(12, "kd").to_dict() | {"seed": [0, 1]}, tour(12, "sft").to_dict() | {"seed": [5, 6]}]
    changed = client.post(reverse("run_submit"), posted(study, grids, change="0"))
    assert changed.context["form"].initial["pipeline"] == "kd"
    assert [grid["pipeline"] for grid in json.loads(changed.context["others_json"])] == ["sft"]
    left = client.post(reverse("run_submit"), posted(study, grids, remove="0"))
    assert {spec.pipeline for spec in left.context["plan"].sweep.specs} == {"sft"}
    more = client.post(reverse("run_submit"), posted(study, grids, add="1"))
    assert len(json.loads(more.context["others_json"])) == 2
    one = {"study": study.slug, "spec": json.dumps(tour(12, "sft").to_dict()), "add": "1"}
    assert len(json.loads(client.post(reverse("run_submit"), one).context["others_json"])) == 1
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    "grids", ["{", "5", "[5]", "[[]]", '[{"pipeline": "kd"}]', "[" + "{}," * 20 + "{}]", "[" * 10**5]
)
@pytest.mark.parametrize("address", ["run_plan", "run_submit"])
def test_grids_that_are_none_are_answered_with_what_is_wrong(client, member, study, address, grids):
    client.force_login(member)
    values = form_data(tour(20, "kd"), study) | {"study": study.slug, "grids": grids}
    assert client.post(reverse(address), values).status_code == 400
    assert not Run.objects.exists()


def test_a_wider_capture_is_offered_on_the_plan(client, member, study):
    held = tour(20, "kd").to_dict()
    held["distillation"] |= {"temperatures": [1, 2, 4, 8]}
    ready_cache(study, RunSpec.from_dict(held))
    asked = {"distillation.temperatures": "1, 3", "distillation.temperature": "3"}
    client.force_login(member)
    body = client.post(reverse("run_plan"), form_data(tour(20, "kd"), study) | asked).content.decode()
    assert "With the temperatures 1, 2, 3, 4, 8 the new one would also hold all that the cache holds." in body
