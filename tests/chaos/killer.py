"""Carries a plan out."""

import heapq
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

from .site import STALL_S, Stalled

STEP_S = 0.25  # how often the daemons are looked after
TELL_S = 20.0
FREEZE_S = 3.0


class Killer:
    """counts: blows by kind, as they fell."""

    def __init__(self, site, blows, answers, tell):
        self._site = site
        self._blows = list(blows)
        self._answers = answers
        self._tell = tell
        self._due = []
        self._order = itertools.count()
        # What the server suffers takes seconds, and one thing comes after the other.
        self._surgeon = ThreadPoolExecutor(1)
        self._operations = []
        self.counts = {}
        self._acts = {"workers": self._worker, "daemon": self._daemon, "postgres": self._postgres, "stop": self._stop,
                      "upgrade": self._upgrade, "failover": self._failover}

    def rage(self):
        """Returns when all blows have fallen and whatever was stopped runs again."""
        asked, told = 0, time.monotonic()
        since = told
        with self._surgeon:
            while self._blows or self._due or not all(operation.done() for operation in self._operations):
                now = self._site.asked(asked + 1, self._wait_s())
                since = time.monotonic() if now != asked else since
                asked = now
                self._aim(asked)
                self._strike()
                self._site.watch()
                if time.monotonic() - since > STALL_S:
                    raise Stalled(f"{asked} answers, then none for {STALL_S:.0f} s\n{self._site.describe()}")
                if time.monotonic() - told > TELL_S:
                    told = time.monotonic()
                    self._tell(f"{asked} of {self._answers} answers; blows so far: {self.counts}")
        for operation in self._operations:
            operation.result()

    def _wait_s(self):
        return min(STEP_S, max(0.0, self._due[0][0] - time.monotonic())) if self._due else STEP_S

    def _later(self, seconds, act, *args):
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), act, args))

    def _aim(self, asked):
        while self._blows and asked >= self._blows[0].at * self._answers:
            blow = self._blows.pop(0)
            self._later(blow.delay_s, self._acts[blow.kind], blow)

    def _strike(self):
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, act, args = heapq.heappop(self._due)
            act(*args)

    def _count(self, blow):
        self.counts[blow.kind] = self.counts.get(blow.kind, 0) + 1

    def _running(self, blow):
        """One of those daemons that are not dead just now."""
        nodes = [node for node in self._site.nodes if node.expected]
        return nodes[int(blow.pick * 997) % len(nodes)] if nodes else None

    def _retry_without(self, node, act, blow):
        if node is None:
            self._later(STEP_S, act, blow)
        return node is None

    def _worker(self, blow):
        node = self._running(blow)
        if not self._retry_without(node, self._worker, blow):
            node.kill_worker(blow.pick)
            self._count(blow)

    def _daemon(self, blow):
        node = self._running(blow)
        if self._retry_without(node, self._daemon, blow):
            return
        node.kill()
        self._count(blow)
        if blow.down_s > 0:
            self._later(blow.down_s, node.spawn)
        else:
            node.spawn()

    def _upgrade(self, blow):
        node = self._running(blow)
        if not self._retry_without(node, self._upgrade, blow):
            node.upgrade()
            self._count(blow)

    def _operate(self, blow, act, *args):
        self._operations.append(self._surgeon.submit(act, *args))
        self._count(blow)

    def _postgres(self, blow):
        self._operate(blow, self._site.server.kill, blow.down_s)

    def _stop(self, blow):
        self._operate(blow, self._site.server.freeze, FREEZE_S)

    def _failover(self, blow):
        self._operate(blow, self._fail_over, blow.down_s)

    def _fail_over(self, lag_s):
        begun = time.time()
        missing = self._site.server.fail_over(lag_s)
        self._site.failed_over = [begun, None]
        self._tell(f"failed over; the standby has {missing} outcomes and turns less than the primary had")
