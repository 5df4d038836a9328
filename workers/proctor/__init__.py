"""Proctor's probe workers: conversations with language models, run for a supervisor.

Nothing is imported here, so that `hello` can be said before the heavy imports.
"""

VERSION = "0.1.0"
PROTOCOL = 1
MIN_PYTHON = (3, 10)

# Name -> the variable that holds its key unless the configuration names another.
KEY_VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "google": "GOOGLE_API_KEY",
    "xai": "XAI_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "mistral": "MISTRAL_API_KEY",
}
PROVIDERS = tuple(KEY_VARIABLES)
