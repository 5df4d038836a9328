"""take_grants(): nodes share the limits of a provider. Most tests own the time: clock_timestamp() is theirs."""

import itertools
import random
import threading
import time
from collections import defaultdict

import pytest

from test_concurrency import run_all

TAKE = """SELECT * FROM take_grants(%s, %s, %s, %s, %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[], %s::bigint[], %s::bigint[]) ORDER BY place"""

# A span of a minute, as nodes ask for it: widened by the life of a grant and by what delays calls unevenly.
MINUTE = {"window": 60650, "life": 200}
SECOND = {"window": 1080, "life": 30}
DAY = {"window": 0, "life": 0, "unit": "requests/day"}
AT_ONCE = {"window": -1, "life": 250, "unit": "concurrency"}

CLOCK = """
CREATE SCHEMA test_clock;
CREATE FUNCTION test_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT to_timestamp(current_setting('test.now')::float8) $$;
"""

START = 1_800_000_000  # 08:00 UTC


def take(node, *asks):
    """One round; each ask is a dict."""
    def column(key, default):
        return [ask.get(key, default) for ask in asks]
    values = [column("lane", "openai"), column("scope", ""), column("unit", "requests/min"), column("rate", None),
              column("window", None), column("life", None), column("rest", 0), column("gives", 0), column("needs", 1),
              column("wants", 0)]
    return node.rows(TAKE, node.node, *values)


class Clock:
    """The database's clock as its functions see it on one connection, in seconds since START."""

    def __init__(self, queue):
        self.queue = queue
        queue.rows(CLOCK)
        queue.rows("SET search_path = test_clock, public, pg_catalog")
        self.now = 0.0
        self.set(0.0)

    def set(self, seconds):
        self.now = seconds
        self.queue.rows("SELECT set_config('test.now', %s, false)", repr(START + seconds))


class Node:
    """One node of many on the connection whose clock is the test's; it asks for one limit."""

    def __init__(self, clock, **ask):
        self.clock, self.queue, self.ask = clock, clock.queue, ask
        self.node = self.queue.value("SELECT join_node('n', %s)", f"folder{next(_folders)}")
        self.beat(0)

    def beat(self, ago):
        # Far in the future for a node that lives as long as the test.
        self.queue.rows("UPDATE nodes SET beat_at = to_timestamp(%s) WHERE id = %s",
                        START + (self.clock.now - ago if ago else 10**6), self.node)

    def rows(self, *query):
        return self.queue.rows(*query)

    def take(self, **more):
        answer, = take(self, {**self.ask, **more})
        return answer

    def granted(self, **more):
        return self.take(**more)["granted"]

    def die(self):
        self.queue.rows("DELETE FROM nodes WHERE id = %s", self.node)


_folders = itertools.count()


@pytest.fixture
def clock(queue):
    return Clock(queue)


def worst_window(spent, span):
    """The most that was spent in any span; `spent` is a list of (time, amount)."""
    spent = sorted(spent)
    most, total, first = 0, 0, 0
    for at, amount in spent:
        total += amount
        while spent[first][0] <= at - span:
            total -= spent[first][1]
            first += 1
        most = max(most, total)
    return most


def use_between(spent, begin, end):
    return sum(amount for at, amount in spent if begin <= at < end)


class Spender:
    """A node that always has calls to make: it spends each grant at a random time of its life, and returns the rest."""

    def __init__(self, node, costs, order):
        self.node, self.costs, self.order = node, costs, order
        self.next_at, self.ends = order.random() * 0.1, 1e9
        self.cost = costs(order)
        self.rest, self.until = 0, 0
        self.spent = []

    def round(self):
        now, life = self.node.clock.now, self.node.ask["life"] / 1000
        answer = self.node.take(gives=self.rest if now < self.until else 0, needs=self.cost, wants=self.cost * 50)
        self.rest, self.until = answer["granted"], now + life
        while self.rest >= self.cost:
            self.spent.append((now + self.order.random() * life, self.cost))
            self.rest -= self.cost
            self.cost = self.costs(self.order)
        wait = answer["wait_ms"] / 1000
        # A timer is late, and an answer takes its time.
        self.next_at = now + max(min(wait, life / 2) if self.rest else wait, 0.005) + self.order.random() * 0.01


def let_spend(clock, spenders, until):
    """Everybody's rounds in the order of time."""
    while True:
        live = [one for one in spenders if one.next_at < min(until, one.ends)]
        if not live:
            return
        one = min(live, key=lambda spender: spender.next_at)
        clock.set(max(one.next_at, clock.now))
        one.round()


def uniform(low, high):
    return lambda order: order.randint(low, high)


def heavy_tailed(order):
    return min(int(200 * order.paretovariate(1.2)), 4000)


@pytest.mark.parametrize("rate, costs, least", [
    pytest.param(50, uniform(1, 1), 98, id="50-requests"),
    pytest.param(3000, uniform(1, 1), 98, id="3000-requests"),
    pytest.param(30000, uniform(50, 500), 97.5, id="small-tokens"),
    pytest.param(100000, heavy_tailed, 95.5, id="heavy-tailed-tokens"),
])
def test_three_nodes_use_a_sliding_minute_in_full_and_never_more(clock, rate, costs, least):
    order = random.Random(7)
    spenders = [Spender(Node(clock, rate=rate, **MINUTE), costs, order) for _ in range(3)]
    let_spend(clock, spenders, 190)
    spent = [entry for one in spenders for entry in one.spent]
    assert worst_window(spent, 60) <= rate
    assert use_between(spent, 10, 190) / (rate * 3) * 100 >= least
    shares = [sum(amount for _, amount in one.spent) for one in spenders]
    assert min(shares) >= 0.8 * max(shares), shares


def test_nothing_is_broken_and_little_lost_when_nodes_come_and_go(clock):
    """Some die with what they have, others pause; as long as one is there, the limit is used."""
    order = random.Random(11)
    constant = Spender(Node(clock, rate=600, **MINUTE), uniform(1, 1), order)
    spenders = [constant]
    for begin in range(0, 240, 12):
        one = Spender(Node(clock, rate=600, **MINUTE), uniform(1, 3), order)
        one.next_at, one.ends = begin + order.random(), begin + order.uniform(1, 40)
        spenders.append(one)
    let_spend(clock, spenders, 240)
    spent = [entry for one in spenders for entry in one.spent]
    assert worst_window(spent, 60) <= 600
    assert use_between(spent, 10, 240) / (600 * 230 / 60) >= 0.96


def test_fixed_seconds_of_a_short_span_are_used_to_nine_tenths(clock):
    order = random.Random(3)
    spenders = [Spender(Node(clock, rate=200, **SECOND), uniform(1, 1), order) for _ in range(3)]
    let_spend(clock, spenders, 12)
    spent = [entry for one in spenders for entry in one.spent]
    assert worst_window(spent, 1) <= 200
    assert use_between(spent, 2, 12) / 2000 >= 0.90


def test_a_new_limit_begins_as_if_it_had_been_used_in_full(clock):
    node = Node(clock, rate=600, **MINUTE)
    assert node.granted(wants=600) == 0
    clock.set(1)
    assert 1 <= node.granted(wants=600) <= 7, "what nobody came for is not kept for long"


def test_what_is_not_spent_goes_to_the_others_at_once(clock):
    first, second = (Node(clock, rate=6000, **MINUTE) for _ in range(2))
    first.take(wants=1000)
    clock.set(0.3)
    got = first.granted(wants=1000)
    assert got >= 15
    assert second.granted(wants=1000) <= 1
    first.take(gives=got)
    clock.set(0.31)
    assert second.granted(wants=1000) >= got


def test_what_a_node_keeps_counts_from_when_it_said_so(clock):
    """Kept for a minute by asking again and again, it still does not come on top of a whole span's limit."""
    order = random.Random(5)
    keeper, spender = Node(clock, rate=600, **MINUTE), Spender(Node(clock, rate=600, **MINUTE), uniform(1, 1), order)
    keeper.take(wants=3)
    clock.set(1)
    kept = keeper.granted(wants=3)
    assert kept == 3
    spender.next_at = 1
    for step in range(1, 400):
        let_spend(clock, [spender], 1 + step * 0.25)
        clock.set(1 + step * 0.25)
        assert keeper.granted(rest=kept, wants=kept) == 0
    assert worst_window([*spender.spent, (clock.now + 0.2, kept)], 60) <= 600


def test_a_debt_is_paid_by_all(clock):
    """Calls that cost more than was reserved: what the node spent too much is taken from what comes next."""
    node, other = Node(clock, rate=60650, **MINUTE), Node(clock, rate=60650, **MINUTE)
    node.take(wants=10)
    clock.set(0.25)
    assert node.granted(wants=1, rest=-1000) == 1000, "its debt is covered, and there is nothing else"
    clock.set(1)
    assert other.granted(wants=5000) == 0
    clock.set(1.5)
    assert other.granted(wants=5000) > 0


def test_a_refund_makes_room_in_the_span(clock):
    """Reserved 1000 and cost 300: the limit is used by what calls cost, not by what they could have cost."""
    node = Node(clock, rate=60000, **MINUTE)
    refund, spent = 0, []
    for step in range(1, 1200):
        clock.set(step * 0.2)
        got = node.granted(needs=1000, wants=3000, gives=refund)
        refund = got * 7 // 10
        spent.append((clock.now, got - refund))
    assert use_between(spent, 60, 240) / (60000 * 3) >= 0.95
    assert worst_window(spent[300:], 60) <= 60000 * 1.01


def test_a_call_that_needs_more_than_is_kept_gets_it_and_is_not_overtaken_for_ever(clock):
    big, small = Node(clock, rate=60000, **MINUTE), Node(clock, rate=60000, **MINUTE)
    small.take(wants=1)
    clock.set(0.1)
    big.take(needs=20000, wants=20000)
    due = 0
    for step in range(1, 400):
        clock.set(0.1 + step * 0.1)
        small.take(needs=100, wants=50000)
        if clock.now >= due:
            answer = big.take(needs=20000, wants=20000)
            if answer["granted"]:
                break
            due = clock.now + answer["wait_ms"] / 1000
    assert answer["granted"] == 20000
    assert clock.now <= 25


def test_a_node_that_does_not_come_when_it_is_its_turn_is_passed_over(clock):
    dead, alive = Node(clock, rate=60, **MINUTE), Node(clock, rate=60, **MINUTE)
    dead.take(wants=1)
    clock.set(0.01)
    wait = alive.take(wants=1)["wait_ms"]
    assert wait > 1900, "the other one is first"
    clock.set(1.9)
    assert alive.granted(wants=1) == 1


def test_the_lowest_limit_that_anybody_knows_of_holds(clock):
    order = random.Random(2)
    high, low = (Spender(Node(clock, rate=rate, **MINUTE), uniform(1, 1), order) for rate in (6000, 600))
    let_spend(clock, [high, low], 130)
    spent = high.spent + low.spent
    assert 580 <= use_between(spent, 65, 125) <= 600
    assert len(low.spent) > 400
    low.ends = 130
    let_spend(clock, [high, low], 260)
    assert use_between(high.spent, 205, 255) >= 0.97 * 6000 * 50 / 60, "it does not hold for ever"


def test_another_history_of_the_server_begins_with_nothing(clock):
    node = Node(clock, rate=6000, **MINUTE)
    node.take(wants=1)
    clock.set(100)
    assert node.granted(wants=10) == 10
    node.rows("UPDATE limit_grants SET timeline = '0000002A'")
    clock.set(130)
    assert node.granted(wants=10) == 0
    clock.set(130.2)
    assert node.granted(wants=1000) <= 21


@pytest.mark.parametrize("back", [0.5, 3600], ids=["half-second", "hour"])
def test_a_clock_that_is_set_back_gives_nothing_away_and_blocks_nobody(clock, back):
    order = random.Random(4)
    one = Spender(Node(clock, rate=6000, **MINUTE), uniform(1, 1), order)
    clock.set(4000)
    one.next_at = 4000
    let_spend(clock, [one], 4100)
    before, begin = len(one.spent), 4100 - back
    clock.now = begin
    one.next_at, one.until = begin, 0
    let_spend(clock, [one], begin + 20)
    after = [(at + back, amount) for at, amount in one.spent[before:]]
    assert worst_window(one.spent[:before] + after, 60) <= 6000
    assert len(after) >= 0.9 * 6000 / 3 - 100 * back * (back < 1)


# ---- slots ----

def slots(node, rest, wants):
    return rest + node.take(rest=rest, wants=wants)["granted"]


def test_slots_are_shared_evenly_and_all_of_them(clock):
    nodes = [Node(clock, rate=10, **AT_ONCE) for _ in range(3)]
    has = [0, 0, 0]
    for step in range(1, 9):
        for i, node in enumerate(nodes):
            clock.set(step * 0.25 + i * 0.01)
            has[i] = slots(node, has[i], 100)
            assert sum(has) <= 10
    assert sum(has) == 10 and min(has) >= 2 and max(has) <= 4, has
    # One has nothing more to do: the others get its slots.
    clock.set(3)
    slots(nodes[0], 0, 0)
    for i in (1, 2, 1, 2):
        clock.set(clock.now + 0.25)
        has[i] = slots(nodes[i], has[i], 100)
    assert has[1] + has[2] == 10


def test_slots_are_free_when_their_node_is_dead_and_not_before(clock):
    alive, dead = (Node(clock, rate=4, **AT_ONCE) for _ in range(2))
    assert slots(dead, 0, 4) == 4
    assert slots(alive, 0, 4) == 0
    dead.beat(14)
    assert slots(alive, 0, 4) == 0
    dead.beat(16)
    assert slots(alive, 0, 4) == 4


def test_slots_are_free_when_the_folder_of_their_node_boots_again(clock):
    alive, dead = (Node(clock, rate=4, **AT_ONCE) for _ in range(2))
    assert slots(dead, 0, 4) == 4
    dead.die()
    assert slots(alive, 0, 4) == 4


def test_fewer_slots_are_given_back_as_calls_end(clock):
    one, other = (Node(clock, rate=8, **AT_ONCE) for _ in range(2))
    assert slots(one, 0, 8) == 8
    one.ask["rate"] = 2
    answer = one.take(rest=8, wants=8)
    assert answer["granted"] == -6
    assert slots(other, 0, 8) == 0
    assert slots(one, 1, 1) == 1
    assert slots(other, 0, 8) == 1


# ---- days ----

def test_a_day_is_never_passed_and_used_to_its_end(clock):
    nodes = [Node(clock, rate=1000, **DAY) for _ in range(3)]
    total = 0
    for step in range(400):
        clock.set(step * 10)
        got = nodes[step % 3].granted(wants=50)
        assert got <= 10
        total += got
    assert total == 1000
    assert nodes[0].take(wants=1)["wait_ms"] > 0
    nodes[1].take(gives=4)
    assert nodes[0].granted(wants=9) == 4


def test_a_day_begins_with_nothing_used_and_nothing_kept(clock):
    node = Node(clock, rate=100, **DAY)
    clock.set(16 * 3600 - 5)  # five seconds before midnight
    assert node.granted(wants=5) == 5
    clock.set(16 * 3600 + 5)
    assert node.granted(rest=5, wants=5) == 0, "five of another day go, and five of this one come"
    assert node.rows("SELECT used::int FROM limit_grants") == [{"used": 5}]
    node.take(gives=-3)
    assert node.rows("SELECT used::int FROM limit_grants") == [{"used": 8}]


# ---- many at once, in real time ----

def test_a_node_that_is_not_registered_gets_nothing(queue):
    stranger = queue.node
    queue.node = stranger + 1000
    with pytest.raises(Exception, match="limit_shares"):
        take(queue, {"rate": 10, "wants": 1, **MINUTE})
    queue.node = stranger
    assert queue.count("limit_shares") == 0


def test_ten_connections_break_no_limit_and_never_deadlock(connect):
    nodes = [connect() for _ in range(10)]
    limits = [{"lane": lane, "unit": unit, "rate": rate, **SECOND}
              for lane in ("anthropic", "openai") for unit, rate in (("requests/min", 100), ("tokens/min", 4000))]
    granted, spent, over = defaultdict(list), defaultdict(list), threading.Event()

    def work(node, seed):
        order = random.Random(seed)
        while not over.is_set():
            asks = order.sample(limits, len(limits))
            sent = time.monotonic()
            answers = take(node, *[{**ask, "needs": ask["rate"] // 100, "wants": ask["rate"]} for ask in asks])
            got = time.monotonic()
            for ask, answer in zip(asks, answers):
                granted[ask["lane"], ask["unit"]].append((got, answer["granted"]))
                # As early and as late as it may be spent, counted from when it was asked for.
                if (until := sent + ask["life"] / 1000) > got:
                    spent[ask["lane"], ask["unit"]].append((order.uniform(got, until), answer["granted"]))
            over.wait(min(answer["wait_ms"] for answer in answers) / 1000)

    begin = time.monotonic()
    timer = threading.Timer(6, over.set)
    timer.start()
    run_all([lambda node=node, seed=seed: work(node, seed) for seed, node in enumerate(nodes)])
    timer.cancel()
    for ask in limits:
        limit = ask["lane"], ask["unit"]
        assert worst_window(spent[limit], 1) <= ask["rate"]
        assert use_between(granted[limit], begin + 2, begin + 6) / (ask["rate"] * 4) >= 0.8
