"""The path of a newcomer, and what every page owes its reader, in a real Chromium."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.urls import reverse

from registry.models import Artifact, Job, Run
from registry.services import studies
from registry.workloads import catalogue
from tests import scenes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def scene(study):
    """A study with six runs, shared artifacts, and one run that a worker is at."""
    study.project.public = True
    study.project.save()
    runs = scenes.distilled_study(study)
    return {"study": study, "runs": runs, "open": scenes.open_run(study), "artifact": Artifact.objects.first()}


def addresses(scene):
    """Every page there is, by address."""
    run = scene["runs"]["kd 12 layers"]
    return [
        reverse("home"),
        reverse("login"),
        reverse("studies"),
        reverse("study", args=[scene["study"].slug]),
        reverse("runs"),
        reverse("run", args=[run.pk]),
        reverse("run", args=[scene["open"].pk]),
        reverse("run_new") + "?preset=tour&pipeline=kd",
        reverse("artifacts"),
        reverse("artifact", args=[scene["artifact"].pk]),
        reverse("lookup") + "?preset=tour",
        reverse("upload"),
    ]


def frontier_points(page):
    """How many points the frontier chart has drawn, once it has."""
    page.wait_for_selector("#chart-frontier .scatterlayer .points path")
    return page.locator("#chart-frontier .scatterlayer .points path").count()


def row_of(page, configuration):
    """The line of the points' table that belongs to a configuration."""
    link = page.get_by_role("link", name=configuration, exact=True)
    return page.locator("#points tbody tr", has=link)


def test_a_run_goes_from_a_preset_over_its_plan_into_the_queue(open_page, study, member):
    page = open_page(user=member)
    page.get_by_role("link", name="New run", exact=True).click()
    page.get_by_label("Preset", exact=True).select_option("tour-small")
    page.locator("form.presets").get_by_label("Pipeline").select_option("kd")
    page.get_by_role("button", name="Fill in").click()
    assert page.locator("#run-form").get_by_label("Layers dropped").nth(1).input_value() == "8-25"
    page.get_by_role("button", name="Plan").click()
    stages = page.locator("#plan h3").all_inner_texts()
    assert [stage.split()[0] for stage in stages] == ["Preprocess", "Logit", "Student", "Evaluation"]
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/runs/*-*/")
    run = Run.objects.get(pipeline="kd")
    assert page.locator("#run-status").inner_text() == "queued"
    assert [job.kind for job in run.jobs.order_by("position")] == [
        "preprocess",
        "logit_caching",
        "student_training",
        "evaluation",
    ]
    assert page.complaints == []


def test_a_bad_value_is_refused_beside_its_field(open_page, study, member):
    page = open_page(user=member)
    page.goto(reverse("run_new") + "?preset=tour&pipeline=kd")
    field = page.locator(".field", has=page.get_by_label("Learning rate"))
    field.locator("input").fill("-1")
    page.get_by_role("button", name="Plan").click()
    assert "-1.0 must be above 0 and at most 1" in field.locator(".error").inner_text()


def test_the_frontier_is_drawn_and_another_scope_is_another_address(open_page, scene):
    page = open_page()
    page.goto(reverse("study", args=[scene["study"].slug]))
    assert frontier_points(page) == 6
    before = row_of(page, "KD 12 layers").inner_text()
    page.get_by_label("Scope").select_option("student_only")
    page.wait_for_url("**scope=student_only**")
    page.wait_for_function("before => !document.querySelector('#points').innerText.includes(before)", arg=before)
    assert frontier_points(page) == 6
    assert "on the frontier" in row_of(page, "KD 12 layers").inner_text()
    page.go_back()
    page.wait_for_function("!location.search.includes('student_only')")
    assert page.complaints == []


def test_the_address_of_a_view_shows_that_view_without_javascript(open_page, scene):
    page = open_page(javascript=False)
    page.goto(reverse("study", args=[scene["study"].slug]) + "?scope=student_only")
    assert page.get_by_label("Scope").input_value() == "student_only"
    assert "on the frontier" in row_of(page, "KD 12 layers").inner_text()


def test_an_open_runs_page_follows_it_and_then_rests(open_page, scene):
    page = open_page()
    run = scene["open"]
    page.goto(reverse("run", args=[run.pk]))
    assert page.locator("progress").get_attribute("value") == "40"
    Job.objects.filter(run=run, status="running").update(
        progress={"done": 70, "total": 100, "note": "step", "figures": {}, "energy_j": 900.0, "power_w": 30.0}
    )
    page.wait_for_selector('progress[value="70"]')
    Job.objects.filter(run=run).update(status="finished")
    Run.objects.filter(pk=run.pk).update(status="finished")
    page.wait_for_selector("#run-status:text('finished')")
    assert page.locator("#run-live").get_attribute("hx-get") is None
    assert page.complaints == []


def test_the_power_of_a_run_is_drawn_and_zooming_asks_for_every_sample(open_page, scene):
    run = scenes.add_run(scene["study"], student_size="4 layers")
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    scenes.add_stage(run, "preprocess", 10.0)
    later = {"started_at": noon + timedelta(seconds=60), "ended_at": noon + timedelta(seconds=120)}
    training = scenes.add_stage(run, "student_training", 1000.0, **later)
    scenes.add_trace(training, [("gpu", "GPU-1", i / 100, 100.0 + i % 7, i) for i in range(6000)])
    page = open_page()
    page.goto(reverse("run", args=[run.pk]))
    page.wait_for_selector("#chart-power .scatterlayer path.js-line")
    drawn = "document.querySelector('#chart-power').calcdata[0].length"
    whole = page.evaluate(drawn)
    assert 500 < whole <= 1010  # half of the run's width
    page.locator("#chart-power").scroll_into_view_if_needed()
    box = page.locator("#chart-power .nsewdrag").bounding_box()
    x, y = box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2
    with page.expect_response(lambda answer: "&from=" in answer.url) as zoomed:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 0.05 * box["width"], y, steps=5)
        page.mouse.up()
    asked = parse_qs(urlsplit(zoomed.value.url).query)
    start_s, end_s = float(asked["from"][0]), float(asked["to"][0])
    assert (start_s, end_s) == (pytest.approx(90, abs=1), pytest.approx(96, abs=1))
    page.wait_for_function(f"before => {drawn} !== before", arg=whole)
    assert page.evaluate(drawn) == pytest.approx(100 * (end_s - start_s), abs=3)  # every sample, and its neighbours
    page.get_by_role("button", name="Whole run").click()
    page.wait_for_function(f"before => {drawn} === before", arg=whole)
    with page.expect_response(lambda answer: answer.url.endswith("&from=60.0000&to=120.0000")):
        page.get_by_role("button", name="student training").click()
    swap = "htmx.ajax('GET', '?part=records', {target: '#run-records', swap: 'outerHTML'})"
    with page.expect_response(lambda answer: answer.url.endswith("&from=60.0000&to=120.0000")):
        page.evaluate(swap)  # as after a new record: the zoom stays
    page.wait_for_selector("#chart-power .scatterlayer path.js-line")
    assert page.locator("#power-table tbody tr").count() == 1
    assert page.complaints == []


def test_a_chart_that_cannot_be_loaded_says_so_and_the_table_stands(open_page, scene):
    run = scene["runs"]["sft 12 layers"]
    scenes.add_trace(run.stages.get(kind="student_training"))
    page = open_page()
    page.route("**/power/**", lambda route: route.abort())
    page.goto(reverse("run", args=[run.pk]))
    page.wait_for_selector("#chart-power :text('could not be loaded')")
    assert page.locator("#power-table tbody tr").count() == 2


def test_no_page_complains_or_scrolls_sideways_on_a_telephone(open_page, scene, owner):
    page = open_page(width=390, height=844, user=owner)
    for address in addresses(scene):
        page.goto(address)
        if page.locator("[data-chart]").count():
            page.wait_for_selector(".js-plotly-plot .main-svg")
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert (address, wider) == (address, 0)
    assert page.complaints == []


def test_the_api_page_keeps_the_policy_too(open_page, db):
    page = open_page()
    page.goto(reverse("api:docs"))
    page.wait_for_selector("#swagger-ui .opblock")
    assert page.complaints == []


def test_pages_are_dark_where_the_reader_asks_for_it(open_page, scene):
    lightness = {}
    for dark in (False, True):
        page = open_page(dark=dark)
        page.goto(reverse("study", args=[scene["study"].slug]))
        page.wait_for_selector("#chart-frontier .main-svg .xtick text")
        colours = page.evaluate(
            """() => [getComputedStyle(document.body).backgroundColor,
                      getComputedStyle(document.querySelector('#chart-frontier .xtick text')).fill]"""
        )
        lightness[dark] = [sum(json.loads(colour.replace("rgb(", "[").replace(")", "]"))) for colour in colours]
    (light_page, light_text), (dark_page, dark_text) = lightness[False], lightness[True]
    assert (light_page > 600, light_text < 200) == (True, True)
    assert (dark_page < 150, dark_text > 500) == (True, True)


def test_the_charts_follow_when_the_reader_turns_dark(open_page, scene):
    page = open_page()
    page.goto(reverse("study", args=[scene["study"].slug]))
    page.wait_for_selector("#chart-frontier .main-svg .xtick text")
    colour = "getComputedStyle(document.querySelector('#chart-frontier .xtick text')).fill"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"light => {colour} !== light", arg=light)
    assert page.complaints == []


def test_the_skip_link_is_the_first_stop_of_the_keyboard(open_page, study):
    page = open_page()
    page.goto(reverse("home"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_an_artifact_is_looked_up_from_a_preset(open_page, study, owner):
    from registry.accounting.plan import artifact_request
    from registry.accounting.presets import tour
    from registry.services import artifacts

    spec = tour(20, "kd")
    wanted = artifact_request("logit_cache", spec, catalogue.identities(spec))
    artifacts.register(
        actor=owner, project=study.project, request=wanted, name="the cache", production_energy_j=9000.0, licence=""
    )
    page = open_page(user=owner)
    page.goto(reverse("lookup"))
    page.get_by_label("Preset", exact=True).select_option("tour")
    page.get_by_role("button", name="Fill in").click()
    page.get_by_label("Kind of artifact").select_option("synthetic_dataset")
    assert page.get_by_label("Top-p").is_visible()
    page.get_by_label("Kind of artifact").select_option("logit_cache")
    assert not page.get_by_label("Top-p").is_visible()
    page.get_by_role("button", name="Look up", exact=True).click()
    assert "decoding" not in page.url
    assert "the cache" in page.locator(".match").inner_text()
    assert "Exactly this" in page.locator(".match").inner_text()


def test_an_upload_is_looked_at_first_and_then_booked(open_page, owner, project):
    studies.create_study(actor=owner, project=project, slug="my-study", name="Mine", suite=["gsm8k"])
    page = open_page(user=owner)
    page.goto(reverse("upload"))
    page.get_by_text("A run document that is complete").click()
    document = page.locator("details pre").inner_text()
    page.get_by_label("JSON").fill(document)
    page.get_by_role("button", name="Look first").click()
    assert "would be booked" in page.locator("#outcome").inner_text()
    assert not Run.objects.exists()
    page.get_by_role("button", name="Book").click()
    assert "Booked" in page.locator("#outcome").inner_text()
    assert Run.objects.get().external_id == "olmo-1b-kd-s0"


def test_a_report_opens_without_a_network_and_a_frame_on_another_page(open_page, scene, client, live_server, tmp_path):
    slug, file = scene["study"].slug, tmp_path / "report.html"
    file.write_bytes(client.get(reverse("study_report", args=[slug])).content)
    frame = f"{live_server.url}{reverse('study_embed', args=[slug, 'frontier'])}"
    page = open_page(width=390)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.context.set_offline(True)
    page.goto(file.as_uri())
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0) && document.images.length") >= 3
    assert asked == [file.as_uri()] and page.evaluate("document.documentElement.scrollWidth") == 390
    page.context.set_offline(False)
    page.route("**/elsewhere", lambda route: route.fulfill(body=f'<iframe src="{frame}">', content_type="text/html"))
    page.goto("/elsewhere")
    assert page.frame_locator("iframe").locator("img").evaluate("(image) => image.naturalWidth") > 0
    assert page.context.cookies() == [] and page.complaints == []
