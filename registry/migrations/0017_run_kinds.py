"""Which words runs have together, and which their own names have: kept by a trigger, asked before the index over all."""

import django.contrib.postgres.indexes
import django.contrib.postgres.search
from django.db import migrations, models

WORDS = "to_tsvector('simple', regexp_replace({}, '[[:punct:][:space:]]+', ' ', 'g'))"
KIND = "concat_ws(' ', pipeline, student, student_size, teacher, workload)"
NAME = f"unnest(tsvector_to_array({WORDS.format('external_id')}))"
# Nothing is unique: no transaction waits for another, and a row that is there twice does no harm.
NOTE = f"""
WITH found AS (SELECT DISTINCT {KIND} AS kind FROM {{runs}})
INSERT INTO registry_runkind (digest, words)
SELECT md5(kind)::uuid, {WORDS.format("kind")} FROM found
WHERE NOT EXISTS (SELECT FROM registry_runkind noted WHERE noted.digest = md5(kind)::uuid);
WITH found AS (SELECT DISTINCT {NAME} AS word FROM {{runs}} WHERE external_id <> '')
INSERT INTO registry_runnameword (word)
SELECT word FROM found WHERE word !~ '^[0-9]+$'
AND NOT EXISTS (SELECT FROM registry_runnameword noted WHERE noted.word = found.word COLLATE "C");
"""  # noqa: S608 (constants)
ALL = (
    f"CREATE FUNCTION registry_note_run_words() RETURNS void LANGUAGE sql AS $$ {NOTE.format(runs='registry_run')} $$;"
)
EACH = f"""
CREATE FUNCTION registry_run_noted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN {NOTE.format(runs="changed")} RETURN NULL; END $$;
CREATE TRIGGER words_on_insert AFTER INSERT ON registry_run REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION registry_run_noted();
CREATE TRIGGER words_on_update AFTER UPDATE ON registry_run REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION registry_run_noted();
SELECT registry_note_run_words();
"""


class Migration(migrations.Migration):
    dependencies = [("registry", "0016_rowset_estimates")]

    operations = [
        migrations.CreateModel(
            name="RunKind",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.UUIDField(db_index=True)),
                ("words", django.contrib.postgres.search.SearchVectorField()),
            ],
        ),
        migrations.CreateModel(
            name="RunNameWord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("word", models.TextField(db_collation="C")),
            ],
        ),
        migrations.AddIndex(
            model_name="runkind",
            index=django.contrib.postgres.indexes.GinIndex(fields=["words"], name="run_kind_words"),
        ),
        migrations.AddIndex(model_name="runnameword", index=models.Index(fields=["word"], name="run_name_word")),
        migrations.RunSQL(ALL, "DROP FUNCTION registry_note_run_words;"),
        migrations.RunSQL(EACH, "DROP FUNCTION registry_run_noted CASCADE;"),
    ]
