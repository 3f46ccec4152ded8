"""How many requests a minute a token, a person or an address may send, and the headers that say what is left.

`RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers. The counter lies in Redis, one for
each minute; while Redis does not answer nobody is held back.
"""

import logging
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import redis
from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from registry.models import ApiToken

if TYPE_CHECKING:  # it imports this module itself
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)

WINDOW_S = 60


@dataclass(frozen=True)
class Rate:
    """What is left of the limit `most` of this window, which ends in `reset_s` seconds; below zero when it is spent."""

    most: int
    left: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """The two headers."""
        return {
            "RateLimit-Policy": f'"default";q={self.most};w={WINDOW_S}',
            "RateLimit": f'"default";r={max(0, self.left)};t={self.reset_s}',
        }


class RateThrottle(BaseThrottle):
    """Counts the request, and leaves what is left as `rate` on the view."""

    def allow_request(self, request: Request, view: "APIView") -> bool:
        """Whether it is within the limit."""
        if not settings.RATE_LIMIT:
            return True
        self._rate = _counted(_who(request, self.get_ident(request)))
        view.rate = self._rate  # type: ignore[attr-defined]
        return self._rate is None or self._rate.left >= 0

    def wait(self) -> float | None:
        """Seconds until the next window."""
        return None if self._rate is None else float(self._rate.reset_s)


def _who(request: Request, address: Any) -> str:
    if isinstance(request.auth, ApiToken):
        return f"token:{request.auth.digest}"
    return f"user:{request.user.pk}" if request.user.is_authenticated else f"address:{address}"


def _counted(who: str) -> Rate | None:
    """One more request of `who` in this window; `None` while it cannot be counted."""
    now = time.time()
    window = int(now // WINDOW_S)
    key = f"rate:{window}:{who}"
    try:
        with _redis().pipeline(transaction=False) as both:
            both.incr(key)
            both.expire(key, 2 * WINDOW_S, nx=True)
            sent = int(both.execute()[0])
    except redis.RedisError:
        logger.warning("requests cannot be counted: Redis does not answer")
        return None
    reset_s = max(1, round((window + 1) * WINDOW_S - now))
    return Rate(settings.RATE_LIMIT, settings.RATE_LIMIT - sent, reset_s)


@cache
def _redis() -> "redis.Redis":
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)
