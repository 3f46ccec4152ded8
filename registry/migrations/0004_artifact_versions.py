"""Artifacts get a handle and a version, and nothing of a published one can be changed, by anybody, through any door.

Free to move: its status and what was said of it (superseded, withdrawn, its licence), and the energy that the ledger
derives. What determines it and what lies there stays, once it is there.
"""

from collections import Counter

import django.db.models.deletion
from django.db import migrations, models
from django.utils.text import slugify

import registry.models.base

FUNCTION = """
CREATE FUNCTION registry_published_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.kind, OLD.name, OLD.fingerprint, OLD.family, OLD.identity, OLD.capture, OLD.ready_at)
       IS DISTINCT FROM (NEW.kind, NEW.name, NEW.fingerprint, NEW.family, NEW.identity, NEW.capture, NEW.ready_at)
       OR (OLD.version IS NOT NULL AND (OLD.handle, OLD.version) IS DISTINCT FROM (NEW.handle, NEW.version))
       OR (OLD.rows_id IS NOT NULL AND OLD.rows_id IS DISTINCT FROM NEW.rows_id)
       OR (OLD.content_sha256 <> '' AND OLD.content_sha256 IS DISTINCT FROM NEW.content_sha256)
       OR (OLD.manifest <> '[]' AND (OLD.manifest, OLD.meta) IS DISTINCT FROM (NEW.manifest, NEW.meta)) THEN
        RAISE EXCEPTION 'a published artifact is never changed: supersede or withdraw it and publish another one'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
"""
TRIGGER = """
CREATE TRIGGER published_stays BEFORE UPDATE ON registry_artifact
FOR EACH ROW WHEN (OLD.ready_at IS NOT NULL) EXECUTE FUNCTION registry_published_stays();
"""


def number(apps, _schema_editor):
    """Everything that is or was ready gets the next version of its handle, in the order in which it was made."""
    artifacts, given = apps.get_model("registry", "Artifact"), Counter()
    for artifact in (
        artifacts.objects.exclude(ready_at=None).order_by("id").only("name", "kind", "project_id").iterator()
    ):
        handle = slugify(artifact.name)[:120].strip("-_") or artifact.kind.replace("_", "-")
        given[artifact.project_id, handle] += 1
        version = given[artifact.project_id, handle]
        artifacts.objects.filter(pk=artifact.pk).update(handle=handle, version=version)


class Migration(migrations.Migration):
    dependencies = [
        ("registry", "0003_rowsets_and_licences"),
    ]

    operations = [
        migrations.CreateModel(
            name="ArtifactAlias",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=registry.models.base.new_key, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("handle", models.SlugField(db_index=False, max_length=120)),
                ("alias", models.SlugField(db_index=False, max_length=60)),
            ],
            options={
                "ordering": ["alias"],
            },
        ),
        migrations.AddField(
            model_name="artifact",
            name="handle",
            field=models.SlugField(blank=True, db_index=False, max_length=120),
        ),
        migrations.AddField(
            model_name="artifact",
            name="made_again_of",
            field=models.ForeignKey(
                blank=True,
                help_text="That other.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="made_again",
                to="registry.artifact",
            ),
        ),
        migrations.AddField(
            model_name="artifact",
            name="prompts",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="Of a prepared dataset: its rows' prompts alone, which is what a generation is asked for.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="registry.rowset",
            ),
        ),
        migrations.AddField(
            model_name="artifact",
            name="superseded_by",
            field=models.ForeignKey(
                blank=True,
                help_text="A better one, named by a maintainer: offered before this one.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="supersedes",
                to="registry.artifact",
            ),
        ),
        migrations.AddField(
            model_name="artifact",
            name="version",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name="artifact",
            constraint=models.UniqueConstraint(
                condition=models.Q(("version__isnull", False)),
                fields=("project", "handle", "version"),
                name="one_artifact_per_version",
            ),
        ),
        migrations.AddField(
            model_name="artifactalias",
            name="artifact",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="aliases", to="registry.artifact"
            ),
        ),
        migrations.AddField(
            model_name="artifactalias",
            name="project",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="registry.project"
            ),
        ),
        migrations.AddConstraint(
            model_name="artifactalias",
            constraint=models.UniqueConstraint(fields=("project", "handle", "alias"), name="one_artifact_per_alias"),
        ),
        migrations.RunPython(number, migrations.RunPython.noop),
        migrations.RunSQL(FUNCTION, "DROP FUNCTION registry_published_stays();"),
        migrations.RunSQL(TRIGGER, "DROP TRIGGER published_stays ON registry_artifact;"),
    ]
