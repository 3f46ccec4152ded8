"""Dated factors: from the source they name, added once."""

import csv
import importlib.util
import json
from pathlib import Path

import pytest

from registry.importers import factors
from registry.models import Factor
from registry.services.errors import Invalid
from registry.services.factors import ensure_factors


def test_factors_are_dated_and_name_their_source(db):
    assert factors.load() > 200
    france = Factor.objects.get(kind="grid", region="France")
    assert (france.value, france.valid_from.year) == (pytest.approx(0.056039), 2023)
    assert "Our World in Data" in france.source
    assert Factor.objects.get(kind="grid", region="World").value == 0.475


def test_loading_factors_twice_adds_none(db):
    factors.load()
    assert factors.load() == 0


def test_the_committed_factors_are_those_of_the_package_they_name():
    package = Path(importlib.util.find_spec("codecarbon").origin).parent
    theirs = json.loads((package / "data/private_infra/global_energy_mix.json").read_text())
    with factors.FILE.open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            assert theirs[row["iso_code"]]["carbon_intensity"] == float(row["g_per_kwh"])
            assert theirs[row["iso_code"]]["year"] == int(row["year"])


def test_a_pue_below_one_is_refused(db):
    from datetime import date

    with pytest.raises(Invalid):
        ensure_factors(kind="pue", values={"too good": 0.9}, source="nobody", valid_from=date(2024, 1, 1))
