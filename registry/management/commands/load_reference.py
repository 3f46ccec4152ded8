"""`manage.py load_reference`: the published study and the dated factors, loaded or completed."""

from typing import Any

from django.core.management.base import BaseCommand

from registry.importers import factors, paper


class Command(BaseCommand):
    """Idempotent: what is there already is left alone."""

    help = "Load the study of arXiv:2605.13981 and the dated grid factors."

    def handle(self, *args: Any, **options: Any) -> None:
        study = paper.load()
        added = factors.load()
        self.stdout.write(f"{study.slug}: {study.runs.students().count()} runs; {added} factors added")
