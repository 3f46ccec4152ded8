"""What was imported from files."""

from registry.models import AuditEvent, Project


def imported_before(project: Project, sha256: str) -> bool:
    """Whether a file of that SHA-256 was imported into the project."""
    return AuditEvent.objects.filter(project=project, action="file imported", detail__sha256=sha256).exists()
