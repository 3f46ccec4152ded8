"""How figures are written for people: the unit beside the number, and "not measured" where there is none."""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from frontend import sparkline as drawn
from frontend.sparkline import Sparkline, sparkline
from registry.accounting.frontier import Placement
from registry.accounting.units import JOULES_PER_KWH
from registry.models import Run, Stage
from registry.tables import FORMATS

register = template.Library()
UNITS: Mapping[str, float] = {"kWh": JOULES_PER_KWH, "Wh": JOULES_PER_KWH / 1000, "J": 1.0}
NAMES = {
    "sft": "SFT",
    "kd": "KD",
    "synthetic_sft": "synthetic SFT",
    "teacher_reference": "teacher reference",
    "gpu": "GPU",
    "cpu": "CPU",
    "ram": "RAM",
}


def digits(value: float) -> str:
    """Three or four significant digits, however large or small."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.1f}"
    if size >= 1 or value == 0:
        return f"{value:.2f}"
    return f"{value:.3f}" if size >= 0.1 else f"{value:.3g}"


def nothing(text: str = "") -> SafeString:
    """The mark for a figure that is not there."""
    return format_html('<span class="none">{}</span>', text or _("not measured"))


def present(value: object) -> TypeGuard[float]:
    """Whether there is a figure: not `None`, nor the empty text a template has for what is not there at all."""
    return value is not None and value != ""


def figure(number: str, unit: str = "") -> SafeString:
    """A number that lines up with those above and below it, its unit smaller."""
    if not unit:
        return format_html('<span class="num">{}</span>', number)
    return format_html('<span class="num">{}<span class="unit">&nbsp;{}</span></span>', number, unit)


@register.filter
def si(value: float | None) -> SafeString:
    """A large number with the prefix of the SI before its unit: 1.23 T."""
    if not present(value):
        return nothing()
    size, prefix = next(
        ((s, p) for s, p in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")) if value >= s), (1.0, "")
    )
    return figure(digits(value / size), prefix)


@register.filter
def energy(joules: float | None, unit: str = "") -> SafeString:
    """Joules as kWh, Wh or J, whichever reads best, or in the unit named."""
    if not present(joules):
        return nothing()
    chosen = unit or unit_for(joules)
    return figure(digits(joules / UNITS[chosen]), chosen)


def unit_for(joules: float) -> str:
    """kWh from a tenth of one on, Wh from a tenth of one on, else J."""
    return next((unit for unit, size in UNITS.items() if abs(joules) >= size / 10), "J")


@register.filter
def in_unit(joules: float | None, unit: str) -> SafeString:
    """Joules in kWh, Wh or J without the unit, for a column that names it."""
    return figure(digits(joules / UNITS[unit])) if present(joules) else nothing()


@register.filter
def scaled(value: float | None, scale: float) -> SafeString:
    """A figure in the unit of its column: times `scale`."""
    return figure(digits(value * scale)) if present(value) else nothing(_("not known"))


@register.filter
def scaled_more(value: float | None, scale: float) -> SafeString:
    """A difference in the unit of its column, with its sign."""
    return figure(f"{'+' if value >= 0 else '−'}{digits(abs(value) * scale)}") if present(value) else nothing()


@register.filter
def bound(record: Stage, side: str) -> SafeString:
    """The `lower` or `upper` bound of a record's total; a dash where a component has none."""
    bounds = [getattr(record, f"{name}_energy_{side}_j") for name in record.components]
    if any(value is None for value in bounds):
        return format_html('<span class="muted">{}</span>', "–")
    return energy(sum(bounds))


@register.filter
def by_component(record: Stage) -> list[dict[str, Any]]:
    """Of each component that the record expects: name, joules, lower and upper bound in joules, and how it was got."""
    return [
        {"name": name, "method": getattr(record, f"{name}_method")}
        | {side or "value": getattr(record, f"{name}_energy_{side}{side and '_'}j") for side in ("", "lower", "upper")}
        for name in record.components
    ]


@register.filter
def merged(flags: list[dict[str, str]]) -> list[dict[str, str]]:
    """Flags with each code once, its messages one after the other."""
    messages: dict[str, list[str]] = {}
    for flag in flags:
        messages.setdefault(flag["code"], []).append(flag.get("message", ""))
    return [{"code": code, "message": " ".join(dict.fromkeys(said))} for code, said in messages.items()]


@register.filter
def bare(value: float | None) -> SafeString:
    """A number without a unit, such as Q."""
    return figure(digits(value)) if present(value) else nothing()


@register.filter
def quality(value: float | None) -> SafeString:
    """Q or a score, to three decimals."""
    return figure(f"{value:.3f}") if present(value) else nothing()


@register.filter
def signed(value: float | None) -> SafeString:
    """A difference with its sign."""
    return figure(f"{value:+.3f}") if present(value) else nothing()


@register.filter
def watts(value: float | None) -> SafeString:
    """Power."""
    return figure(digits(value), "W") if present(value) else nothing()


@register.filter
def mass(kilograms: float | None) -> SafeString:
    """CO2e in kg, or in g below a tenth of one."""
    if not present(kilograms):
        return nothing()
    return figure(digits(kilograms), "kg") if kilograms >= 0.1 else figure(digits(kilograms * 1000), "g")


@register.filter
def count(value: float | None) -> SafeString:
    """A whole number with its thousands apart."""
    return figure(f"{value:,.0f}") if present(value) else nothing(_("not counted"))


@register.filter
def seconds(value: float | None) -> SafeString:
    """A duration: 42.0 s, 3 min 20 s, 5 h 12 min."""
    if not present(value) or value == 0:
        return nothing(_("not stated"))
    if value < 60:
        return figure(f"{value:.1f}", "s")
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return format_html("{} {}", figure(str(minutes), "min"), figure(str(rest), "s"))
    hours, minutes = divmod(minutes, 60)
    return format_html("{} {}", figure(f"{hours:,}", "h"), figure(str(minutes), "min"))


@register.filter
def percent(value: float | None) -> SafeString:
    """A share as a percentage."""
    return figure(f"{100 * value:.1f}", "%") if present(value) else nothing()


@register.filter
def words(name: str) -> str:
    """A kind, role or pipeline as a person says it."""
    return NAMES.get(name, name.replace("_", " "))


@register.filter
def called(run: Run) -> str:
    """A run as a person says it: its pipeline and its student."""
    return f"{words(run.pipeline)} {run.student_size or run.student}"


@register.filter
def short(text: object) -> str:
    """The first eight characters of a key, or the last ones of a UUIDv7, whose beginning is the clock."""
    value = str(text)
    return value[-8:] if value.count("-") == 4 else value[:8]


@register.filter
def listed(value: Any) -> str:
    """A value, or several with commas between them; numbers without a needless point."""
    if isinstance(value, list | tuple):
        return ", ".join(map(listed, value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


@register.filter
def pretty(value: Any) -> str:
    """JSON, indented."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False)


@register.filter
def flat(value: Any) -> list[tuple[str, str]]:
    """Nested JSON as (dotted name, text) rows; none where `value` is no object."""
    rows: list[tuple[str, str]] = []
    if not isinstance(value, Mapping):
        return rows
    for key, item in value.items():
        if isinstance(item, Mapping):
            rows += [(f"{key}.{name}", text) for name, text in flat(item)]
        else:
            rows.append((str(key), _plain(item)))
    return rows


def _plain(item: Any) -> str:
    if isinstance(item, list):
        return ", ".join(_listed(part) for part in item) or "none"
    if isinstance(item, float):
        return _listed(item)
    if isinstance(item, bool):
        return "yes" if item else "no"
    return "not stated" if item is None else str(item) or "–"


def _listed(part: Any) -> str:
    """One item of a list: a GPU, say, as its facts side by side."""
    if isinstance(part, Mapping):
        return " · ".join(f"{name} {value}" for name, value in part.items())
    return f"{part:.15g}" if isinstance(part, float) else str(part)


@register.filter
def get(mapping: Mapping[str, Any], key: str) -> Any:
    """The value under a key that a template holds in a variable."""
    return mapping.get(key)


@register.filter
def summed(parts: Mapping[str, Any] | None, name: str) -> float | None:
    """The sum of one figure over parts by role; `None` as soon as one is, or without any."""
    values = [getattr(part, name) for part in (parts or {}).values()]
    known = [value for value in values if value is not None]
    return math.fsum(known) if known and len(known) == len(values) else None


@register.filter
def ld_json(document: Any) -> SafeString:
    """JSON-LD for machines that read the page; no text in it can end the element."""
    text = json.dumps(document, ensure_ascii=False)
    for character, escape in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(character, escape)
    return format_html('<script type="application/ld+json">{}</script>', SafeString(text))


@register.simple_tag(takes_context=True)
def set_in_query(context: Any, name: str, value: str) -> str:
    """The address of this page with one choice more, from its first page on."""
    query = context["request"].GET.copy()
    query.pop("after", None)
    query[name] = value
    return f"?{query.urlencode()}"


@register.simple_tag(takes_context=True)
def unset_in_query(context: Any, name: str) -> str:
    """The address of this page with that choice taken back, from its first page on."""
    query = context["request"].GET.copy()
    for gone in ("after", name):
        query.pop(gone, None)
    return f"?{query.urlencode()}" if query else "?"


@register.simple_tag
def runs_count(number: int) -> str:
    """So many runs, in words."""
    return ngettext("%(n)d run", "%(n)d runs", number) % {"n": number}


@register.inclusion_tag("forms/_field.html")
def field(form: Any, name: str) -> dict[str, Any]:
    """One form field with label, help and its errors beside it."""
    return {"field": form[name]}


def _page_of(context: Any) -> tuple[str, Any, list[Any], str]:
    """What this page is of: its word in the names of addresses, the object, their arguments, the view's parameters."""
    page = next((page for page in ("study", "run", "artifact") if page in context), "compare")
    of = context.get(page)
    args = [] if of is None else [of.slug if page == "study" else of.pk]
    query = context["query"] if "query" in context else context["request"].GET.urlencode()
    return page, of, args, query


@register.inclusion_tag("tables/_links.html", takes_context=True)
def table_links(context: Any, name: str) -> dict[str, Any]:
    """The table of that name as files, under the parameters of this view; nothing in print."""
    page, _of, args, query = _page_of(context)
    named = [*args, name] if args else []
    lie_at = {form: reverse(f"{page}_table", args=[*named, form]) for form in FORMATS}
    return {"lie_at": {} if "in_print" in context else lie_at, "query": query}


@register.inclusion_tag("charts/_links.html", takes_context=True)
def chart_links(context: Any, name: str) -> dict[str, Any]:
    """A chart as files, and the frame for other pages where anybody may see it, under the parameters of this view."""
    page, of, args, query = _page_of(context)
    lies_at = {form: reverse(f"{page}_figure", args=[*args, name, form]) for form in ("svg", "png")}
    links = {"name": name, "query": query, "lies_at": lies_at, "frame": ""}
    if of is not None and of.project.public and "request" in context:
        path = reverse(f"{page}_embed", args=[*args, name])
        links["frame"] = context["request"].build_absolute_uri(f"{path}?{query}" if query else path)
    return links


@register.inclusion_tag("studies/_sparkline.html")
def small_frontier(placements: tuple[Placement, ...]) -> dict[str, Sparkline | None]:
    """A frontier without axes, drawn without JavaScript."""
    return {"line": sparkline(placements)}


@register.simple_tag
def power_line(curve: list[list[float]] | None) -> str:
    """The polyline of a running stage's power curve; empty while there is none."""
    return drawn.power_line(curve or [])
