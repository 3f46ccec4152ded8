"""What the published study shows: its claims, each with the verdict of its own tables."""

from collections import Counter
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from frontend.views.studies import study_of
from registry.accounting.claims import CONDITIONAL, HOLDS, UNSUPPORTED, VERDICTS
from registry.importers import paper
from registry.models import Study

WORDS = {
    HOLDS: _("holds"),
    CONDITIONAL: _("holds with a condition"),
    UNSUPPORTED: _("doesn't follow from its tables"),
}
TAGS = {HOLDS: "tag-good", CONDITIONAL: "tag-warn", UNSUPPORTED: "tag-failed"}


@require_safe
def claims(request: HttpRequest, slug: str) -> HttpResponse:
    """The ledger of claims; `?verdict=` keeps one kind."""
    study = study_of(request, slug)
    return render(request, "studies/claims.html", claims_of(study, request.GET.get("verdict", "")))


def claims_of(study: Study, asked: str) -> dict[str, Any]:
    """The claims of that verdict, or all; `Http404` for every other study and every other word."""
    if study.slug != paper.SLUG or asked not in ("", *VERDICTS):
        raise Http404
    found = paper.claims()
    counted = Counter(claim.verdict for claim in found)
    return {
        "study": study,
        "claims": [
            (claim, WORDS[claim.verdict], TAGS[claim.verdict]) for claim in found if asked in ("", claim.verdict)
        ],
        "counts": [(verdict, WORDS[verdict], counted[verdict]) for verdict in VERDICTS],
        "asked": asked,
        "total": len(found),
    }
