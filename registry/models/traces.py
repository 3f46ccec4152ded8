"""Trace: where the power trace of a stage record lies, and its lines in figures."""

from django.db import models

from registry.models.stages import Stage


class Trace(models.Model):
    """A Parquet file beside one record; `registry.tracefile` says what is in it. Written once."""

    stage = models.OneToOneField(Stage, primary_key=True, on_delete=models.PROTECT, related_name="trace")
    storage_key = models.CharField(max_length=100, help_text="Opaque.")
    sha256 = models.CharField(max_length=64)
    bytes = models.BigIntegerField()
    lines = models.JSONField(help_text="One object per component and device, as tracefile.Line.")
    checks = models.JSONField(default=list, help_text="What the record claims beside it, as accounting.traced.Check.")
    sent_sha256 = models.CharField(max_length=64, blank=True, default="", help_text="Of the file as it was uploaded.")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"power trace of {self.stage_id}"
