"""The tour: a study of real runs that is queued once and fits a laptop."""

from django.db import transaction

from registry.accounting.presets import tour_runs
from registry.accounting.spec import RunSpec
from registry.models import Project, Run, Study, User
from registry.services import runs, studies

SLUG = "tour"
DESCRIPTION = (
    "SmolLM2-135M-Instruct teaches two students cut out of itself, 20 and 12 of its 30 layers, by three pipelines. "
    "Every stage is metered on the machine that runs it. The second student of kd reuses the first one's logit cache, "
    "as the second of synthetic_sft does the dataset."
)


@transaction.atomic
def queue(
    *, actor: User, project: Project, slug: str = SLUG, specs: tuple[RunSpec, ...] | None = None
) -> tuple[Study, list[Run]]:
    """The tour's study, and the runs queued by this call: all of them, or none where the study has runs already."""
    wanted = tour_runs() if specs is None else specs
    study = Study.objects.filter(slug=slug).first() or studies.create_study(
        actor=actor,
        project=project,
        slug=slug,
        name="The tour" if slug == SLUG else f"The tour, {wanted[0].dataset.id}",
        suite=list(wanted[0].evaluation.suite),
        description=DESCRIPTION,
    )
    # Locked, so that two starts at once queue it once.
    study = Study.objects.select_for_update().get(pk=study.pk)
    if study.runs.exists():
        return study, []
    return study, [runs.submit(actor=actor, study=study, spec=spec) for spec in wanted]
