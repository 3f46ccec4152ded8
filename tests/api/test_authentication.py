"""Who is calling."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from registry.models import ApiToken
from tests.api.conftest import Caller, wire

BAD_TOKENS = [
    "Token",
    "Token x",
    "Token a b",
    "Token " + "0" * 64,
    "Token \xff\xfe",
    "Token \x00" + "0" * 63,
    "Token é",
]


@pytest.mark.parametrize("header", BAD_TOKENS)
def test_what_is_no_token_is_refused_with_401_however_it_is_spelt(db, header):
    response = Caller({"HTTP_AUTHORIZATION": header}).get("studies/")
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Token"
    assert response.json()["error"]["code"] == "authentication_failed"


def test_an_expired_token_is_refused(member, api):
    ApiToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert api.get("studies/").status_code == 401


def test_a_token_of_an_account_that_was_closed_is_refused(member, api):
    member.is_active = False
    member.save()
    assert api.get("studies/").status_code == 401


def test_using_a_token_notes_when(member, api):
    assert ApiToken.objects.get().last_used_at is None
    api.get("studies/")
    assert ApiToken.objects.get().last_used_at is not None


def test_only_a_digest_of_the_token_is_stored(member, token_for):
    secret = token_for(member)["HTTP_AUTHORIZATION"].removeprefix("Token ")
    row = ApiToken.objects.get()
    assert secret not in (row.digest, row.token_key)
    assert len(row.token_key) < len(secret) / 2


def test_a_write_without_a_login_is_refused_with_401(project, anonymous):
    assert anonymous.post("stage-records/", wire()).status_code == 401


def test_issue_token_prints_a_token_that_works(member, capsys):
    call_command("issue_token", member.username)
    secret = capsys.readouterr().out.strip()
    assert Caller({"HTTP_AUTHORIZATION": f"Token {secret}"}).post("stage-records/", wire()).status_code == 201


def test_issue_token_takes_scopes_a_project_and_a_lifetime(member, project, capsys):
    call_command("issue_token", member.username, scopes="read,upload", project=project.slug, days=0, name="node 7")
    row = ApiToken.objects.get()
    assert (row.scopes, row.project, row.expiry, row.name) == (["read", "upload"], project, None, "node 7")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"user": "nobody"}, "There is no user 'nobody'"),
        ({"project": "none-such"}, "There is no project 'none-such'"),
        ({"scopes": "root"}, "must be some of read, upload, submit, manage"),
        ({"days": -1}, "lies in the past"),
    ],
)
def test_issue_token_says_what_it_cannot_do(member, options, sentence):
    options = {"user": member.username} | options
    with pytest.raises(CommandError, match=sentence):
        call_command("issue_token", options.pop("user"), **options)
    assert not ApiToken.objects.exists()
