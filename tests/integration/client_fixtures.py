"""A daemon with some runs in every state, for tests of what the client shows. Named in pytest_plugins."""

import os

import pytest

from harness import place
from probing import define, running, start, wait_end

REASON = "held for the picture"


class Shown:
    """daemon; done, failed: ended runs; queued: one of two models that waits for a paused provider."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.client = os.path.join(place.installation(), "bin", "proctorctl")
        self.done = start(daemon, 3, models=["gpt-4"])
        wait_end(daemon, self.done)
        self.failed = start(daemon, 1, models=["no-such-model"])
        wait_end(daemon, self.failed)
        daemon.call("providers.pause", provider="anthropic", reason=REASON)
        self.definition = define(daemon, 40, name="dilemmas")
        self.queued = daemon.call("run.start", definition=self.definition,
                                  models=["claude-3-sonnet", "claude-3-opus"])["id"]

    def words(self, *words):
        return [self.client, "--socket", self.daemon.socket_path, *map(str, words)]

    def run(self, *words):
        return self.daemon.proctorctl(*words)

    def lines(self, *words):
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def shown(module_simulator, postgres):
    with running(module_simulator, {"database": {"url": postgres.database()}}) as daemon:
        yield Shown(daemon)
