"""Traces that come from elsewhere: the file that was sent, and what its record claims beside it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("registry", "0014_webhooks")]

    operations = [
        migrations.AddField(
            model_name="trace",
            name="checks",
            field=models.JSONField(
                default=list, help_text="What the record claims beside it, as accounting.traced.Check."
            ),
        ),
        migrations.AddField(
            model_name="trace",
            name="sent_sha256",
            field=models.CharField(blank=True, default="", help_text="Of the file as it was uploaded.", max_length=64),
        ),
    ]
