"""verify_ledger: derived figures against their records."""

import io

import pytest
from django.core.management import CommandError, call_command

from registry.importers import paper
from registry.models import Artifact, RunSummary


@pytest.fixture(scope="module")
def loaded(module_db):
    """The published study, loaded once for this module."""
    return paper.load()


def _verify(*flags: str) -> str:
    out = io.StringIO()
    call_command("verify_ledger", *flags, stdout=out)
    return out.getvalue()


def test_a_ledger_that_was_only_written_through_services_verifies(loaded, db):
    assert "Every figure is what its records give" in _verify()


def test_a_summary_that_was_tampered_with_is_named_and_fails(loaded, db):
    summary = RunSummary.objects.filter(run__pipeline="kd").first()
    RunSummary.objects.filter(pk=summary.pk).update(student_energy_j=1.0, quality=0.5)
    out = io.StringIO()
    with pytest.raises(CommandError, match="2 figures are not"):
        call_command("verify_ledger", stdout=out)
    assert f"run {summary.pk}: student_energy_j is 1.0, its records give {summary.student_energy_j!r}" in out.getvalue()


def test_production_energy_that_was_tampered_with_is_rebuilt_by_fix(loaded, db):
    cache = Artifact.objects.get(kind="logit_cache")
    Artifact.objects.filter(pk=cache.pk).update(production_energy_j=None)
    assert "1 figure is rebuilt" in _verify("--fix")
    assert "Every figure" in _verify()
    cache.refresh_from_db()
    assert cache.production_energy_j == 11 * 3_600_000


def test_a_summary_that_is_missing_is_rebuilt_by_fix(loaded, db):
    RunSummary.objects.filter(run__pipeline="sft").delete()
    with pytest.raises(CommandError, match="3 figures are not"):
        _verify()
    _verify("--fix")
    assert "Every figure" in _verify()
