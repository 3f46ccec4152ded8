"""A code beside each review, and which devices each record had, taken from the records that are here."""

import django.db.models.deletion
from django.db import migrations, models

FILL = """
INSERT INTO registry_gpuuse (stage_id, uuid, started_at, ended_at)
SELECT DISTINCT id, device->>'uuid', started_at, ended_at
FROM registry_stage CROSS JOIN LATERAL jsonb_array_elements(devices) device
WHERE parent_id = '' AND NOT simulated AND role <> 'prerun' AND gpu_energy_j IS NOT NULL
  AND jsonb_typeof(device->'uuid') = 'string' AND length(device->>'uuid') BETWEEN 1 AND 100;
"""


class Migration(migrations.Migration):
    dependencies = [("registry", "0009_run_words")]

    operations = [
        migrations.AddField(
            model_name="stagereview",
            name="code",
            field=models.CharField(blank=True, default="", help_text="Why, for programs.", max_length=40),
        ),
        migrations.CreateModel(
            name="GpuUse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("uuid", models.CharField(max_length=100)),
                ("started_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField()),
                (
                    "stage",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="registry.stage"
                    ),
                ),
            ],
            options={"indexes": [models.Index(fields=["uuid", "ended_at"], name="gpu_use_by_device")]},
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
