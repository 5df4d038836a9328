"""Many children, and children that say much."""

from harness import place
from services import sections

FEW, MANY = 40, 200


def test_crash_reports_are_bounded(make_daemon, services):
    """Megabytes on stderr before the end: the record keeps the last of them, the log not all of the lines."""
    loud = services.service("a", "flood", "live=1", "status=3", type="temporary")
    daemon = make_daemon(sections(services.pool(), loud))
    event = daemon.wait_event("service.exit", 30, subject="a")
    assert event["data"]["exit"] == "exit=3"
    assert 1000 < len(event["data"]["stderr"]) <= 64 << 10
    assert set(event["data"]["stderr"]) <= {"e", "\n"}
    daemon.wait_log("stderr.suppressed service=a lines=")
    assert sum("stderr service=a" in line for line in daemon.log_lines()) < 500


def processor_seconds(pid):
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9


def cost_of(make_tree, services, count):
    """Processor seconds of the daemon for the start, and for the stop, of so many children."""
    children = [{f"service:s{number}": {"command": "/bin/sleep 1000"}} for number in range(count)]
    tree = make_tree(services.group("group", "one_for_one", *children, intensity=5, period="1m"))
    tree.wait_log("daemon.running", deadline=60)
    started = processor_seconds(tree.process.pid)
    # The last of them may still be on its way to its program.
    sleeping = place.wait_until(lambda: all_sleeping(tree, count), 10, f"{count} sleeping children")
    before = processor_seconds(tree.process.pid)
    tree.call("services.stop", name="group")
    tree.wait_log("tree.state node=group state=down", deadline=60)
    assert not any(place.process_is_alive(pid) for pid in sleeping)
    return started, processor_seconds(tree.process.pid) - before


def all_sleeping(tree, count):
    """Their pids, once there are so many."""
    sleeping = [pid for pid in place.descendants(tree.process.pid) if name_of(pid) == "sleep"]
    return sleeping if len(sleeping) == count else None


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return None


def test_start_and_stop_of_many_children_scale_linearly(make_tree, services):
    few, many = cost_of(make_tree, services, FEW), cost_of(make_tree, services, MANY)
    for what, small, large in zip(("start", "stop"), few, many):
        # Quadratic growth would be 25 times; what is there without any child makes it less than 5.
        assert large < small * 2 * MANY / FEW, f"{what}: {small:.3f} s for {FEW}, {large:.3f} s for {MANY}"
