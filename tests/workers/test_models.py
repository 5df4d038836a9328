"""models.ini: routing, facts, and clear words about a bad file."""

import configparser
import os

import pytest

from conftest import ROOT
from proctor import models
from proctor.config import ConfigError
from proctor.errors import UnsupportedProvider, ValidationError

SHIPPED = os.path.join(ROOT, "conf", "models.ini")


@pytest.fixture(scope="module")
def shipped():
    return models.load(SHIPPED)


@pytest.mark.parametrize("model, provider", [
    ("gpt-4", "openai"), ("claude-3-sonnet", "anthropic"), ("gemini-1.5-pro", "google"), ("grok-2", "xai"),
    ("deepseek-chat", "deepseek"), ("mistral-large", "mistral"), ("chatgpt-4o-latest", "openai"),
    ("o1", "openai"), ("o3-mini", "openai"), ("o4-mini", "openai"), ("codex-mini", "openai"),
    ("ft:gpt-4o:org::id", "openai"), ("gemma-3-27b-it", "google"), ("open-mistral-nemo", "mistral"),
    ("open-mixtral-8x7b", "mistral"), ("ministral-8b", "mistral"), ("magistral-small", "mistral"),
    ("codestral-latest", "mistral"), ("devstral-small", "mistral"), ("pixtral-large", "mistral"),
    ("voxtral-small", "mistral"),
])
def test_every_prefix_routes(shipped, model, provider):
    assert shipped.route(model) == (provider, model)


def test_an_explicit_provider_wins(shipped):
    assert shipped.route("mistral:gpt-4") == ("mistral", "gpt-4")
    assert shipped.route("gpt-4", "xai") == ("xai", "gpt-4")
    assert shipped.route("openai:gpt-4", "openai") == ("openai", "gpt-4")
    assert shipped.route("openai:org:model") == ("openai", "org:model")


@pytest.mark.parametrize("model, provider, kind", [
    ("invalid-model-xyz", None, UnsupportedProvider), ("llama:7b", None, UnsupportedProvider),
    ("gpt-4", "nobody", UnsupportedProvider), ("openai:", None, ValidationError),
    ("openai:x", "xai", ValidationError), ("GPT-4", None, UnsupportedProvider),
])
def test_an_id_that_no_provider_claims_is_refused(shipped, model, provider, kind):
    with pytest.raises(kind) as caught:
        shipped.route(model, provider)
    assert not caught.value.retryable
    with pytest.raises(kind):
        shipped.route(model, provider)


def test_the_longest_prefix_wins():
    routing = models.Models([("a-", "openai"), ("a-b-", "xai")], [])
    assert routing.route("a-b-c") == ("xai", "a-b-c") and routing.route("a-c") == ("openai", "a-c")


def test_the_cache_does_not_grow_without_bound():
    routing = models.Models([("a-", "openai")], [("a-*", models.NO_FACTS)])
    for number in range(3000):
        routing.route(f"a-{number}")
        routing.facts(f"a-{number}")
    assert len(routing._routes) <= models.MAX_CACHED and len(routing._facts) <= models.MAX_CACHED


@pytest.mark.parametrize("model, refuses", [
    ("gpt-4", set()), ("gpt-5", {"temperature"}), ("gpt-5-mini-2025", {"temperature"}),
    ("gpt-5-chat-latest", set()), ("gpt-5.1", set()),
    ("o1-preview", {"temperature"}), ("o3", {"temperature"}), ("claude-opus-4-7", {"temperature"}),
    ("claude-3-sonnet", set()), ("deepseek-reasoner", {"temperature"}), ("unknown", set()),
])
def test_what_a_model_refuses_is_data(shipped, model, refuses):
    assert shipped.facts(model).refuses == refuses


def test_the_more_specific_glob_stands_first_in_the_shipped_file():
    """A later section that an earlier one shadows completely would never apply."""
    with open(SHIPPED, encoding="utf-8") as file:
        globs = [line.strip()[len("[model:"):-1] for line in file if line.startswith("[model:")]
    assert len(globs) == len(set(globs)) > 40
    for index, glob in enumerate(globs):
        example = glob.replace("*", "")
        plain = [earlier[:-1] for earlier in globs[:index] if earlier.find("*") == len(earlier) - 1]
        shadowing = [start for start in plain if example.startswith(start)]
        assert not shadowing, (glob, shadowing)


def test_the_shipped_prices_are_numbers_and_lines_are_short():
    ini = configparser.ConfigParser(delimiters=("=",), interpolation=None, inline_comment_prefixes=(";",))
    ini.read(SHIPPED, encoding="utf-8")
    known = {"max_tokens_field", "default_max_tokens", "refuses", "input_usd_per_mtok", "output_usd_per_mtok",
             "prices_as_of"}
    for name in ini.sections():
        if name.startswith("model:"):
            assert set(ini[name]) <= known
            prices = [key for key in ini[name] if key.endswith("_usd_per_mtok")]
            assert len(prices) in (0, 2) and all(0 <= float(ini[name][key]) < 1000 for key in prices)
    with open(SHIPPED, encoding="utf-8") as file:
        # The supervisor's reader takes lines of less than 200 bytes and section names of less than 50.
        assert all(len(line) < 200 and (line[0] != "[" or len(line) < 50) for line in file)


@pytest.mark.parametrize("text, words", [
    ("", "[prefixes]"), ("[prefixes]\nopnai = gpt-\n", "opnai"), ("nonsense", "section"),
    ("[prefixes]\nopenai = a\n[model:x]\nrefuses = heat\n", "[model:x] refuses: heat"),
    ("[prefixes]\nopenai = a\n[model:x]\nmax_tokens_field = limit\n", "[model:x] max_tokens_field"),
    ("[prefixes]\nopenai = a\n[model:x]\ndefault_max_tokens = 0\n", "[model:x] default_max_tokens"),
    ("[prefixes]\nopenai = a\nopenai = b\n", "already exists"),
])
def test_a_bad_file_is_named_with_its_fault(tmp_path, text, words):
    path = tmp_path / "models.ini"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        models.load(str(path))
    assert str(path) in str(caught.value) and words in str(caught.value) and "\n" not in str(caught.value)


def test_prices_with_a_date_leave_what_workers_read_as_it_is(tmp_path):
    path = tmp_path / "models.ini"
    path.write_text("[prefixes]\nopenai = o1\n[model:o1*]\nrefuses = seed\nprices_as_of = 2026-01-15\n"
                    "input_usd_per_mtok = 1\noutput_usd_per_mtok = 2\n"
                    "[model:o1* from 2026-06-01]\ninput_usd_per_mtok = 3\noutput_usd_per_mtok = 4\n")
    loaded = models.load(str(path))
    assert loaded.facts("o1-mini").refuses == {"seed"}


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="/nowhere/models.ini.*PROCTOR_MODELS"):
        models.load("/nowhere/models.ini")


def test_inline_comments_are_none_of_the_value(tmp_path):
    path = tmp_path / "models.ini"
    path.write_text("[prefixes] ; who\nopenai = gpt- o1 ; two\n"
                    "[model:o1]\nrefuses = temperature seed ; never\n")
    loaded = models.load(str(path))
    assert loaded.route("o1") == ("openai", "o1")
    assert loaded.facts("o1").refuses == {"temperature", "seed"}
    with pytest.raises(UnsupportedProvider):
        loaded.route(";x")
