"""Artifacts: found by words and facets, their books, what other catalogues read, and registering by form."""

import json
import re
from dataclasses import replace

import pytest
import yaml
from django.urls import reverse

from frontend.forms_lookup import BEYOND
from frontend.lineage import Box, draw
from registry.accounting.plan import artifact_request, asked_beyond
from registry.accounting.presets import tour
from registry.accounting.reuse import ArtifactRequest
from registry.accounting.spec import RunSpec
from registry.models import Artifact, Membership, Run
from registry.selectors import artifact_search, books
from registry.selectors.cards import dataset_card
from registry.services import artifacts, licences, lookups, rowsets, studies
from registry.workloads import catalogue
from tests import scenes


@pytest.fixture
def several(study):
    """Three artifacts of different teachers."""
    rows = rowsets.of(["a"])
    made = []
    for name, teacher, licence, joules, size in [
        ("OLMo-2 32B, top 100", "allenai/OLMo-2-0325-32B-SFT", "Apache-2.0", 300.0, 10),
        ("Answers", "meta/llama-3.1-70b", "LicenseRef-llama", 100.0, None),
        ("Small cache", "smollm2-135m-instruct", "Apache-2.0", None, 30),
    ]:
        made.append(
            Artifact.objects.create(
                project=study.project,
                kind="logit_cache" if "ache" in name or "OLMo" in name else "synthetic_dataset",
                name=name,
                teacher=teacher,
                licence=licence,
                production_energy_j=joules,
                bytes=size,
                rows=rows,
                status="ready",
                fingerprint=f"{len(made)}abcdef0" + "0" * 56,
                family="f" * 64,
            )
        )
    return made


def names(user, **asked):
    return [row.name for row in artifact_search.search(user, asked).rows]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("olmo", ["OLMo-2 32B, top 100"]),
        ("OLMO 32b", ["OLMo-2 32B, top 100"]),
        ("sft", ["OLMo-2 32B, top 100"]),
        ("apache", ["Small cache", "OLMo-2 32B, top 100"]),
        ("logit cache", ["Small cache", "OLMo-2 32B, top 100"]),
        ("llam", ["Answers"]),
        ("1abcdef0", ["Answers"]),
        ("olmo llama", []),
        ("%", []),
        ("' | !:* \\", []),
        ("", ["Small cache", "Answers", "OLMo-2 32B, top 100"]),
    ],
)
def test_words_find_what_has_a_word_beginning_with_each(several, member, text, found):
    assert names(member, q=text) == found


def test_a_stranger_finds_nothing_and_counts_nothing(several, stranger):
    results = artifact_search.search(stranger, {})
    assert (results.rows, [facet.values for facet in results.facets]) == ((), [()] * 6)


def test_facets_count_what_the_other_filters_leave(several, member):
    results = artifact_search.search(member, {"licence": "Apache-2.0"})
    facets = {facet.name: {one.value: one.count for one in facet.values} for facet in results.facets}
    assert facets["kind"] == {"logit_cache": 2}
    assert facets["licence"] == {"Apache-2.0": 2, "LicenseRef-llama": 1}
    assert len(results.rows) == 2


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("oldest", ["OLMo-2 32B, top 100", "Answers", "Small cache"]),
        ("energy", ["OLMo-2 32B, top 100", "Answers"]),
        ("size", ["Small cache", "OLMo-2 32B, top 100"]),
        ("name", ["Answers", "OLMo-2 32B, top 100", "Small cache"]),
    ],
)
def test_an_order_holds_over_pages_by_key(several, member, sort, order, monkeypatch):
    monkeypatch.setattr(artifact_search, "PAGE", 1)
    seen, after = [], ""
    while True:
        results = artifact_search.search(member, {"sort": sort, "after": after})
        seen += [row.name for row in results.rows]
        after = results.after
        if not after:
            break
    assert seen == order


@pytest.mark.parametrize(
    "query", [{"sort": "luck"}, {"after": "x"}, {"after": "1~2"}, {"colour": "blue"}, {"kind": "\x00"}, {"q": "\x00"}]
)
def test_a_list_that_cannot_be_is_refused_with_a_sentence(client, member, several, query):
    client.force_login(member)
    answer = client.get(reverse("artifacts"), query)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.content.decode()


def test_the_list_counts_what_it_finds_and_dates_each(client, member, several):
    client.force_login(member)
    body = client.get(reverse("artifacts"), {"kind": "logit_cache"})
    found = body.context["results"]
    assert (found.total, found.bounded) == (len(found.rows), False)
    assert f"{found.total} artifact" in body.content.decode()
    assert f"{found.rows[0].created_at:%b %Y}" in body.content.decode()


def test_the_list_keeps_its_choices_in_the_address(client, member, several):
    client.force_login(member)
    body = client.get(reverse("artifacts"), {"q": "cache", "kind": "logit_cache", "sort": "name"}).content.decode()
    assert 'name="kind" value="logit_cache"' in body
    assert "?q=cache&amp;sort=name" in body, "the facet is taken back and the rest stays"
    assert "licence=Apache-2.0" in body


@pytest.fixture
def scene(study):
    return scenes.distilled_study(study)


@pytest.fixture
def cache(scene) -> Artifact:
    return Artifact.objects.get(kind="logit_cache")


def page(client, user, artifact):
    client.force_login(user)
    return client.get(reverse("artifact", args=[artifact.pk]))


def test_the_books_fall_with_each_finished_run(client, member, cache):
    context = page(client, member, cache).context
    detail = context["detail"]
    assert '"mode":"markers"' in str(context["figure"]).replace(" ", "").replace("'", '"')
    assert [(point.uses, point.energy_j) for point in detail.per_use] == [(1, 9000.0), (2, 4500.0)]
    assert detail.spared_j == 9000.0 * (detail.finished_uses - 1)


def test_break_even_stands_beside_the_uses_for_each_size_with_a_baseline(client, member, cache):
    answer = page(client, member, cache)
    pairs = {pair.distilled.student: pair.result.count for _, pair in answer.context["detail"].break_evens}
    # The distilled students' training takes 800 J less than their baselines': 9000 / 800 → 12.
    assert pairs == {"12 layers": 12, "20 layers": 12}
    assert "N*" in answer.content.decode()


def test_production_energy_is_shown_by_attempt_and_a_hole_is_no_total(study):
    run = scenes.add_run(study, "kd")
    artifact = scenes.add_artifact(run, energy_j=None)
    records = [scenes.add_stage(run, "logit_caching", energy, artifact=artifact) for energy in (100.0, None)]
    assert [(one.number, one.energy_j, one.records) for one in books.attempts(records)] == [
        (None, 100.0, 1),
        (None, None, 1),
    ]


def test_the_lineage_is_drawn_and_readable_as_a_list(client, member, cache, scene):
    students = {}
    for name in ("kd 12 layers", "kd 20 layers"):
        students[name] = scenes.add_artifact(scene[name], "student")
    answer = page(client, member, cache)
    body = answer.content.decode()
    boxes = [placed.box for placed in answer.context["drawing"].boxes]
    assert [box.kind for box in boxes] == ["teacher", "logit cache", "run", "run", "student", "student"]
    assert len(answer.context["drawing"].paths) == 1 + 2 + 2
    assert [box.label for box in boxes[2:4]] == ["KD 12 layers", "KD 20 layers"]
    assert "<svg" in body
    for student in students.values():
        assert f'href="{student.get_absolute_url()}"' in body


def test_a_drawing_stands_columns_beside_each_other_without_overlap():
    columns = [[Box(key=f"{c}{r}", kind="k", label="x" * 99) for r in range(n)] for c, n in enumerate((2, 0, 1, 3))]
    drawing = draw(columns, [("00", "20"), ("20", "31"), ("nobody", "20")])
    places = [(placed.x, placed.y) for placed in drawing.boxes]
    assert len(set(places)) == len(places) == 6
    assert len({x for x, _ in places}) == 3
    assert len(drawing.paths) == 2
    assert all(len(placed.text) <= 26 for placed in drawing.boxes)
    assert draw([], []).boxes == ()


def answers_of(study, **changes) -> Artifact:
    """A synthetic dataset that is not published yet, so that its files may still come."""
    identity = {"teacher": {"id": "big", "revision": "main"}, "decoding": {"seed": 0}}
    values = {"kind": "synthetic_dataset", "name": "Answers", "licence": "Apache-2.0", "status": "ready"}
    values |= {"identity": identity, "fingerprint": "f" * 64, "family": "e" * 64, "rows": rowsets.of(["a"])}
    return Artifact.objects.create(project=study.project, **(values | changes))


def stored(artifact, tmp_path, settings):
    settings.ARTIFACT_URL = f"file://{tmp_path / 'store'}"
    folder = tmp_path / "out"
    folder.mkdir()
    line = {"prompt_digest": "d", "prompt": "p", "text": "t", "ids": [1], "finished": True}
    (folder / "answers.jsonl").write_text(json.dumps(line) + "\n")
    artifacts.store(artifact=artifact, folder=folder, meta={}, row_digests=["a"])
    return artifact


def test_the_croissant_on_the_page_is_the_file_and_keeps_its_rules(client, member, study, tmp_path, settings):
    answers = stored(answers_of(study, name="</script><b>&"), tmp_path, settings)
    body = page(client, member, answers).content.decode()
    embedded = re.search(r'<script type="application/ld\+json">(.*?)</script>', body, re.S)[1]
    document = json.loads(embedded)
    assert document == client.get(reverse("artifact_croissant", args=[answers.pk])).json()
    assert document["name"] == "</script><b>&"
    assert (document["@type"], document["conformsTo"]) == ("sc:Dataset", "http://mlcommons.org/croissant/1.0")
    (file,) = document["distribution"]
    assert {"@id", "name", "contentUrl", "encodingFormat", "sha256"} <= file.keys()
    assert re.fullmatch(r"[0-9a-f]{64}", file["sha256"])
    (records,) = document["recordSet"]
    for field in records["field"]:
        assert field["source"]["fileObject"]["@id"] == file["@id"]
        assert field["dataType"] in ("sc:Text", "sc:Boolean")
    assert document["license"] == "https://spdx.org/licenses/Apache-2.0.html"
    assert all(document[name] for name in ("description", "url", "version", "datePublished", "citeAs", "creator"))


def test_the_dataset_card_has_front_matter_that_yaml_reads_as_it_was(client, member, study):
    name = 'Answers: "x"\n---\nlicense: gpl | y'
    answers = answers_of(study, name=name, licence="Apache-2.0 AND ODC-By-1.0")
    client.force_login(member)
    answer = client.get(reverse("artifact_card", args=[answers.pk]))
    _, front, text = answer.content.decode().split("---\n", 2)
    values = yaml.safe_load(front)
    assert values["pretty_name"] == name
    assert (values["license"], values["license_name"]) == ("other", "Apache-2.0 AND ODC-By-1.0")
    assert values["annotations_creators"] == ["machine-generated"]
    assert "teacher.id" in text


@pytest.mark.parametrize(
    ("licence", "hub"),
    [("MIT", "mit"), ("ODC-By-1.0", "odc-by"), ("GPL-3.0-or-later", "gpl-3.0"), ("BUSL-1.1", "other"), ("", "other")],
)
def test_the_card_names_a_licence_as_the_hub_does(licence, hub):
    front = dataset_card(Artifact(licence=licence), url="/a").split("---\n")[1]
    assert yaml.safe_load(front)["license"] == hub


def test_exports_of_a_private_artifact_are_404_for_a_stranger(client, stranger, cache):
    client.force_login(stranger)
    for name in ("artifact_croissant", "artifact_card"):
        assert client.get(reverse(name, args=[cache.pk])).status_code == 404
    for name in ("artifact_share", "artifact_narrow", "artifact_withdraw", "artifact_supersede", "artifact_alias"):
        assert client.post(reverse(name, args=[cache.pk])).status_code == 404


def test_the_snippet_fetches_and_checks_each_file(client, member, study, tmp_path, settings):
    answers = stored(answers_of(study), tmp_path, settings)
    snippet = page(client, member, answers).context["snippet"]
    assert f"/api/v1/artifacts/{answers.pk}/files/answers.jsonl" in snippet
    assert f"{answers.manifest[0]['sha256']}  answers.jsonl' | sha256sum --check" in snippet


def test_only_a_maintainer_is_shown_the_curator_s_forms_and_may_use_them(client, member, owner, cache):
    assert 'id="curate"' not in page(client, member, cache).content.decode()
    client.post(reverse("artifact_share", args=[cache.pk]), {"sharing": "shared"})
    cache.refresh_from_db()
    assert cache.sharing == "project"
    assert 'id="curate"' in page(client, owner, cache).content.decode()
    client.post(reverse("artifact_share", args=[cache.pk]), {"sharing": "shared"})
    values = {"licence": "Apache-2.0 AND CC-BY-NC-4.0", "note": "the rows are non-commercial", "may_train": "no"}
    body = client.post(reverse("artifact_narrow", args=[cache.pk]), values, follow=True).content.decode()
    cache.refresh_from_db()
    assert (cache.licence, cache.may_train, cache.sharing) == (values["licence"], False, "project")
    assert "the rows are non-commercial" in body


def test_a_maintainer_withdraws_it_by_form_and_the_page_says_why(client, member, owner, cache):
    address, said = reverse("artifact_withdraw", args=[cache.pk]), {"reason": "another model's template"}
    client.force_login(member)
    client.post(address, said)
    cache.refresh_from_db()
    assert cache.status == "ready"
    client.force_login(owner)
    assert "This field is required" in client.post(address, {"reason": " "}, follow=True).content.decode()
    body = client.post(address, said, follow=True).content.decode()
    assert "Withdrawn: another model&#x27;s template" in body
    cache.refresh_from_db()
    assert cache.status == "withdrawn"


def test_a_better_one_is_named_by_form_and_the_page_leads_to_it(client, owner, study, cache, scene):
    better = scenes.add_artifact(scene["kd 12 layers"], "logit_cache")
    client.force_login(owner)
    address = reverse("artifact_supersede", args=[cache.pk])
    nobody = client.post(address, {"by": str(study.pk), "reason": "finer"}, follow=True).content.decode()
    assert "no artifact that you can see" in nobody
    body = client.post(address, {"by": str(better.pk), "reason": "holds finer logits"}, follow=True).content.decode()
    assert f'Superseded by <a href="{better.get_absolute_url()}">' in body
    assert "holds finer logits" in body


def test_a_better_version_is_named_as_people_write_it(client, owner, two_versions):
    old, better = sorted(two_versions, key=lambda one: one.version)
    client.force_login(owner)
    said = {"by": f"@{better.version}", "reason": "finer"}
    body = client.post(reverse("artifact_supersede", args=[old.pk]), said, follow=True).content.decode()
    assert f'Superseded by <a href="{better.get_absolute_url()}">{better.handle}@{better.version}</a>' in body


def test_the_records_of_its_energy_are_named_to_its_project_alone(client, member, stranger, cache):
    Artifact.objects.filter(pk=cache.pk).update(evidence=["record-7"], origin="upload", sharing="shared")
    inside, outside = (page(client, user, cache).content.decode() for user in (member, stranger))
    assert "<code>record-7</code>" in inside and "record-7" not in outside
    assert "the sum of 1 uploaded record." in inside


def test_one_made_again_says_who_why_and_what_was_spent_again(client, member, owner, cache):
    changes = {"regenerate_reason": "doubt about its rows", "made_again_of": cache, "created_by": owner}
    again = answers_of(cache.made_by_run.study, production_energy_j=7.2e6, **changes)
    body = page(client, member, again).content.decode()
    notice = body[body.index('id="regenerate-reason"') :].split("</p>")[0]
    for words in ("doubt about its rows", cache.get_absolute_url(), str(owner), ">2.00<"):
        assert words in notice


def test_the_audit_log_of_it_is_on_its_page(client, owner, cache):
    licences.share(actor=owner, artifact=cache, sharing="request")
    body = page(client, owner, cache).content.decode()
    log = body[body.index('id="history"') :].split("</section>")[0]
    assert "artifact shared" in log
    assert str(owner) in log


@pytest.fixture
def two_versions(project):
    """Two versions of one name, by different teachers."""
    return [register_like(project, teacher) for teacher in ("first", "second")]


def register_like(project, teacher) -> Artifact:
    request = ArtifactRequest(kind="logit_cache", identity={"teacher": {"id": teacher}}, row_digests=("a",))
    return artifacts.register(actor=None, project=project, request=request, name="A cache", production_energy_j=1.0)


def alias(client, artifact, word, address="artifact_alias"):
    answer = client.post(reverse(address, args=[artifact.pk]), {"alias": word}, follow=True)
    artifact.refresh_from_db()
    return answer.content.decode(), [row.alias for row in artifact.aliases.all()]


def test_a_maintainer_sets_moves_and_drops_an_alias_by_form(client, owner, two_versions):
    first, second = two_versions
    client.force_login(owner)
    body, aliases = alias(client, first, "stable")
    assert aliases == ["stable"]
    assert 'a-cache@1</code> <span class="tag">stable</span>' in body
    body, aliases = alias(client, second, "stable")
    assert (aliases, list(first.aliases.all())) == (["stable"], [])
    assert "alias set <code>stable</code>" in body[body.index('id="history"') :]
    log = page(client, owner, first).content.decode()
    assert "alias moved <code>stable</code>" in log[log.index('id="history"') :]
    assert alias(client, second, "stable", "artifact_alias_drop")[1] == []


@pytest.mark.parametrize(
    ("word", "sentence"),
    [("latest", "always means the newest"), ("v3", "not look like a version"), ("A b", "must begin"), ("", "required")],
)
def test_reserved_and_bad_aliases_are_refused_with_a_sentence(client, owner, two_versions, word, sentence):
    client.force_login(owner)
    body, aliases = alias(client, two_versions[0], word)
    assert sentence in body
    assert aliases == []


def test_a_submitter_is_shown_no_alias_form_and_sets_none(client, member, two_versions):
    assert "/alias/" not in page(client, member, two_versions[0]).content.decode()
    assert alias(client, two_versions[0], "stable")[1] == []


@pytest.mark.parametrize(
    ("made", "bitwise"),
    [
        (("fp32", {"cpu_model": "EPYC"}), True),
        (("bf16", {"cpu_model": "EPYC"}), False),
        (("fp32", {"gpus": [{"name": "H100"}]}), False),
        (("fp32", {}), False),
    ],
)
def test_the_page_says_where_a_cut_is_the_same_draw_up_to_rounding(client, member, study, made, bitwise):
    precision, environment = made
    run = scenes.add_run(study, "synthetic_sft", environment=environment)
    answers = answers_of(study, identity={"teacher": {"id": "big"}, "precision": precision}, made_by_run=run)
    body = page(client, member, answers).content.decode()
    assert ("the same draw up to rounding" in body) is not bitwise
    assert ("the same draw as made small" in body) is bitwise


@pytest.mark.parametrize(
    ("encoding", "words"),
    [("fp32", ""), ("fp16", "at most 1/2048"), ("u8", "half an 8-bit step"), (None, "half an 8-bit step")],
)
def test_the_page_says_what_a_cut_in_k_keeps_of_a_rounded_cache(client, member, study, encoding, words):
    run = scenes.add_run(study, environment={"cpu_model": "EPYC"})
    capture = {"k": 100} | ({"encoding": encoding} if encoding else {})
    identity = {"teacher": {"id": "big"}, "precision": "fp32"}
    cache = answers_of(study, kind="logit_cache", identity=identity, capture=capture, made_by_run=run)
    body = page(client, member, cache).content.decode()
    assert (">the same draw as made small: float32" in body) is (encoding == "fp32")
    assert ("of fewer rows or temperatures: the same draw" in body) is (encoding != "fp32")
    assert words in body


@pytest.fixture
def not_to_hand_on(study, tmp_path, settings):
    study.project.public = True
    study.project.save()
    return stored(answers_of(study, licence="CC-BY-ND-4.0"), tmp_path, settings)


def test_files_that_may_not_be_handed_on_are_no_links_for_a_stranger(client, member, stranger, not_to_hand_on):
    theirs, ours = (page(client, user, not_to_hand_on).content.decode() for user in (stranger, member))
    assert "for members of the project" in theirs and "for members of the project" not in ours
    assert ('id="snippet"' in theirs, 'id="snippet"' in ours) == (False, True)


DETERMINED = {
    "kind": "logit_cache",
    "identity": {"teacher": {"id": "big"}},
    "capture": {"k": 10},
    "row_digests": ["a", "b"],
}
FORM = {
    "name": "From our cluster",
    "request": json.dumps(DETERMINED),
    "energy_kwh": "2.5",
    "evidence_note": "read off the job log",
    "licence": "Apache-2.0",
}


# The same in words: settings of a run, as far as they determine it, with the tour's where nothing is said.
WORDS = {"request": "", "preset": "tour", "kind": "logit_cache"}


READ = {"k": int, "seed": int}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("logit_cache", {"distillation.k": "10", "distillation.temperatures": "2, 1", "engine": "vllm"}),
        ("synthetic_dataset", {"decoding.seed": "7", "overlong_rows": "truncate"}),
        ("logit_cache", {"teacher.id": "acme/large", "dataset.id": "acme/rows", "rows": "b\n\n a \nb"}),
    ],
)
def test_the_form_in_words_and_rest_register_the_same(client, owner, member, project, token_for, *, kind, settings):
    spec = tour(20, "kd").to_dict()
    for name, value in settings.items():
        if "." in name:
            part, leaf = name.split(".")
            spec[part][leaf] = json.loads(f"[{value}]") if leaf == "temperatures" else READ.get(leaf, str)(value)
    answer = registered(client, member, project, **WORDS | {"kind": kind} | settings)
    assert answer.status_code == 302, answer.context["need"].errors | answer.context["form"].errors
    artifact = Artifact.objects.get()
    request = artifact_request(kind, RunSpec.from_dict(spec), identities_of(spec, settings))
    asked = lookups.document(asked_beyond(request, **{n: settings[n] for n in BEYOND if n in settings}))
    other = studies.ensure_project(slug="other-lab", name="Other", public=False)
    Membership.objects.create(project=other, user=owner, role=Membership.Role.SUBMITTER)
    client.logout()
    body = json.dumps(asked | {"project": other.slug, "name": "The same"})
    rest = client.post("/api/v1/artifacts/", body, "application/json", **token_for(owner))
    assert rest.status_code == 201, rest.content
    assert rest.json()["fingerprint"] == artifact.fingerprint
    assert (rest.json()["row_digests"], rest.json()["teacher"]) == (artifact.row_digests, artifact.teacher)
    assert (artifact.dataset, artifact.evidence_note) == (spec["dataset"]["id"], "read off the job log")


def identities_of(spec, settings):
    """The digests that a run of `spec` is planned with, with the rows that the form names."""
    found, rows = catalogue.identities(RunSpec.from_dict(spec)), ("a", "b") if "rows" in settings else None
    return replace(found, row_digests=rows, prompt_digests=rows) if rows else found


def test_a_lookup_that_finds_nothing_leads_to_the_form_filled_in(client, member, study):
    client.force_login(member)
    asked = {"preset": "tour", "kind": "synthetic_dataset", "study": study.slug, "decoding.seed": "7"}
    answer = client.get(reverse("lookup"), asked)
    assert answer.context["register_address"].replace("&", "&amp;") in answer.content.decode()
    form = client.get(answer.context["register_address"])
    assert (form.status_code, form.context["form"]["project"].value()) == (200, study.project.slug)
    assert form.context["need"]["decoding.seed"].value() == "7"


def registered(client, user, project, **changes):
    client.force_login(user)
    return client.post(reverse("artifact_register"), FORM | {"project": project.slug} | changes)


def test_registering_by_form_leads_to_the_artifact_with_its_statement(client, member, project):
    answer = registered(client, member, project)
    artifact = Artifact.objects.get()
    assert answer.url == artifact.get_absolute_url()
    assert (artifact.production_energy_j, artifact.row_digests) == (9e6, ["a", "b"])
    body = client.get(answer.url).content.decode()
    assert "not measured here" in body
    assert "read off the job log" in body


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evidence_note": ""}, "say where the figure comes from"),
        ({"request": "{"}, "cannot be read"),
        ({"request": "[]"}, "Give one JSON object"),
        ({"request": '{"kind": "logit_cache", "identity": {"teacher": {"id": "t"}}, "colour": 1}'}, "request has kind"),
        ({"request": json.dumps(DETERMINED | {"identity": {}, "row_digests": []})}, "identity.teacher.id: left out"),
        ({"request": json.dumps(DETERMINED | {"kind": "student"})}, "must be one of"),
        ({"evidence": "no-such-record"}, "no-such-record"),
        ({"licence": "beer"}, "no SPDX licence expression"),
        ({"energy_kwh": "-1"}, "greater than or equal to 0"),
        (WORDS | {"kind": "student"}, "not one of the available choices"),
        (WORDS | {"teacher.id": "nobody"}, "is no model here"),
        (WORDS | {"distillation.k": "0"}, "between 1 and 4,096"),
        (WORDS | {"dataset.id": "acme/rows"}, "nobody here has read the rows of acme/rows"),
        (WORDS | {"dataset.train_rows": "99999"}, "rows"),
    ],
)
def test_a_registration_that_does_not_fit_is_refused_beside_its_field(client, member, project, changes, words):
    answer = registered(client, member, project, **changes)
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert not Artifact.objects.exists()


def test_registering_what_is_there_already_points_to_it(client, member, project):
    registered(client, member, project)
    answer = registered(client, member, project, name="Again")
    assert "answers this request already" in answer.content.decode()
    assert Artifact.objects.count() == 1


def test_a_viewer_of_another_project_cannot_register_there(client, stranger, project):
    assert registered(client, stranger, project).status_code == 400
    assert not Artifact.objects.exists()


def test_a_page_of_an_artifact_takes_the_same_number_of_queries_for_any_number_of_uses(
    client, member, study, cache, django_assert_max_num_queries
):
    reference = Run.objects.get(pipeline="teacher_reference")
    for seed in range(5):
        run = scenes.complete_run(study, "kd", reference, training_j=100.0, factor=0.5, seed=seed)
        scenes.use_artifact(run, cache)
    client.force_login(member)
    with django_assert_max_num_queries(40):
        client.get(reverse("artifact", args=[cache.pk]))


def test_a_shared_artifact_counts_all_uses_and_names_runs_and_people_to_its_project_alone(
    client, member, stranger, cache, token_for
):
    study = cache.made_by_run.study
    run = cache.made_by_run
    Artifact.objects.filter(pk=cache.pk).update(sharing="shared", created_by=member, evidence=["lab/record-1"])
    abroad = studies.ensure_project(slug="abroad", name="Abroad", public=False)
    Membership.objects.create(project=abroad, user=stranger, role=Membership.Role.SUBMITTER)
    place = studies.create_study(actor=None, project=abroad, slug="abroad", name="Abroad", suite=study.suite)
    theirs = scenes.add_run(place, "kd", student_size="theirs alone")
    scenes.use_artifact(theirs, cache)
    told = {user: page(client, user, cache) for user in (member, stranger)}
    figures = {(d.finished_uses, d.energy_per_use_j, d.spared_j, len(d.per_use)) for d in _details(told)}
    assert figures == {(3, 3000.0, 18000.0, 3)}
    inside, outside = (told[user].content.decode() for user in (member, stranger))
    named = ("KD 20 layers", str(run.pk), f", {member} ·", "artifact registered", study.name)
    assert all(word in inside for word in named)
    assert not any(word in outside for word in named)
    assert ("theirs alone" in outside, "theirs alone" in inside) == (True, False)
    assert ("2 runs of projects" in outside, "1 run of a project" in inside) == (True, True)
    shown = {
        user: client.get(f"/api/v1/artifacts/{cache.pk}/", **token_for(user)).json() for user in (member, stranger)
    }
    assert (shown[member]["made_by_run"], shown[member]["evidence"]) == (str(run.pk), ["lab/record-1"])
    assert (shown[stranger]["made_by_run"], shown[stranger]["evidence"]) == (None, [])


def _details(told):
    return [answer.context["detail"] for answer in told.values()]
