#!/usr/bin/python3
"""Probe worker: holds conversations with language models.

usage: probe.py            one conversation: a JSON document on stdin, its transcript on stdout
       probe.py --serve    many conversations for a supervisor, protocol 1 (PROTOCOL.md)
       probe.py --forkserver    forks workers that serve, for a supervisor on descriptor 3
       probe.py --help     this text
       probe.py --version

One-shot input:
  {"runId": "r", "scenarioId": "s", "modelId": "gpt-4",
   "scenario": {"preamble": "...", "prompt": "...", "followups": [{"label": "...", "prompt": "..."}]},
   "config": {"temperature": 0.7, "maxTokens": 1000, "maxTurns": 10}}
modelId may name its provider: openai:my-model. All of config, the preamble and the followups are optional.

One-shot output:
  {"success": true, "transcript": {"turns": [...], "totalInputTokens": 0, "totalOutputTokens": 0,
   "modelVersion": "...", "startedAt": "...", "completedAt": "..."}}
  {"success": false, "error": {"message": "...", "code": "...", "retryable": false, "details": {...}, ...}}

Environment:
  OPENAI_API_KEY ANTHROPIC_API_KEY GOOGLE_API_KEY XAI_API_KEY DEEPSEEK_API_KEY MISTRAL_API_KEY
  PROCTOR_PROVIDERS   JSON {"openai": {"base_url": "...", "key_env": "..."}, ...}
  PROCTOR_MODELS      models.ini (default: conf/models.ini beside workers/, else /etc/proctor/models.ini)
  PROCTOR_CAPACITY    conversations at once (500)
  PROCTOR_LOG_LEVEL   debug, info, warning or error
  FAIL_MODEL_ID       model answered with a simulated rate limit
  HTTPS_PROXY NO_PROXY SSL_CERT_FILE and their kin, as for curl

Exit status: 0 when a JSON answer was given or serving ended as told, 64 bad usage, 65 the supervisor
broke the protocol, 74 the supervisor stopped reading, 78 the environment or a file cannot be used.
"""

import functools
import os
import signal
import sys

from proctor import MIN_PYTHON, PROTOCOL, PROVIDERS, VERSION, stdio

EXIT_USAGE = 64
EXIT_CONFIG = 78


def open_engine(settings):
    """The engine for these settings. Raises ConfigError for a models.ini that cannot be used."""
    from proctor import conversation, models, providers
    return conversation.Engine(settings, models.load(settings.models_path), providers.open_all(settings))


def serve():
    """Serves the protocol, and says hello before it prepares itself; returns the exit code."""
    take_signals()
    fd_in, fd_out = stdio.claim()
    settings = attempt(read_settings)
    if settings is None:
        return EXIT_CONFIG
    say_hello(settings, fd_out)
    make_worker = attempt(prepare, settings)
    if make_worker is None:
        return EXIT_CONFIG
    return make_worker().run(fd_in, fd_out)


def serve_forks():
    """Prepares once, then forks workers as told; returns the exit code."""
    take_signals()
    settings = attempt(read_settings)
    make_worker = settings and attempt(prepare, settings)
    if make_worker is None:
        return EXIT_CONFIG
    from proctor.forkserver import ForkServer
    return ForkServer(lambda: serve_later(settings, make_worker)).run()


def serve_later(settings, make_worker):
    """Makes a worker; returns the function that has it serve on 0, 1 and 2 as they are by then."""
    worker = make_worker()

    def serve_now():
        fd_in, fd_out = stdio.claim()
        say_hello(settings, fd_out)
        return worker.run(fd_in, fd_out)
    return serve_now


def attempt(step, *arguments):
    """What the step gives, or None with the reason in the log."""
    from proctor import config, log
    try:
        return step(*arguments)
    except config.ConfigError as fault:
        log.error("worker.config", reason=str(fault))
    except ImportError as fault:
        log.error("worker.package", reason=missing_package(fault))
    return None


def read_settings():
    from proctor import config
    return config.Settings(os.environ)


def prepare(settings):
    """Imports and reads all that a worker needs; returns the function that makes one, without descriptors yet.

    Raises ConfigError and ImportError.
    """
    from proctor.serve import Worker
    allow_descriptors(settings.capacity)
    return functools.partial(Worker, settings, open_engine(settings))


def take_signals():
    """SIGINT is left to the supervisor; SIGUSR1 writes all stacks to stderr, however stuck we are."""
    # A Ctrl-C at a terminal reaches the whole process group; the supervisor decides when we end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import faulthandler
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)


def say_hello(settings, fd_out):
    from proctor import sanitize
    hello = {"type": "hello", "protocol": PROTOCOL, "kind": "probe", "version": VERSION,
             "python": ".".join(map(str, sys.version_info[:3])), "pid": os.getpid(),
             "capacity": settings.capacity, "providers": PROVIDERS}
    stdio.write_all(fd_out, sanitize.encode(hello).encode() + b"\n")


def allow_descriptors(capacity):
    """Raises the soft limit of open files to what a connection for each conversation needs, if it may."""
    import resource
    wanted = 2 * capacity + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def one_shot():
    """Holds the conversation that stdin describes; returns the exit code."""
    fd_in, fd_out = stdio.claim()
    from proctor import config, sanitize
    try:
        from proctor import oneshot
        settings = config.Settings(os.environ)
        engine = open_engine(settings)
        with open(fd_in, "rb") as file:
            answer = oneshot.answer(settings, engine, file)
    except ImportError as fault:
        answer = refusal(missing_package(fault))
    except config.ConfigError as fault:
        answer = refusal(str(fault))
    stdio.write_all(fd_out, sanitize.encode(answer).encode() + b"\n")
    return 0


def refusal(reason):
    """The answer when the environment does not allow any conversation."""
    return {"success": False, "error": {"message": reason, "code": "VALIDATION_ERROR", "retryable": False,
                                        "details": None, "retryAfterMs": None, "statusCode": None}}


def missing_package(fault):
    """What to do about an import that failed."""
    return f"{fault}; see what is missing with: {sys.executable} {os.path.dirname(__file__)}/health_check.py"


def main(arguments):
    if sys.version_info < MIN_PYTHON:
        print(f"probe.py needs Python {'.'.join(map(str, MIN_PYTHON))} or newer", file=sys.stderr)
        return EXIT_CONFIG
    if arguments == ["--serve"]:
        return serve()
    if arguments == ["--forkserver"]:
        return serve_forks()
    if not arguments:
        return one_shot()
    if arguments == ["--help"] or arguments == ["-h"]:
        print(__doc__.strip())
        return 0
    if arguments == ["--version"]:
        print(f"proctor probe worker {VERSION}, protocol {PROTOCOL}")
        return 0
    print(f"probe.py: cannot understand {' '.join(arguments)!r}; see probe.py --help", file=sys.stderr)
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
