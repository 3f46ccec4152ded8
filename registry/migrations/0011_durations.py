"""A duration that nobody stated is no longer written as zero."""

from django.db import migrations, models

QUIETLY = (
    "ALTER TABLE registry_stage DISABLE TRIGGER append_only; {} ALTER TABLE registry_stage ENABLE TRIGGER append_only;"
)
UNSTATED = QUIETLY.format("UPDATE registry_stage SET duration_s = NULL WHERE duration_s = 0 AND origin = 'published';")
ZERO = QUIETLY.format("UPDATE registry_stage SET duration_s = 0 WHERE duration_s IS NULL;")
UNSTATED_RUNS = """
UPDATE registry_runsummary SET duration_s = NULL
WHERE records = 0 OR EXISTS (
    SELECT 1 FROM registry_stage WHERE run_id = registry_runsummary.run_id AND duration_s IS NULL
);
"""


class Migration(migrations.Migration):
    dependencies = [("registry", "0010_plausibility")]

    operations = [
        migrations.AlterField(
            "runsummary",
            "duration_s",
            models.FloatField(help_text="Of all its stages; None when one does not state it.", null=True),
        ),
        migrations.AlterField("stage", "duration_s", models.FloatField(null=True)),
        migrations.RunSQL(UNSTATED, ZERO),
        migrations.RunSQL(UNSTATED_RUNS, "UPDATE registry_runsummary SET duration_s = 0 WHERE duration_s IS NULL;"),
    ]
