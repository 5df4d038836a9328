"""models.ini: which provider serves a model id, and what is peculiar to a model.

The file is data shared with the supervisor, which reads its prices; workers read its prefixes and
the parameters that a model takes or refuses.
"""

import configparser
import fnmatch

from . import PROVIDERS
from .config import ConfigError
from .errors import UnsupportedProvider, ValidationError

MAX_CACHED = 1000
PARAMETERS = frozenset(("temperature", "seed", "max_tokens"))
MAX_TOKENS_FIELDS = ("max_tokens", "max_completion_tokens")


class ModelFacts:
    """refuses: parameters never sent; max_tokens_field: its name on the wire, None for the provider's
    usual one; default_max_tokens: sent when the probe sets none, None for the provider's own."""

    __slots__ = ("refuses", "max_tokens_field", "default_max_tokens")

    def __init__(self, refuses=frozenset(), max_tokens_field=None, default_max_tokens=None):
        self.refuses = refuses
        self.max_tokens_field = max_tokens_field
        self.default_max_tokens = default_max_tokens


class Models:
    """Routing and facts; answers are cached by model id."""

    def __init__(self, prefixes, patterns):
        """prefixes: [(prefix, provider)]; patterns: [(glob, ModelFacts)], the first match wins."""
        self._prefixes = sorted(prefixes, key=lambda row: -len(row[0]))
        self._patterns = patterns
        self._routes = {}
        self._facts = {}

    def route(self, model_id, provider=None):
        """(provider, model) of an id. Raises UnsupportedProvider when none claims it."""
        route = self._routes.get((model_id, provider))
        if route is None:
            route = self._find_route(model_id, provider)
            if len(self._routes) >= MAX_CACHED:
                self._routes.clear()
            self._routes[model_id, provider] = route
        return route

    def _find_route(self, model_id, provider):
        named, colon, model = model_id.partition(":")
        if colon and named in PROVIDERS:
            if provider and provider != named:
                raise ValidationError(f"modelId {model_id!r} contradicts provider {provider!r}")
            if not model:
                raise ValidationError(f"modelId {model_id!r} names no model")
            return named, model
        if provider:
            if provider not in PROVIDERS:
                raise UnsupportedProvider(
                    f"provider {provider!r} is not known; known are {', '.join(PROVIDERS)}")
            return provider, model_id
        for prefix, owner in self._prefixes:
            if model_id.startswith(prefix):
                return owner, model_id
        raise UnsupportedProvider(
            f"no provider claims the model {model_id!r}: write provider:model"
            " (such as openai:my-model), or add its prefix to models.ini")

    def facts(self, model):
        """ModelFacts of a model (without the provider's name)."""
        facts = self._facts.get(model)
        if facts is None:
            facts = next((facts for glob, facts in self._patterns if fnmatch.fnmatchcase(model, glob)),
                         NO_FACTS)
            if len(self._facts) >= MAX_CACHED:
                self._facts.clear()
            self._facts[model] = facts
        return facts


NO_FACTS = ModelFacts()


def load(path):
    """Models from a file. Raises ConfigError naming file, section and key."""
    ini = configparser.ConfigParser(delimiters=("=",), comment_prefixes=(";", "#"),
                                    inline_comment_prefixes=(";",), interpolation=None, strict=True)
    try:
        with open(path, encoding="utf-8") as file:
            ini.read_file(file)
    except OSError as fault:
        raise ConfigError(f"{path}: {fault.strerror}; PROCTOR_MODELS may name another") from None
    except (configparser.Error, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path}: {' '.join(str(fault).split())}") from None
    if not ini.has_section("prefixes"):
        raise ConfigError(f"{path}: no section [prefixes]")
    patterns = [(section[len("model:"):], _facts(path, section, ini[section]))
                for section in ini.sections() if section.startswith("model:")]
    return Models(_prefixes(path, ini["prefixes"]), patterns)


def _prefixes(path, section):
    rows = []
    for provider, text in section.items():
        if provider not in PROVIDERS:
            raise ConfigError(f"{path}: [prefixes] {provider}: unknown provider;"
                              f" known are {', '.join(PROVIDERS)}")
        rows.extend((prefix, provider) for prefix in text.split())
    return rows


def _facts(path, name, section):
    refuses = frozenset(section.get("refuses", "").split())
    if not refuses <= PARAMETERS:
        raise ConfigError(f"{path}: [{name}] refuses: {', '.join(sorted(refuses - PARAMETERS))} unknown;"
                          f" allowed are {', '.join(sorted(PARAMETERS))}")
    field = section.get("max_tokens_field")
    if field is not None and field not in MAX_TOKENS_FIELDS:
        raise ConfigError(f"{path}: [{name}] max_tokens_field: must be {' or '.join(MAX_TOKENS_FIELDS)}")
    default = section.get("default_max_tokens")
    if default is not None and not (default.isascii() and default.isdigit() and int(default) > 0):
        raise ConfigError(f"{path}: [{name}] default_max_tokens: must be a whole number above 0")
    return ModelFacts(refuses, field, int(default) if default else None)
