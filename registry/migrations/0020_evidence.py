"""A record may be claimed, once, by the artifact it is evidence of; those named so far are claimed by the first one.

`manage.py verify_ledger --fix` then rebuilds the sums that this changes.
"""

from django.db import migrations

FUNCTION = """
CREATE OR REPLACE FUNCTION registry_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.actor_id IS NULL
       AND to_jsonb(NEW) - 'actor_id' = to_jsonb(OLD) - 'actor_id' THEN
        RETURN NEW;
    END IF;{}
    RAISE EXCEPTION '% is append-only: write a review beside the row instead', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
"""
# Where it belongs, told once; nothing that was measured.
CLAIM = """
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'registry_stage'
       AND to_jsonb(OLD) -> 'artifact_id' = 'null' AND to_jsonb(NEW) -> 'artifact_id' <> 'null'
       AND to_jsonb(NEW) - 'artifact_id' = to_jsonb(OLD) - 'artifact_id' THEN
        RETURN NEW;
    END IF;"""
CLAIMED = """
UPDATE registry_stage SET artifact_id = claim.artifact_id
FROM (
    SELECT DISTINCT ON (record_id) artifact.id AS artifact_id, artifact.project_id, artifact.kind, record_id
    FROM registry_artifact artifact, jsonb_array_elements_text(artifact.evidence) record_id
    ORDER BY record_id, artifact.id
) claim
WHERE registry_stage.record_id = claim.record_id AND registry_stage.project_id = claim.project_id
  AND registry_stage.artifact_id IS NULL AND registry_stage.parent_id = ''
  AND (registry_stage.role = 'data' OR registry_stage.role = 'teacher' AND claim.kind <> 'prepared_dataset');
"""
MADE = """
INSERT INTO registry_artifactuse (artifact_id, run_id, how, used_share, created_at)
SELECT id, made_by_run_id, 'made', 1.0, created_at FROM registry_artifact
WHERE made_by_run_id IS NOT NULL AND status <> 'making' AND kind <> 'student'
UNION
SELECT artifact.id, stage.run_id, 'made', 1.0, artifact.created_at
FROM registry_artifact artifact JOIN registry_stage stage ON stage.artifact_id = artifact.id
WHERE artifact.evidence <> '[]' AND stage.run_id IS NOT NULL
ON CONFLICT (artifact_id, run_id) DO NOTHING;
"""


class Migration(migrations.Migration):
    dependencies = [("registry", "0019_score_files")]

    operations = [
        migrations.RunSQL(FUNCTION.replace("{}", CLAIM), FUNCTION.replace("{}", "")),
        migrations.RunSQL(CLAIMED, migrations.RunSQL.noop),
        migrations.RunSQL(MADE, migrations.RunSQL.noop),
    ]
