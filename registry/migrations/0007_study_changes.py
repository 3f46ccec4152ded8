"""A version for each study, by triggers on everything its figures are made of; and the index that finds configurations."""

import django.db.models.deletion
from django.db import migrations, models

NOTE = """
CREATE FUNCTION registry_note_changes(studies uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO registry_studychange (study_id, token)
    SELECT study, hashtextextended(gen_random_uuid()::text, 0) FROM unnest(studies) study;
    IF random() < 0.02 THEN
        -- Their XOR takes the place of old marks: the version stays what it is.
        WITH old AS (
            SELECT id FROM registry_studychange WHERE study_id = ANY(studies) LIMIT 5000 FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM registry_studychange USING old WHERE registry_studychange.id = old.id
            RETURNING registry_studychange.study_id, registry_studychange.token
        )
        INSERT INTO registry_studychange (study_id, token) SELECT study_id, bit_xor(token) FROM gone GROUP BY study_id;
    END IF;
END $$;
"""
# Table → the studies that its changed rows belong to.
STUDIES = {
    "registry_run": "SELECT study_id FROM changed",
    "registry_runsummary": "SELECT study_id FROM changed JOIN registry_run ON registry_run.id = changed.run_id",
    "registry_artifactuse": "SELECT study_id FROM changed JOIN registry_run ON registry_run.id = changed.run_id",
    "registry_stagereview": "SELECT study_id FROM changed JOIN registry_stage ON registry_stage.id = changed.stage_id "
    "JOIN registry_run ON registry_run.id = registry_stage.run_id",
    "registry_artifact": "SELECT study_id FROM changed JOIN before USING (id) "
    "JOIN registry_artifactuse ON registry_artifactuse.artifact_id = changed.id "
    "JOIN registry_run ON registry_run.id = registry_artifactuse.run_id "
    "WHERE (changed.production_energy_j, changed.simulated, changed.name, changed.kind) "
    "IS DISTINCT FROM (before.production_energy_j, before.simulated, before.name, before.kind)",
}
EVENTS = {
    "INSERT": "REFERENCING NEW TABLE AS changed",
    "UPDATE": "REFERENCING OLD TABLE AS before NEW TABLE AS changed",
    "DELETE": "REFERENCING OLD TABLE AS changed",
}
# An artifact's figures only matter once it is used, a review is never changed.
ONLY = {"registry_artifact": ("UPDATE",), "registry_stagereview": ("INSERT",)}


def triggers(table, studies):
    function = f"{table}_changes_study"
    create = [
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"PERFORM registry_note_changes(array_agg(DISTINCT study_id)) FROM ({studies}) found HAVING count(*) > 0; "
        "RETURN NULL; END $$;"
    ]
    create += [
        f"CREATE TRIGGER changes_study_on_{event.lower()} AFTER {event} ON {table} {EVENTS[event]} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {function}();"
        for event in ONLY.get(table, EVENTS)
    ]
    return migrations.RunSQL("\n".join(create), f"DROP FUNCTION {function} CASCADE;")


class Migration(migrations.Migration):
    dependencies = [("registry", "0006_rowset_search")]

    operations = [
        migrations.CreateModel(
            name="StudyChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("token", models.BigIntegerField()),
                (
                    "study",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="registry.study",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["study", "configuration"], name="run_by_configuration"),
        ),
        migrations.RunSQL(NOTE, "DROP FUNCTION registry_note_changes CASCADE;"),
        *[triggers(table, studies) for table, studies in STUDIES.items()],
    ]
