"""The words that runs are searched by."""

import django.contrib.postgres.indexes
import django.contrib.postgres.search
from django.db import migrations, models

import registry.models.base


class Migration(migrations.Migration):
    dependencies = [("registry", "0008_run_indexes")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="words",
            field=models.GeneratedField(
                db_persist=True,
                expression=registry.models.base.Words(
                    "pipeline", "student", "student_size", "teacher", "workload", "external_id"
                ),
                output_field=django.contrib.postgres.search.SearchVectorField(),
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=django.contrib.postgres.indexes.GinIndex(fields=["words"], name="run_words"),
        ),
    ]
