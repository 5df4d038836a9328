"""What the environment tells a worker: providers, models file, capacity, proxies and CA bundle.

Raises ConfigError with one line that names the variable, what is wrong and what is allowed.
"""

import os

from . import PROVIDERS, sanitize

DEFAULT_CAPACITY = 500
MAX_CAPACITY = 100_000
CA_VARIABLES = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
# The system's bundle: Debian's, Fedora's.
CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
PROVIDER_KEYS = ("base_url", "key_env")
_WORKERS_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODELS_PATHS = (os.path.join(os.path.dirname(_WORKERS_DIR), "conf", "models.ini"),
                "/etc/proctor/models.ini")


class ConfigError(Exception):
    """The environment or a file it names cannot be used; the worker cannot start."""


class Settings:
    """Read once at start.

    capacity       conversations at once
    fail_model_id  model answered with a simulated 429, or None
    providers      name -> {"base_url", "key_env"}, only what differs from the provider files
    models_path    models.ini
    ca_file        CA bundle, or None
    ca_dir         folder of hashed CA certificates, or None; with neither, libcurl has its own idea
    has_proxy      whether any *_proxy variable is set
    """

    __slots__ = ("capacity", "fail_model_id", "providers", "models_path", "ca_file", "ca_dir",
                 "has_proxy")

    def __init__(self, environ):
        self.capacity = _capacity(environ)
        self.fail_model_id = environ.get("FAIL_MODEL_ID") or None
        self.providers = _providers(environ)
        self.models_path = environ.get("PROCTOR_MODELS") or _first_existing(MODELS_PATHS)
        self.ca_file, self.ca_dir = _ca_bundle(environ)
        self.has_proxy = any(name.lower().endswith("_proxy") for name in environ)


def _first_existing(paths):
    for path in paths:
        if os.path.exists(path):
            return path
    return paths[0]


def _capacity(environ):
    text = environ.get("PROCTOR_CAPACITY") or str(DEFAULT_CAPACITY)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_CAPACITY:
        raise ConfigError(f"PROCTOR_CAPACITY is {text!r}: must be a whole number from 1 to {MAX_CAPACITY}")
    return int(text)


def _providers(environ):
    text = environ.get("PROCTOR_PROVIDERS")
    if not text:
        return {}
    try:
        providers = sanitize.decode(text)
    except ValueError as fault:
        raise ConfigError(f"PROCTOR_PROVIDERS is not JSON: {fault}") from None
    if not isinstance(providers, dict):
        raise ConfigError('PROCTOR_PROVIDERS must be an object such as {"openai":{"base_url":"..."}}')
    for name, keys in providers.items():
        _check_provider(name, keys)
    return providers


def _check_provider(name, keys):
    where = f"PROCTOR_PROVIDERS: {name}"
    if name not in PROVIDERS:
        raise ConfigError(f"{where}: unknown provider; known are {', '.join(PROVIDERS)}")
    if not isinstance(keys, dict):
        raise ConfigError(f"{where}: must be an object with {' or '.join(PROVIDER_KEYS)}")
    for key, text in keys.items():
        if key not in PROVIDER_KEYS:
            raise ConfigError(f"{where}.{key}: unknown key; allowed are {', '.join(PROVIDER_KEYS)}")
        if text is not None and not isinstance(text, str):
            raise ConfigError(f"{where}.{key}: must be text or null")
    base_url = keys.get("base_url")
    if base_url and not base_url.startswith(("http://", "https://")):
        raise ConfigError(f"{where}.base_url: must begin with http:// or https://")


def _ca_bundle(environ):
    """The CA bundle as (file, folder), each or both None."""
    for name in CA_VARIABLES:
        path = environ.get(name)
        if not path:
            continue
        if not os.access(path, os.R_OK):
            raise ConfigError(f"{name} names {path}, which cannot be read")
        return (None, path) if os.path.isdir(path) else (path, None)
    folder = environ.get("SSL_CERT_DIR")
    if folder:
        return None, folder
    return next((path for path in CA_BUNDLES if os.access(path, os.R_OK)), None), None
