"""Artifacts found by words and facets, sorted, a page at a time.

Everything runs over indexes: words by a GIN index, each order by an index of its own, each page below the last row of
the one before. What is counted for the facets is bounded, so that a million artifacts cost no more than some thousands.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import F, Func, OuterRef, Q, QuerySet, Subquery

from registry.models import SEARCHED, Artifact, ArtifactUse, Run, Words
from registry.selectors.figures import Reader
from registry.selectors.words import beginning, words_of

PAGE = 50
FACET_VALUES = 8
COUNTED = 5_000  # the newest so many that match; beyond it a facet says "or more"
# facet → column, in the order in which they are shown
FACETS = {
    "kind": "kind",
    "status": "status",
    "teacher": "teacher",
    "dataset": "dataset",
    "licence": "licence",
    "project": "project__slug",
}
# sort → (column, falling); `None` follows the key, which follows the clock
SORTS: dict[str, tuple[str | None, bool]] = {
    "newest": (None, True),
    "oldest": (None, False),
    "energy": ("production_energy_j", True),
    "size": ("bytes", True),
    "name": ("name", False),
}
_FINGERPRINT = re.compile(r"[0-9a-f]{8,64}")


class SearchError(ValueError):
    """A filter or page key that is none; the message names it."""


@dataclass(frozen=True, kw_only=True)
class FacetValue:
    """One value of a facet: how many of what matches otherwise have it, and whether it is asked for."""

    value: str
    count: int
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Facet:
    """A facet's most frequent values, over what the other filters leave. `bounded`: only the newest were counted."""

    name: str
    values: tuple[FacetValue, ...]
    bounded: bool


@dataclass(frozen=True, kw_only=True)
class Results:
    """One page. `after` is the key of the next one, empty on the last. `total`: how many match, at most `COUNTED`."""

    rows: tuple[Artifact, ...]
    facets: tuple[Facet, ...]
    after: str
    sort: str
    total: int

    @property
    def bounded(self) -> bool:
        """Whether there may be more than `total`."""
        return self.total >= COUNTED


def matching(rows: QuerySet[Artifact], text: str) -> QuerySet[Artifact]:
    """Rows that have a word beginning with each word of `text` in name, kind, teacher, dataset or licence.

    Eight hex digits or more may also begin a fingerprint.
    """
    words = words_of(text)
    if not words:
        return rows.none() if text.strip() else rows
    wanted = Q(words=beginning(words))
    if len(words) == 1 and _FINGERPRINT.fullmatch(words[0].lower()):
        wanted |= Q(fingerprint__startswith=words[0].lower())
    return rows.alias(words=Words(*SEARCHED)).filter(wanted)


def search(user: Reader, asked: Mapping[str, str]) -> Results:
    """The page that `asked` names by q, sort, after and the facets. Raises `SearchError`."""
    sort = asked.get("sort") or "newest"
    if sort not in SORTS:
        raise SearchError(f"sort: {sort[:40]!r} is not one of {', '.join(SORTS)}")
    chosen = _facets_asked(asked)
    seen: QuerySet[Artifact] = Artifact.objects.visible_to(user)
    found = matching(seen, asked.get("q", ""))
    rows = _page(_chosen(found, chosen), sort, asked.get("after", ""))
    more = len(rows) > PAGE
    of_all = _newest(_chosen(found, chosen), list(FACETS))
    return Results(
        rows=tuple(rows[:PAGE]),
        facets=_facets(found, chosen, of_all),
        after=_key_after(rows[PAGE - 1], sort) if more else "",
        sort=sort,
        total=len(of_all),
    )


def everything(user: Reader, asked: Mapping[str, str]) -> Iterator[Artifact]:
    """Every artifact that q and the facets of `asked` leave, newest first. Raises `SearchError`."""
    seen: QuerySet[Artifact] = Artifact.objects.visible_to(user)
    found = _chosen(matching(seen, asked.get("q", "")), _facets_asked(asked))
    return _listed(found).order_by("-id").iterator(chunk_size=1000)


def _facets_asked(asked: Mapping[str, str]) -> dict[str, str]:
    chosen = {name: asked[name] for name in FACETS if asked.get(name)}
    for name, known in (("kind", Artifact.Kind.values), ("status", Artifact.Status.values)):
        if chosen.get(name, known[0]) not in known:
            raise SearchError(f"{name}: {chosen[name][:40]!r} is not one of {', '.join(known)}")
    return chosen


def _chosen(rows: QuerySet[Artifact], chosen: Mapping[str, str]) -> QuerySet[Artifact]:
    return rows.filter(**{FACETS[name]: value for name, value in chosen.items()})


def _page(rows: QuerySet[Artifact], sort: str, after: str) -> list[Artifact]:
    column, falling = SORTS[sort]
    sign = "-" if falling else ""
    order = [f"{sign}{column}", f"{sign}id"] if column else [f"{sign}id"]
    if column:
        rows = rows.filter(**{f"{column}__isnull": False})
    rows = rows.filter(_below(sort, after)) if after else rows
    return list(_listed(rows).order_by(*order)[: PAGE + 1])


def _listed(rows: QuerySet[Artifact]) -> QuerySet[Artifact]:
    shown = rows.select_related("project", "rows").defer("identity", "manifest", "meta", "rows__digests", "rows__keys")
    return shown.annotate(finished_uses=_finished_uses())


def _finished_uses() -> Subquery:
    """Distinct finished runs that used each; counted for the rows of the page alone."""
    uses = ArtifactUse.objects.filter(artifact=OuterRef("pk"), run__status=Run.Status.FINISHED).order_by()
    return Subquery(uses.annotate(n=Func(F("run"), function="COUNT")).values("n"))


def _below(sort: str, after: str) -> Q:
    """What comes after that key: a range of the index first, then the row in it."""
    column, falling = SORTS[sort]
    than = "lt" if falling else "gt"
    text, _, key = after.rpartition("~")
    try:
        row = UUID(key)
        value = _value(column, text)
    except ValueError as error:
        raise SearchError(f"after: {after[:80]!r} is no key of a page; follow its links") from error
    if column is None:
        return Q(**{f"pk__{than}": row})
    here = Q(**{f"{column}__{than}": value}) | Q(**{f"pk__{than}": row})
    return Q(**{f"{column}__{than}e": value}) & here


def _value(column: str | None, text: str) -> Any:
    if column == "bytes":
        return int(text)
    if column == "production_energy_j":
        return float(text)
    return text


def _key_after(row: Artifact, sort: str) -> str:
    column, _ = SORTS[sort]
    value = getattr(row, column) if column else ""
    return f"{value!r}~{row.pk}" if isinstance(value, float) else f"{value}~{row.pk}"


def _facets(found: QuerySet[Artifact], chosen: Mapping[str, str], of_all: list[tuple[str, ...]]) -> tuple[Facet, ...]:
    """Each counted over what the other filters leave, so that the values one could change to are shown too.

    Facets that nothing was chosen of leave the same rows, which are read once: `of_all`.
    """
    facets = []
    for place, name in enumerate(FACETS):
        if name in chosen:
            others = {other: value for other, value in chosen.items() if other != name}
            values = [row[0] for row in _newest(_chosen(found, others), [name])]
        else:
            values = [row[place] for row in of_all]
        facets.append(_facet(name, values, chosen.get(name, "")))
    return tuple(facets)


def _newest(rows: QuerySet[Artifact], names: list[str]) -> list[tuple[str, ...]]:
    return list(rows.order_by("-id").values_list(*(FACETS[name] for name in names))[:COUNTED])


def _facet(name: str, values: list[str], chosen: str) -> Facet:
    counts = Counter(values)
    named = sorted(((value, n) for value, n in counts.items() if value), key=lambda pair: (-pair[1], pair[0]))
    shown = named[:FACET_VALUES] + [pair for pair in named[FACET_VALUES:] if pair[0] == chosen]
    facet_values = tuple(FacetValue(value=value, count=n, chosen=value == chosen) for value, n in shown)
    return Facet(name=name, values=facet_values, bounded=len(values) >= COUNTED)
