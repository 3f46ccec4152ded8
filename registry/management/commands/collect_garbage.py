"""Clear away what lies in the artifact storage and belongs to nothing."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from registry.services import garbage
from registry.services.quotas import words


class Command(BaseCommand):
    help = (
        "Clear away uploads that never finished and files that no row names. --dry-run only says what would go. "
        "With --withdrawn, the files of withdrawn, corrupt and failed artifacts go too; their rows stay in the books."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="change nothing")
        parser.add_argument("--hours", type=float, default=24.0, help="keep what is younger (24)")
        parser.add_argument("--withdrawn", action="store_true", help="files of artifacts out of reuse as well")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 <= options["hours"] < 24 * 365 * 100:
            raise CommandError(f"--hours {options['hours']} must be between 0 and a hundred years")
        before, dry_run = timezone.now() - timedelta(hours=options["hours"]), options["dry_run"]
        if options["withdrawn"]:
            for artifact in garbage.give_up_withdrawn(before=before, dry_run=dry_run):
                self.stdout.write(f"{artifact.status} artifact {artifact.pk} ({artifact}): its files")
        count = size = 0
        for found in garbage.collect(before=before, dry_run=dry_run):
            self.stdout.write(f"{found.key}/{found.name}: {found.why}, {words(found.bytes)}")
            count, size = count + 1, size + found.bytes
        verb = "would be cleared away" if dry_run else "cleared away"
        self.stdout.write(f"{count} things, {words(size)}, {verb}.")
