"""ETags of answers, without making the answer.

What an answer is made of lies in the database, so its tag is that of everything committed there: PostgreSQL's snapshot
(which transactions are visible), with the address, the caller and the release. The same tag again means that nothing at
all was written meanwhile; any write makes a new one. It is taken before the rows are read, so it may be older than they
are, never newer.
"""

import hmac

from django.conf import settings
from django.db import connection
from rest_framework.request import Request

from registry.models import ApiToken
from stagemeter import __version__


def tag_of(request: Request) -> str:
    """The tag of the answer to this request as things are now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_snapshot()::text")
        (snapshot,) = cursor.fetchone()
    project = request.auth.project_id if isinstance(request.auth, ApiToken) else None
    parts = (__version__, snapshot, request.user.pk, project, request.get_full_path())
    # Keyed, so that nobody makes up the tag of what is hidden from them.
    text = "\n".join([*map(str, parts), request.headers.get("Accept", "")])
    return f'W/"{hmac.digest(settings.SECRET_KEY.encode(), text.encode(), "sha256").hex()[:32]}"'


def is_named(header: str, tag: str) -> bool:
    """Whether `If-None-Match` names the tag; it compares weakly."""
    return tag.removeprefix("W/") in {part.strip().removeprefix("W/") for part in header.split(",")}
