"""People, memberships and tokens."""

from datetime import datetime, timedelta

from registry.models import ApiToken, Membership, Project, User
from registry.services.errors import Invalid, NotAllowed

_RANK = {role: rank for rank, role in enumerate(Membership.Role.values)}


def require_role(user: User | None, project: Project, role: str) -> None:
    """Pass if `user` has at least `role` in `project`; `None` is the system itself. Raises `NotAllowed`."""
    if user is None or user.is_superuser:
        return
    membership = Membership.objects.filter(user=user, project=project).first()
    check_role(user, project, membership.role if membership else None, role)


def check_role(user: User | None, project: Project, held: str | None, role: str) -> None:
    """As `require_role`, for whoever knows the role that `user` has in `project`. Raises `NotAllowed`."""
    if user is None or user.is_superuser:
        return
    if held is None or _RANK[held] < _RANK[role]:
        has = f"you are {held} there" if held else "you are no member of it"
        raise NotAllowed(f"This needs the role {role} in the project {project.slug}; {has}. Ask one of its admins.")


def has_role(user: User | None, project: Project, role: str) -> bool:
    """Whether `require_role` would pass."""
    try:
        require_role(user, project, role)
    except NotAllowed:
        return False
    return True


def issue_token(
    *,
    user: User,
    name: str = "",
    scopes: list[str] | None = None,
    project: Project | None = None,
    days: int | None = 365,
) -> tuple[ApiToken, str]:
    """A new token and its secret, which is shown once and stored hashed. `days=None` never expires."""
    wanted = list(ApiToken.SCOPES) if scopes is None else scopes
    unknown = [scope for scope in wanted if scope not in ApiToken.SCOPES]
    if unknown or not wanted:
        raise Invalid({"scopes": f"{wanted} must be some of {', '.join(ApiToken.SCOPES)}"})
    expiry = None if days is None else timedelta(days=days)
    token, secret = ApiToken.objects.create(user=user, expiry=expiry, name=name, scopes=wanted, project=project)
    return token, secret


def touch_token(token: ApiToken, now: datetime) -> None:
    """Note that a token was used, at most once a minute."""
    if token.last_used_at is None or now - token.last_used_at > timedelta(minutes=1):
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)


def ensure_user(*, username: str, password: str) -> tuple[User, bool]:
    """The account of that name, made with this password if need be; the second value says whether it was."""
    existing = User.objects.filter(username=username).first()
    return (existing, False) if existing else (User.objects.create_user(username, password=password), True)
