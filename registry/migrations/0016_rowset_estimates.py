"""How many sets of rows a search finds: PostgreSQL takes it for a thousand otherwise, and a lookup for a long query.

A plan that looks long is compiled first where PostgreSQL can do that (JIT), which takes longer than the lookup.
"""

from django.db import migrations

HOLDING = "ALTER FUNCTION registry_rowsets_holding(bigint[], integer) ROWS {};"
TOUCHING = "ALTER FUNCTION registry_rowsets_touching(bigint[], integer, integer) ROWS {};"


class Migration(migrations.Migration):
    dependencies = [("registry", "0015_trace_checks")]

    operations = [
        migrations.RunSQL(HOLDING.format(10), HOLDING.format(1000)),
        migrations.RunSQL(TOUCHING.format(8), TOUCHING.format(1000)),
    ]
