"""`manage.py tour`: queue the tour, on its own workload or on another one."""

from dataclasses import replace
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registry.accounting.presets import tour_runs
from registry.accounting.spec import RunSpec, SpecError
from registry.models import User
from registry.services import studies, tour
from registry.services.errors import ServiceError


class Command(BaseCommand):
    """Queues nothing where the study has runs already."""

    help = "Queue the tour. With --dataset and --study, the same six runs on another workload."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dataset", help="a dataset's id: local rows or a hub's")
        parser.add_argument("--study", default=tour.SLUG, help="slug of the study; made if need be")
        parser.add_argument("--train-rows", type=int)
        parser.add_argument("--evaluation-rows", type=int)
        parser.add_argument("--suite", help="benchmarks, separated by commas: those that the rows can answer")
        parser.add_argument("--max-length", type=int, help="tokens of prompt and answer together")
        parser.add_argument("--max-steps", type=int, help="the training budget of every run")
        parser.add_argument("--user", default="demo", help="who submits")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}; `make run` makes one, or name another: --user.")
        project = studies.ensure_project(slug="lab", name="Lab", public=True, admin=user)
        if options["dataset"] and options["study"] == tour.SLUG:
            raise CommandError("Another dataset needs a study of its own; name it: --study tour-gsm8k.")
        try:
            specs = tuple(_changed(spec, options) for spec in tour_runs())
            study, queued = tour.queue(actor=user, project=project, slug=options["study"], specs=specs)
        except (ServiceError, SpecError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{study.slug}: {len(queued)} runs queued, {study.runs.count()} in all")


def _changed(spec: RunSpec, options: dict[str, Any]) -> RunSpec:
    """The spec with what was given on the command line; what was not, stays the tour's."""
    given = {name: value for name, value in options.items() if value is not None}
    dataset = {"id": given["dataset"]} if "dataset" in given else {}
    dataset |= {name: given[name] for name in ("train_rows", "evaluation_rows", "max_length") if name in given}
    training = {name: given[name] for name in ("max_steps",) if name in given}
    suite = {"suite": tuple(given["suite"].split(","))} if "suite" in given else {}
    return replace(
        spec,
        dataset=replace(spec.dataset, **dataset),
        training=replace(spec.training, **training),
        evaluation=replace(spec.evaluation, **suite),
    )
