"""Hosts that measured, and dated factors."""

from django.db import models

from registry.models.base import Owned


class HostProfile(Owned):
    """A host by its class, never by its name: what it is made of and what it burns when idle."""

    key = models.CharField(max_length=64, unique=True, help_text="Digest of the machine's own id.")
    hardware_class = models.CharField(max_length=200)
    environment = models.JSONField(default=dict)
    idle_power_w = models.FloatField(null=True)
    prerun = models.JSONField(default=dict, help_text="The last prerun's record.")
    seen_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.hardware_class


class Factor(models.Model):
    """A dated factor with its source. Changing one recomputes views, never records."""

    class Kind(models.TextChoices):
        """Grid intensity in kg CO2e per kWh, or a dimensionless PUE."""

        GRID = "grid", "grid intensity"
        PUE = "pue", "power usage effectiveness"

    project = models.ForeignKey("registry.Project", null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    region = models.CharField(max_length=100)
    value = models.FloatField()
    source = models.CharField(max_length=500)
    valid_from = models.DateField()

    class Meta:
        ordering = ["kind", "region", "-valid_from"]
        constraints = [
            models.UniqueConstraint(fields=["project", "kind", "region", "valid_from"], name="one_factor_per_day")
        ]

    def __str__(self) -> str:
        return f"{self.region} {self.value}"
