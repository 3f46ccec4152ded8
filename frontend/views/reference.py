"""What the published study shows: its claims, each with the verdict of its own tables."""

from collections import Counter

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from registry.accounting.claims import CONDITIONAL, HOLDS, UNSUPPORTED, VERDICTS
from registry.importers import paper
from registry.selectors import studies

WORDS = {
    HOLDS: _("holds"),
    CONDITIONAL: _("holds with a condition"),
    UNSUPPORTED: _("doesn't follow from its tables"),
}
TAGS = {HOLDS: "tag-good", CONDITIONAL: "tag-warn", UNSUPPORTED: "tag-failed"}


@require_safe
def claims(request: HttpRequest, slug: str) -> HttpResponse:
    """The ledger of claims; `?verdict=` keeps one kind."""
    study = studies.visible(request.user).filter(slug=slug).first()
    asked = request.GET.get("verdict", "")
    if study is None or study.slug != paper.SLUG or asked not in ("", *VERDICTS):
        raise Http404
    found = paper.claims()
    counted = Counter(claim.verdict for claim in found)
    context = {
        "study": study,
        "claims": [
            (claim, WORDS[claim.verdict], TAGS[claim.verdict]) for claim in found if asked in ("", claim.verdict)
        ],
        "counts": [(verdict, WORDS[verdict], counted[verdict]) for verdict in VERDICTS],
        "asked": asked,
        "total": len(found),
    }
    return render(request, "studies/claims.html", context)
