"""Settings of the real server: those of the checkout, with a database, files and a log of its own."""

import os
from importlib import import_module
from pathlib import Path


def _of_the_checkout() -> dict[str, object]:
    """Settings of Alyx; older versions keep only templates of them."""
    for name in ("alyx.settings", "alyx.settings_template"):
        try:
            return vars(import_module(name))
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    raise ModuleNotFoundError("alyx.settings")


globals().update({name: value for name, value in _of_the_checkout().items() if name.isupper()})

_FILES = Path(os.environ["MESO_REAL_SERVER_FILES"])
SECRET_KEY = os.environ["DJANGO_SECRET_KEY"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "postgres",
        "HOST": os.environ["MESO_REAL_SERVER_DATABASE"],
    }
}
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = False
MEDIA_ROOT, TABLES_ROOT, STATIC_ROOT = (str(_FILES / name) for name in ("uploaded", "tables", "static"))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
if not os.environ.get("MESO_REAL_SERVER_THROTTLE"):
    REST_FRAMEWORK = {**globals()["REST_FRAMEWORK"], "DEFAULT_THROTTLE_CLASSES": []}
