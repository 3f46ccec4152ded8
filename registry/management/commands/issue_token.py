"""`manage.py issue_token USER`: print a new API token, once."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registry.models import ApiToken, Project, User
from registry.services import accounts
from registry.services.errors import Invalid


class Command(BaseCommand):
    help = "Print a new API token for a user. It is stored hashed and can't be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="user name")
        parser.add_argument("--name", default="", help="what it is for; shown in lists")
        parser.add_argument("--scopes", default=",".join(ApiToken.SCOPES), help="comma-separated; default: all of them")
        parser.add_argument("--project", help="slug of the only project that it may see and write to")
        parser.add_argument("--days", type=int, default=365, help="until it expires; 0 for never (default: 365)")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}; `manage.py createsuperuser` makes one.")
        if options["days"] < 0:
            raise CommandError(f"--days {options['days']} lies in the past; give 1 or more, or 0 for never.")
        try:
            _, secret = accounts.issue_token(
                user=user,
                name=options["name"][:100],
                scopes=[scope.strip() for scope in options["scopes"].split(",") if scope.strip()],
                project=_project(options["project"]),
                days=options["days"] or None,
            )
        except Invalid as error:
            raise CommandError(str(error)) from error
        self.stdout.write(secret)


def _project(slug: str | None) -> Project | None:
    if slug is None:
        return None
    project: Project | None = Project.objects.filter(slug=slug).first()
    if project is None:
        raise CommandError(f"There is no project {slug!r}.")
    return project
