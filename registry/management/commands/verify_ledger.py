"""`manage.py verify_ledger`: rebuild every derived figure from its records and compare."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from registry.services import verification


class Command(BaseCommand):
    help = "Compare summaries and production energies with their records; exit 1 with a list where they differ."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fix", action="store_true", help="rebuild the figures that differ")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        found = list(verification.differences())
        for difference in found:
            self.stdout.write(str(difference))
        if not found:
            self.stdout.write("Every figure is what its records give.")
            return
        left = [difference for difference in found if not (options["fix"] and verification.repair(difference))]
        if left:
            way_out = "these need a person: a record is never changed" if options["fix"] else "rebuild them with --fix"
            raise CommandError(f"{_count(left)} not what the records give; {way_out}.")
        self.stdout.write(f"{_count(found)} rebuilt now.")


def _count(found: list[verification.Difference]) -> str:
    return "1 figure is" if len(found) == 1 else f"{len(found)} figures are"
