import hashlib

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models

import registry.models.artifacts


def into_sets(apps, _schema_editor):
    """Each artifact's own list of digests becomes a set that others can share."""
    artifacts, sets = apps.get_model("registry", "Artifact"), apps.get_model("registry", "RowSet")
    for artifact in artifacts.objects.exclude(row_digests=[]).only("row_digests").iterator(chunk_size=20):
        rows = sorted(set(artifact.row_digests))
        key = hashlib.sha256("".join(f"{digest}\n" for digest in rows).encode()).hexdigest()
        keys = [int.from_bytes(hashlib.sha256(row.encode()).digest()[:8], signed=True) for row in rows]
        sets.objects.get_or_create(sha256=key, defaults={"count": len(rows), "digests": rows, "keys": keys})
        artifacts.objects.filter(pk=artifact.pk).update(rows_id=key)


class Migration(migrations.Migration):
    dependencies = [
        ("registry", "0002_append_only"),
    ]

    operations = [
        migrations.AddField(
            model_name="artifact",
            name="dataset_licence",
            field=models.CharField(blank=True, help_text="SPDX expression.", max_length=200),
        ),
        migrations.AddField(
            model_name="artifact",
            name="evidence",
            field=models.JSONField(default=list, help_text="record_id of each stage record behind a stated energy."),
        ),
        migrations.AddField(
            model_name="artifact",
            name="evidence_note",
            field=models.TextField(blank=True, help_text="Where a stated energy without records comes from."),
        ),
        migrations.AddField(
            model_name="artifact",
            name="licence_link",
            field=models.URLField(blank=True, help_text="Where a custom licence can be read.", max_length=500),
        ),
        migrations.AddField(
            model_name="artifact",
            name="licence_name",
            field=models.CharField(blank=True, help_text="Of a custom licence.", max_length=200),
        ),
        migrations.AddField(
            model_name="artifact",
            name="licence_note",
            field=models.TextField(blank=True, help_text="Why a curator narrowed it."),
        ),
        migrations.AddField(
            model_name="artifact",
            name="may_train",
            field=models.BooleanField(
                blank=True, help_text="May its outputs train other models? Empty: nobody has said.", null=True
            ),
        ),
        migrations.AddField(
            model_name="artifact",
            name="sharing",
            field=models.CharField(
                choices=[
                    ("project", "its project alone"),
                    ("request", "others are told that it exists, and may ask for it"),
                    ("shared", "every project"),
                ],
                default="project",
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="artifact",
            name="teacher_licence",
            field=models.CharField(blank=True, help_text="SPDX expression.", max_length=200),
        ),
        migrations.AddField(
            model_name="project",
            name="quota_bytes",
            field=models.BigIntegerField(
                blank=True, help_text="Of artifact files; empty: what the installation's setting says.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="artifact",
            name="fingerprint",
            field=models.CharField(db_index=True, max_length=64),
        ),
        migrations.AlterField(
            model_name="artifact",
            name="family",
            field=models.CharField(max_length=64),
        ),
        migrations.CreateModel(
            name="RowSet",
            fields=[
                (
                    "sha256",
                    models.CharField(
                        help_text="Over the sorted digests, a line each.",
                        max_length=64,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("count", models.PositiveIntegerField()),
                ("digests", models.JSONField(help_text="Sorted, each once.")),
                (
                    "keys",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(),
                        help_text="64 bits of each digest, to find the sets that hold a row.",
                        size=None,
                    ),
                ),
            ],
            options={
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(fastupdate=False, fields=["keys"], name="rows_by_key")
                ],
            },
        ),
        migrations.AddField(
            model_name="artifact",
            name="rows",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="The rows it was made over, as digests.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="artifacts",
                to="registry.rowset",
            ),
        ),
        migrations.RunPython(into_sets, migrations.RunPython.noop),
        migrations.RemoveField(
            model_name="artifact",
            name="row_digests",
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=django.contrib.postgres.indexes.GinIndex(
                registry.models.artifacts.Words("name", "kind", "teacher", "dataset", "licence"), name="artifact_words"
            ),
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=models.Index(fields=["family", "rows"], name="artifact_by_family"),
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=models.Index(fields=["rows", "kind", "teacher", "-id"], name="artifact_by_rows"),
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=models.Index(fields=["project", "-id"], name="artifact_by_project"),
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=models.Index(fields=["-production_energy_j", "-id"], name="artifact_by_energy"),
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=models.Index(fields=["-bytes", "-id"], name="artifact_by_bytes"),
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=models.Index(fields=["name", "id"], name="artifact_by_name"),
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=models.Index(
                condition=models.Q(("storage_key", ""), _negated=True),
                fields=["storage_key"],
                name="artifact_by_storage_key",
            ),
        ),
    ]
