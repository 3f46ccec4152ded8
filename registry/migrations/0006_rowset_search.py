"""Finds sets of rows by their members through the index, however few sets there are.

PostgreSQL takes an array for cheap to compare and reads all of them while they are few; but each is long, and lies
compressed outside of its row. So the two questions are functions that may not read the table as a whole.
"""

from django.db import migrations

HOLDING = """
CREATE FUNCTION registry_rowsets_holding(bigint[], integer) RETURNS TABLE (sha256 varchar, count integer)
LANGUAGE sql STABLE SET enable_seqscan = off AS
$$ SELECT sha256, count FROM registry_rowset WHERE keys @> $1 AND count >= $2 $$;
"""
TOUCHING = """
CREATE FUNCTION registry_rowsets_touching(bigint[], integer, integer) RETURNS TABLE (sha256 varchar, count integer)
LANGUAGE sql STABLE SET enable_seqscan = off AS
$$ SELECT sha256, count FROM registry_rowset WHERE keys && $1 ORDER BY abs(count - $2), sha256 LIMIT $3 $$;
"""


class Migration(migrations.Migration):
    dependencies = [("registry", "0005_traces")]

    operations = [
        migrations.RunSQL(HOLDING, "DROP FUNCTION registry_rowsets_holding(bigint[], integer);"),
        migrations.RunSQL(TOUCHING, "DROP FUNCTION registry_rowsets_touching(bigint[], integer, integer);"),
    ]
