"""A study as one HTML file: whole, its reader's view, and without a network."""

import re
from html.parser import HTMLParser

import pytest
from django.urls import reverse

from registry.importers import paper
from tests import scenes
from tests.frontend.test_study_pages import sweep

ADDRESS = f"/studies/{paper.SLUG}/report.html"
# What makes a browser fetch something; links are followed by people alone.
FETCHING = {"src", "srcset", "data", "poster", "background", "action", "formaction", "hx-get", "hx-post"}
# Every section of the page, and what the page has elsewhere.
SECTIONS = ("assumptions", "points", "breakdown", "floor", "break-even", "amortised", "comparability", "runs", "cite")


class Parts(HTMLParser):
    """Tags, ids, fetched addresses and links of a document."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.fetched, self.links = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.fetched += [value for name, value in attrs if name in FETCHING]
        (self.fetched if tag == "link" else self.links).extend([given["href"]] if "href" in given else [])


@pytest.fixture(scope="module")
def published(module_db):
    """The study, loaded once for this module."""
    return paper.load()


def test_it_holds_everything_and_fetches_nothing(published, db, client):
    answer = client.get(ADDRESS, {"scope": "amortised", "n": "4", "error": "1"})
    text = answer.content.decode()
    parts = Parts(text)
    assert set(SECTIONS) <= set(parts.ids) and len(parts.ids) == len(set(parts.ids))
    assert parts.tags.count("img") == 4 and not {"script", "iframe", "form", "object"} & set(parts.tags)
    assert all(address.startswith("data:") for address in parts.fetched)
    assert all(re.match("http://testserver/|https?://[a-z.]+/|#", link) for link in parts.links), parts.links
    assert "url(" not in text and "@import" not in text and "default-src &#x27;none&#x27;" in text
    assert answer["Content-Disposition"] == f'attachment; filename="{paper.SLUG}-report.html"'


def test_it_says_under_which_assumptions_and_whence(published, db, client):
    text = client.get(ADDRESS, {"scope": "amortised", "n": "4", "error": "1"}).content.decode()
    assert "amortised: the teacher ÷ N" in text and "Benchmark error, points" in text
    assert f"http://testserver/studies/{paper.SLUG}/?scope=amortised&amp;n=4&amp;error=1" in text
    assert f"@misc{{{paper.SLUG}," in text and "not decided" in text


def test_what_people_wrote_stays_text(study, member, client):
    study.name = study.description = study.citation = '<script>alert(1)</script>" href="/x'
    study.save()
    sweep(study)
    client.force_login(member)
    answer = client.get(reverse("study_report", args=[study.slug]))
    parts = Parts(answer.content.decode())
    assert "script" not in parts.tags and "/x" not in parts.links
    assert "setting" in answer.content.decode() and parts.tags.count("img") == 3  # frontier, stages and the setting


def test_a_study_without_runs_has_a_report_too(study, member, client):
    client.force_login(member)
    assert client.get(reverse("study_report", args=[study.slug])).status_code == 200


def test_strangers_get_none_and_bad_assumptions_are_refused(study, stranger, member, client):
    scenes.add_reference(study)
    client.force_login(stranger)
    assert client.get(reverse("study_report", args=[study.slug])).status_code == 404
    client.force_login(member)
    refused = client.get(reverse("study_report", args=[study.slug]), {"pue": "0"})
    assert refused.status_code == 400 and "pue" in refused.json()["errors"]
