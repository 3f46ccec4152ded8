"""Secrets that must be readable again, sealed at rest with a key derived from `SECRET_KEY`.

Fernet (AES-128-CBC with HMAC-SHA256) of `cryptography`; the key by HKDF-SHA256. A backup of the database alone opens
nothing. After a change of `SECRET_KEY` what was sealed under the old one is lost, unless that stands in
`SECRET_KEY_FALLBACKS`.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class Unreadable(Exception):
    """Sealed under a `SECRET_KEY` that this installation no longer has."""


def seal(secret: str, *, purpose: str) -> str:
    """`secret` as a token that only `unseal` with the same purpose opens."""
    return _box(purpose).encrypt(secret.encode()).decode()


def unseal(token: str, *, purpose: str) -> str:
    """What was sealed. Raises `Unreadable`."""
    try:
        return _box(purpose).decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise Unreadable("it was sealed under another SECRET_KEY") from error


def _box(purpose: str) -> MultiFernet:
    return MultiFernet([_fernet(str(key), purpose) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _fernet(key: str, purpose: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"stagemeter {purpose}".encode()).derive(key.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
