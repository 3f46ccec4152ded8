"""What a file says about people and machines, taken out: who ran it, on which host, in whose home."""

import re
from typing import Any

_KEYS = re.compile(
    r"(?i)^(.*[_.])?(host_?name|host|node_?name|nodes?|user_?name|user|user_id|login|email|home|"
    r"mac_?address|ip_?address|remote_url)$"
)
_HOMES = re.compile(r"(?i)(/home/|/users/|/root\b|[a-z]:\\+users\\+)([^/\\\s\"']*)")
REDACTED = "redacted"


def redact(value: Any) -> Any:
    """`value` with host names, user names and addresses replaced by "redacted", and home folders by `~`."""
    if isinstance(value, dict):
        return {redact(key): REDACTED if _names_somebody(key, item) else redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return _HOMES.sub("~", value) if isinstance(value, str) else value


def _names_somebody(key: object, item: Any) -> bool:
    return isinstance(key, str) and isinstance(item, str) and item != "" and bool(_KEYS.match(key))
