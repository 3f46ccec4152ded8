"""Searching by words and how they begin, over stored or indexed search vectors."""

import re
from uuid import UUID

from django.contrib.postgres.search import SearchQuery
from django.db.models import F, Func, QuerySet

from registry.models import Run

_WORD = re.compile(r"[^\W_]+")
RECENT, FEW, MOST = 2_000, 5_000, 1_000_000


def words_of(text: str) -> list[str]:
    """The words of what somebody typed, twenty at most."""
    return [word[:100] for word in _WORD.findall(text.replace("\x00", " "))[:20]]


def beginning(words: list[str]) -> SearchQuery:
    """Vectors that have, for each of these, a word that begins so."""
    return SearchQuery(" & ".join(f"{word}:*" for word in words), config="simple", search_type="raw")


def _ending(words: list[str]) -> SearchQuery:
    """As `beginning`, but only the last word may be begun: beginnings of common words are slow to intersect."""
    query = " & ".join([*words[:-1], f"{words[-1]}:*"])
    return SearchQuery(query, config="simple", search_type="raw")


def runs_matching(rows: QuerySet[Run], text: str, *, below: str, page: int) -> QuerySet[Run]:
    """Runs whose pipeline, student, teacher, workload or own name has the words of `text`; the last may be just begun.

    `below` is the key that the page begins under, `page` how many rows it has. Where the newest two thousand runs fill
    it, nothing older is looked at (the answer is good for that page alone); otherwise the index says which runs match
    at all. Either alone would sometimes read a million rows.
    """
    words = words_of(text)
    if not words:
        return rows.none() if text.strip() else rows
    query = _ending(words)
    key = _key(below)
    newest = (rows if key is None else rows.filter(pk__lt=key)).order_by("-pk").values_list("pk", flat=True)
    edge = list(newest[RECENT - 1 : RECENT])
    if edge:
        # Stripped, so that the planner reads the window and not the index over all.
        here = rows.alias(bare=Func(F("words"), function="strip")).filter(bare=query, pk__gte=edge[0])
        here = here if key is None else here.filter(pk__lt=key)
        if len(here.order_by("-pk").values_list("pk")[: page + 1]) > page:
            return here
    # Few are named by key, or the planner might walk a million rows to find them; many are met on the way.
    few = list(Run.objects.filter(words=query).order_by().values_list("pk", flat=True)[: FEW + 1])
    return rows.filter(pk__in=few) if len(few) <= FEW else rows.filter(words=query)


def _key(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
