"""Indexes under a study's list of runs and its frontier."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("registry", "0007_study_changes")]

    operations = [
        migrations.RemoveIndex(model_name="run", name="run_by_configuration"),
        migrations.AddIndex(model_name="run", index=models.Index(fields=["study", "-id"], name="run_by_study")),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                fields=["study", "configuration"],
                include=["id", "hardware_class", "workload", "simulated", "status", "pipeline"],
                name="run_by_configuration",
            ),
        ),
    ]
