"""Searching by words and how they begin, over stored or indexed search vectors."""

import re
from uuid import UUID

from django.contrib.postgres.search import SearchQuery
from django.db import connection
from django.db.models import F, Func, QuerySet

from registry.models import Run, RunKind

_WORD = re.compile(r"[^\W_]+")
# Places of the words that no run's own name has; words of digits alone are not noted, so any name may have them.
_TELLING = """
SELECT place FROM unnest(%(words)s::text[]) WITH ORDINALITY given (typed, place),
LATERAL (SELECT tsvector_to_array(to_tsvector('simple', typed)) AS found) parsed,
LATERAL (SELECT found[1] AS begun, found[1] || CASE place WHEN %(last)s THEN chr(1114111) ELSE '' END AS ended) span
WHERE cardinality(found) = 1 AND begun !~ '^[0-9]+$'
AND NOT EXISTS (SELECT FROM registry_runnameword name WHERE name.word COLLATE "C" BETWEEN begun AND ended)
"""
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
    if _never_meet(words):
        return rows.none()
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


def _never_meet(words: list[str]) -> bool:
    """Whether no run has all of these, as far as a look at the few kinds of runs can tell.

    Words that some run's own name has, or may have, say nothing. Two common words that are on no run together take the
    index over all runs the longest.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TELLING, {"words": words, "last": len(words)})
        places = [place for (place,) in cursor.fetchall()]
    telling = [words[place - 1] + ":*" * (place == len(words)) for place in places]
    query = SearchQuery(" & ".join(telling), config="simple", search_type="raw")
    return bool(telling) and not RunKind.objects.filter(words=query).exists()


def _key(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
