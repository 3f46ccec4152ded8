"""A worker's host has an idle baseline before its first job, and after that only when it no longer holds."""

import shutil
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from registry.models import Stage
from stagemeter import baseline, prerun
from stagemeter import environment as environments
from workers import execution


@pytest.fixture
def host(project, settings, tmp_path, monkeypatch):
    """`host()` prepares this host for a job; its profile."""
    settings.SPOOL_DIR, settings.PRERUN_SECONDS = tmp_path, 0.5
    monkeypatch.setattr(execution, "BURN_IN_S", 0.0)
    monkeypatch.setattr(execution, "_tried", set())
    ticket = SimpleNamespace(project=project)
    return lambda: execution._host(ticket, environments.collect(tmp_path))


def preruns():
    return Stage.objects.filter(kind="prerun").count()


def test_a_baseline_is_taken_once_booked_and_found_again(host, tmp_path):
    profile = host()
    assert preruns() == 1
    assert profile.idle_power_w == pytest.approx(10, abs=5)
    host()
    assert preruns() == 1
    shutil.rmtree(tmp_path / "hosts")  # as in a new container on the same machine
    host()
    assert preruns() == 1
    assert baseline.of_kind(tmp_path, simulated=False).record_id == profile.prerun["record_id"]


def test_a_baseline_from_before_the_machine_was_started_is_taken_anew(host, tmp_path):
    profile = host()
    taken = prerun.baseline_of(execution.hosts.kept_prerun(profile))
    stale = replace(taken, boot="another")
    baseline.save(tmp_path, stale)
    profile.prerun["extra"]["baseline"] = asdict(stale)
    profile.save()
    host()
    assert preruns() == 2


def test_a_prerun_that_cannot_begin_stops_no_job_and_is_not_tried_again(host, settings, tmp_path, caplog):
    (tmp_path / "file").touch()
    settings.SPOOL_DIR = tmp_path / "file"
    host()
    host()
    assert caplog.text.count("no idle baseline was taken") == 1
