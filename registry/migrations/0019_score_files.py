"""The raw files of scores, which the database refuses to change as it does records."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("registry", "0018_reference_index")]

    operations = [
        migrations.CreateModel(
            name="ScoreFile",
            fields=[
                (
                    "score",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="file",
                        serialize=False,
                        to="registry.evaluationscore",
                    ),
                ),
                ("name", models.CharField(max_length=40)),
                ("storage_key", models.CharField(help_text="Opaque.", max_length=100)),
                ("sha256", models.CharField(max_length=64)),
                ("bytes", models.BigIntegerField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "actor",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.RunSQL(
            "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON registry_scorefile "
            "FOR EACH ROW EXECUTE FUNCTION registry_append_only();",
            "DROP TRIGGER append_only ON registry_scorefile;",
        ),
    ]
