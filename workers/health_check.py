#!/usr/bin/python3
"""Health check of the Python environment that probe workers run in.

usage: health_check.py          print the verdict as one JSON object; stdin is ignored
       health_check.py --help

  {"success": true, "python_version": "3.11.2", "packages": {"pycurl": "7.45.2"},
   "api_keys": {"openai": true, "anthropic": false, ...}, "warnings": [...], "errors": [...]}

success is false when a probe could not run: Python too old, a package missing, an environment or a
models.ini that cannot be used. Which keys are set is told, never their values; that none is set is a
warning. The exit status is 0 whenever the verdict could be printed.

Only the standard library is imported here, so that any Python 3 can say what is missing.
"""

import json
import os
import sys

MIN_PYTHON = (3, 10)
# Import name -> (package of Debian, why it is needed).
PACKAGES = {"pycurl": ("python3-pycurl", "calls the providers")}
SYSTEM_PYTHON = "/usr/bin/python3"
HERE = os.path.dirname(os.path.abspath(__file__))
KEY_VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "google": "GOOGLE_API_KEY",
    "xai": "XAI_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "mistral": "MISTRAL_API_KEY",
}


def check_python(errors):
    if sys.version_info[:2] < MIN_PYTHON:
        errors.append("Python %s is too old: %d.%d or newer is needed (this is %s)"
                      % ((sys.version.split()[0],) + MIN_PYTHON + (sys.executable,)))


def check_packages(errors):
    """Versions by import name, None for what is missing; how to install it goes to errors."""
    versions = {}
    for name, (package, purpose) in PACKAGES.items():
        try:
            versions[name] = package_version(__import__(name))
        except ImportError as fault:
            versions[name] = None
            errors.append("%s is missing (%s; it %s): %s" % (name, fault, purpose, install_command(package)))
    return versions


def package_version(module):
    # pycurl.version goes on to list all of libcurl: "PycURL/7.45.2 libcurl/7.88.1 ...".
    return module.version.split()[0].split("/")[-1]


def install_command(package):
    """The command that mends this very interpreter."""
    in_venv = sys.prefix != getattr(sys, "base_prefix", sys.prefix)
    if in_venv:
        return "%s -m pip install -r %s" % (sys.executable, os.path.join(HERE, "requirements.txt"))
    if sys.executable.startswith("/usr/bin/"):
        return "apt-get install %s" % package
    return "run the workers with %s after apt-get install %s, or in a venv: pip install -r %s" % (
        SYSTEM_PYTHON, package, os.path.join(HERE, "requirements.txt"))


def key_variables(errors):
    """Provider -> variable of its key, with what PROCTOR_PROVIDERS changes."""
    variables = dict(KEY_VARIABLES)
    try:
        changes = json.loads(os.environ.get("PROCTOR_PROVIDERS") or "{}")
        variables.update({name: keys["key_env"] for name, keys in changes.items() if keys.get("key_env")})
    except (ValueError, AttributeError, TypeError) as fault:
        errors.append("PROCTOR_PROVIDERS is not a JSON object of providers: %s" % fault)
    return variables


def check_configuration(errors):
    """Reads the environment and models.ini as a worker does."""
    sys.path.insert(0, HERE)
    from proctor import config, models
    try:
        models.load(config.Settings(os.environ).models_path)
    except config.ConfigError as fault:
        errors.append(str(fault))


def verdict():
    errors, warnings = [], []
    check_python(errors)
    packages = check_packages(errors)
    variables = key_variables(errors)
    keys = {name: bool(os.environ.get(variables[name], "").strip()) for name in KEY_VARIABLES}
    if not any(keys.values()):
        names = ", ".join(variables[name] for name in KEY_VARIABLES)
        warnings.append("no API key is set: put one of %s into the environment, or into the file that"
                        " key_file in proctor.ini names" % names)
    if not errors:
        check_configuration(errors)
    return {"success": not errors, "python_version": sys.version.split()[0], "packages": packages,
            "api_keys": keys, "warnings": warnings, "errors": errors}


def main(arguments):
    if arguments in (["--help"], ["-h"]):
        print(__doc__.strip())
        return 0
    if arguments:
        sys.stderr.write("health_check.py: takes no arguments; see --help\n")
        return 64
    print(json.dumps(verdict()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
