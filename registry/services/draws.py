"""Draws that take longer than a page may: asked for by a page, made by the courier, kept in the cache."""

import logging
import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import AnonymousUser
from kombu.exceptions import OperationalError

from registry.accounting.assumptions import Assumptions
from registry.accounting.uncertainty import noise
from registry.celery import app
from registry.models import Run, Study
from registry.selectors import noises, outlook
from registry.selectors.figures import COLUMNS, figures_of
from registry.services.outbox import QUEUE

DRAW = "stagemeter.draw_noise"
AGAIN_AFTER_S = 60  # a courier that died is asked again

logger = logging.getLogger(__name__)


def ask(study: Study, view: outlook.StudyOutlook) -> None:
    """Have what is pending of this view drawn, unless somebody has asked already."""
    if not view.noise.pending or noises.asked(study, view.noise_key, AGAIN_AFTER_S):
        return
    try:
        app.send_task(DRAW, args=[str(study.pk), noises.as_json(view.assumed)], queue=QUEUE, retry=False)
    except OperationalError as error:
        logger.warning("the noise of %s is not drawn, the broker is away: %s", study.slug, error)


def draw(study_id: uuid.UUID, assumed: Mapping[str, Any]) -> None:
    """Draw the study as it is now, under these assumptions, and keep it."""
    study = Study.objects.filter(pk=study_id).first()
    if study is not None:
        _draw(study, noises.from_json(assumed))


def _draw(study: Study, assumed: Assumptions) -> None:
    runs = Run.objects.filter(study=study).students().select_related("summary").only(*COLUMNS).order_by("id")
    # Nobody's eyes: only names of artifacts depend on who looks.
    seen = outlook.of_study(study, list(figures_of(runs, AnonymousUser()).values()), assumed).seen
    key = noises.key_of(study, seen, assumed)
    if noises.found(study, key) is None:
        noises.keep(study, key, noise(seen, suite=study.suite, assumed_points=assumed.error_points))
