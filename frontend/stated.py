"""The assumptions of a view in words: what a figure or a report that leaves the house says of itself."""

from collections.abc import Iterable
from datetime import date
from typing import Any

from django import forms
from django.utils.translation import gettext as _

import stagemeter
from registry.accounting.assumptions import WEIGHT
from registry.accounting.axes import WEIGHTED

# Said even where nobody chose anything.
ALWAYS = ("cost", "quality", "scope")
# How it looks, or said elsewhere; N counts under one scope alone.
UNSAID = ("bars", "colour", "grid")


def assumptions(form: forms.Form) -> list[tuple[str, str]]:
    """Label and value of every control of a valid form that was set, and of the axes and the scope in any case."""
    given = form.cleaned_data
    said = [
        (str(field.label), _value(field, given.get(name)))
        for name, field in form.fields.items()
        if name not in UNSAID
        and not (name == "n" and given.get("scope") != "amortised")
        and not (name.startswith(WEIGHT) and given.get("quality") != WEIGHTED)
        and (given.get(name) not in (None, "", False, []) or name in ALWAYS)
    ]
    factor = given.get("grid")
    return [*said, *([(_("Grid"), f"{factor}, {factor.source}")] if factor else [])]


def _value(field: forms.Field, value: Any) -> str:
    if isinstance(field, forms.ChoiceField):
        choices: Iterable[tuple[Any, Any]] = field.widget.choices
        words = {str(key): str(name) for key, name in choices}
        if isinstance(value, list):
            return ", ".join(words.get(str(one), str(one)) for one in value)
        return words.get(str(value or ""), "") or next(iter(words.values()))
    if isinstance(value, bool):
        return _("yes")
    return f"{value:g}" if isinstance(value, float) else str(value)


def notes(form: forms.Form | None, *, address: str, today: date, simulated: bool = False) -> list[str]:
    """The lines under a figure: assumptions, what it is a bound of, where it comes from and when."""
    said = assumptions(form) if form is not None else []
    return [
        *([" · ".join(f"{label}: {value}" for label, value in said)] if said else []),
        *([_("SIMULATED: energy from a simulated meter, not from hardware.")] if simulated else []),
        _("Operational energy of the metered parts: a lower bound of the life-cycle cost."),
        f"{address} · {today.isoformat()} · Stagemeter {stagemeter.__version__}",
    ]
