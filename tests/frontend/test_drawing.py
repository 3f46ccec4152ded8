"""Every chart leaves the house as SVG and PNG, and stands in frames on other pages where anybody may see it."""

import io
from xml.etree import ElementTree

import pytest
from django.urls import reverse
from PIL import Image

from frontend import drawing
from frontend.charts import AmortisationCurve, amortisation_curves
from frontend.study_charts import as_json
from registry.importers import paper
from tests import scenes
from tests.frontend.test_study_pages import sweep

BASE = f"/studies/{paper.SLUG}"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def published(module_db):
    """The study, loaded once for this module."""
    return paper.load()


def words(answer):
    """All text of an SVG that parses."""
    return [element.text for element in ElementTree.fromstring(answer.content).iter(f"{SVG}text")]  # noqa: S314 (we wrote it)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("frontier", {"Energy (kWh)", "Q (share of the teacher's quality)", "Synthetic SFT", "13B"}),
        ("stages", {"Energy (kWh)", "Logit caching", "Syn. SFT 13B"}),
        ("floor", {"Energy (kWh)", "Needed by an ideal run", "KD 7B, teacher"}),
        ("amortisation", {"Students sharing the teacher's work (N)", "KD 13B", "SFT 1B"}),
        ("transfer", {"Energy under these factors (kWh)", "Frontier"}),
    ],
)
def test_a_chart_as_svg_can_be_read_alone(published, db, client, name, said):
    answer = client.get(f"{BASE}/figures/{name}.svg", {"scope": "amortised", "n": "2"})
    found = words(answer)
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/svg+xml")
    assert said | {"Energy accounting of distillation pipelines"} <= set(found)
    assert any("Scope: amortised" in text for text in found)
    assert any(text.startswith("Operational energy") for text in found)
    assert b"<!DOCTYPE" not in answer.content and b"<script" not in answer.content
    assert "style-src 'unsafe-inline'; sandbox" in answer["Content-Security-Policy"]


def test_a_chart_as_png_is_dark_where_asked(published, db, client):
    corners = []
    for query in ({}, {"theme": "dark"}):
        picture = Image.open(io.BytesIO(client.get(f"{BASE}/figures/frontier.png", query).content))
        assert picture.size[0] == 1728
        corners.append(picture.convert("RGB").getpixel((2, 2)))
    assert corners == [(255, 255, 255), (24, 31, 33)]


def test_a_chart_is_drawn_once_under_the_same_assumptions(published, db, client, monkeypatch):
    first = client.get(f"{BASE}/figures/frontier.svg", {"n": "3"}).content
    monkeypatch.setattr(drawing, "draw", lambda *_args, **_more: pytest.fail("drawn again"))
    assert client.get(f"{BASE}/figures/frontier.svg", {"n": "3"}).content == first


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("figures/frontier.pdf", 404),
        ("figures/other.svg", 404),
        ("figures/setting-0.svg", 404),
        ("figures/frontier.svg?theme=pink", 400),
        ("figures/frontier.png?theme=auto", 400),
        ("figures/frontier.svg?pue=0", 400),
        ("figures/transfer.svg?teacher=no", 400),
        ("embed/frontier/?theme=%00", 400),
        ("embed/frontier/?n=x", 400),
    ],
)
def test_what_cannot_be_drawn_is_refused(published, db, client, address, status):
    assert client.get(f"{BASE}/{address}").status_code == status


def test_names_are_text_whatever_is_in_them():
    curve = AmortisationCurve(label="</text><script>$a_1$&\x07", pipeline="kd", points=[(1, 1e7), (2, 5e6)])
    other = AmortisationCurve(label="b", pipeline="sft", points=[(1, 1e7), (2, 1e7)])
    sheet = drawing.Sheet(title="</title>\n<script>\x00", caption="$x$", notes=["]]>"])
    root = ElementTree.fromstring(drawing.draw(as_json(amortisation_curves([curve, other])), sheet, theme="auto"))  # noqa: S314 (we wrote it)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "</text><script>$a_1$&" in texts and "$x$" in texts
    assert not list(root.iter(f"{SVG}script"))


def test_settings_power_uses_and_comparisons_are_drawn_too(study, member, client):
    client.force_login(member)
    sweep(study)
    runs = scenes.distilled_study(study)
    found = [runs["kd 12 layers"], runs["kd 20 layers"]]
    for run in found:
        scenes.add_trace(run.stages.get(kind="student_training"))
    setting = client.get(reverse("study_figure", args=[study.slug, "setting-0", "svg"]))
    assert {"Quality", "Energy (Wh)", "temperature"} <= set(words(setting))
    power = client.get(reverse("run_figure", args=[found[0].pk, "power", "svg"]), {"from": "1", "to": "20"})
    assert {"Power (W)", "Time (UTC)", "CPU"} <= set(words(power))
    overlay = client.get(reverse("compare_figure", args=["power-0", "svg"]), {"run": [str(run.pk) for run in found]})
    assert "KD 20 layers, CPU" in words(overlay)
    artifact = found[0].uses.get().artifact
    assert client.get(reverse("artifact_figure", args=[artifact.pk, "use", "png"])).content[:4] == b"\x89PNG"


def test_a_frame_shows_what_anybody_may_see(published, db, client, member):
    client.force_login(member)
    answer = client.get(f"{BASE}/embed/frontier/", {"scope": "student_only", "theme": "dark"})
    text = answer.content.decode()
    assert "frame-ancestors *" in answer["Content-Security-Policy"]
    assert "X-Frame-Options" not in answer and not answer.cookies and "Cookie" not in answer.get("Vary", "")
    assert f'href="http://testserver{BASE}/?scope=student_only"' in text
    assert 'src="data:image/svg+xml;base64,' in text and "<script" not in text
    page = client.get(BASE + "/", {"scope": "student_only"})
    assert "frame-ancestors 'none'" in page["Content-Security-Policy"] and page["X-Frame-Options"] == "DENY"
    assert f'src="http://testserver{BASE}/embed/frontier/?scope=student_only"' in page.content.decode()
    assert f'href="{BASE}/figures/frontier.png?scope=student_only&amp;theme=dark"' in page.content.decode()


def test_nothing_private_stands_in_a_frame(study, member, client):
    client.force_login(member)
    scenes.distilled_study(study)
    page = client.get(study.get_absolute_url()).content.decode()
    assert client.get(reverse("study_embed", args=[study.slug, "frontier"])).status_code == 404
    assert reverse("study_figure", args=[study.slug, "frontier", "svg"]) in page and "iframe" not in page
    client.logout()
    assert client.get(reverse("study_figure", args=[study.slug, "frontier", "svg"])).status_code == 404
