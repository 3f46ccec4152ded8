"""The controls of a study's page: the view form with axes, prices and noise. Names and limits are `assumptions`'."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from frontend.forms import Values, ViewForm
from registry.accounting.assumptions import NUMBERS, WEIGHT, AssumptionError, Assumptions, parse
from registry.accounting.axes import CO2E, ENERGY, INFERENCE, MONEY, SUITE, TIME, WEIGHTED
from registry.accounting.comparability import DATASET, HARDWARE, SOFTWARE, TEACHER

COSTS = [
    (ENERGY, _("energy")),
    (CO2E, _("CO2e")),
    (MONEY, _("cost")),
    (TIME, _("wall time")),
    (INFERENCE, _("J/token at inference")),
]
COLOURS = [
    ("", _("pipeline")),
    (HARDWARE, _("hardware")),
    (SOFTWARE, _("software")),
    (DATASET, _("dataset")),
    (TEACHER, _("teacher")),
]
UNITS = [("student", _("student trained")), ("1000_tokens", _("1,000 tokens trained")), ("q_point", _("0.01 of Q"))]
BARS = [("", _("kWh")), ("percent", _("percent")), ("net", _("kWh net of idle"))]
LABELS: dict[str, tuple[Any, Any]] = {
    "price_kwh": (_("Price per kWh"), ""),
    "price_hour": (_("Price per device-hour"), _("Of a GPU, or of the host where there is none")),
    "embodied": (_("Embodied kg CO2e per device-hour"), _("The making of a device over the hours of its life")),
    "error": (_("Benchmark error, points"), _("Standard error where none is recorded: 1 of a hundred, 0.1 of ten")),
    "tolerance": (_("Tolerance for Q"), _("How much worse a substitute may be")),
    "share": (_("Attainable share of a GPU's peak"), _("Of the floor; else 0.5, and 0.4 below 2B parameters")),
    "tokens_per_day": (_("Tokens served a day"), ""),
    "j_student": (_("Student's J/token"), _("Your own for T*, in the place of what was measured")),
    "j_reference": (_("Replaced model's J/token"), _("Your own for T*, in the place of what was measured")),
    "ref_cost": (_("Reference cost"), _("Of the hypervolume; else the dearest point's")),
    "ref_quality": (_("Reference quality"), _("Of the hypervolume; else the worst point's")),
}


class AnalysisForm(ViewForm):
    """Every assumption of a study's page. Each combination is an address, with JavaScript or without."""

    cost = forms.ChoiceField(label=_("Minimise"), choices=COSTS, required=False)
    quality = forms.ChoiceField(label=_("Maximise"), required=False)
    colour = forms.ChoiceField(label=_("Colour by"), choices=COLOURS, required=False)
    bars = forms.ChoiceField(label=_("Stages in"), choices=BARS, required=False)
    unit = forms.ChoiceField(label=_("CO2e per"), choices=UNITS, required=False)

    # Chosen by a link beside what differs; here so that a change of the rest keeps them.
    software = forms.CharField(label=_("Software"), required=False, widget=forms.HiddenInput)
    dataset = forms.CharField(label=_("Dataset"), required=False, widget=forms.HiddenInput)
    teacher = forms.CharField(label=_("Teacher"), required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, suite: Sequence[str], students: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.suite = list(suite)
        self.fields["curve"] = forms.MultipleChoiceField(
            label=_("Sizes in the amortisation"),
            choices=[(student, student) for student in students],
            required=False,
            widget=forms.CheckboxSelectMultiple,
        )
        self.assumed: Assumptions | None = None
        qualities = [(SUITE, _("Q (suite's mean)")), (WEIGHTED, _("own weights")), *((b, b) for b in self.suite)]
        self.fields["quality"] = forms.ChoiceField(label=_("Maximise"), choices=qualities, required=False)
        for name, (label, text) in LABELS.items():
            _words, least, greatest = NUMBERS[name]
            self.fields[name] = _number(label, text, least, greatest)
        for benchmark in self.suite:
            self.fields[f"{WEIGHT}{benchmark}"] = _number(benchmark, "", 0, 1000)
            self.fields[f"{WEIGHT}{benchmark}"].widget.attrs |= {"placeholder": "1", "data-slider": "0 2 0.05"}
        self.fields["n"].widget.attrs["data-slider"] = "1 1000 log"

    def clean(self) -> Values:
        """The rules that REST has too; what they refuse is refused here at its field."""
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        factor = cleaned.get("grid")
        try:
            query = {name: str(value) for name, value in self.data.items()}
            self.assumed = parse(query, suite=self.suite, grid_kg_per_kwh=factor.value if factor else None)
        except AssumptionError as error:
            for name, problem in error.problems.items():
                self.add_error(name if name in self.fields else None, problem)
        return cleaned

    @property
    def weight_fields(self) -> list[forms.BoundField]:
        """The weights, in the suite's order."""
        return [self[f"{WEIGHT}{benchmark}"] for benchmark in self.suite]

    @property
    def assumptions(self) -> Values:
        """The view form's, with everything as `assumed`."""
        return super().assumptions | {
            "assumed": self.assumed,
            "curves": self.cleaned_data["curve"],
            **{n: self.cleaned_data.get(n) or "" for n in ("colour", "bars")},
        }


def _number(label: Any, text: Any, least: float, greatest: float) -> forms.FloatField:
    widget = forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"})
    return forms.FloatField(
        label=label, help_text=text, min_value=least, max_value=greatest, required=False, widget=widget
    )
