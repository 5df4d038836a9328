"""`proctord --spool-dump FILE` reads a segment of the spool offline. The segment is made here, byte for byte as
supervisor/README.md draws it, so that the drawing is held to what the program does."""

import json
import os
import struct
import subprocess

import pytest

from harness import place

SPOOL_ID = 0x1122334455667788
AT_MS = 1764000000123


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def header(first, version=1):
    head = b"PRspool\n" + struct.pack("<IIQQq20x", version, 0, SPOOL_ID, first, AT_MS)
    return head + struct.pack("<I", crc32c(head))


def record(seq, kind, meta, body=b"", job=7, attempt=1):
    payload = meta + b"\n" + body
    length = struct.pack("<I", len(payload))
    rest = struct.pack("<QQqqII", SPOOL_ID, seq, AT_MS, job, attempt, kind) + payload
    return length + struct.pack("<I", crc32c(length + rest)) + rest


TWO = (header(41) + record(41, 1, b'{"number":1}', '{"response":"Grüße"}'.encode()) +
       record(42, 2, b'{"fate":0}'))


@pytest.fixture
def dump():
    folder = place.make_folder("spool")

    def run(content=None):
        path = f"{folder}/0000000000000029.spool"
        if content is not None:
            with open(path, "wb") as file:
                file.write(content)
        return subprocess.run([f"{place.installation()}/sbin/proctord", "--spool-dump", path], text=True,
                              capture_output=True, check=False, timeout=20, cwd="/",
                              env={"PATH": "/usr/bin:/bin"})

    yield run
    place.remove_folder(folder)


def test_every_record_is_a_line_of_json_and_the_end_is_told(dump):
    done = dump(TWO + bytes(4000))
    assert done.returncode == 0, done.stderr
    turn, end, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert turn == {"seq": 41, "at": "2025-11-24T16:00:00.123Z", "kind": "turn", "job": 7, "attempt": 1,
                    "meta": {"number": 1}, "body": {"response": "Grüße"}}
    assert end == {"seq": 42, "at": "2025-11-24T16:00:00.123Z", "kind": "end", "job": 7, "attempt": 1,
                   "meta": {"fate": 0}}
    assert last == {"end": "good", "byte": len(TWO), "records": 2, "damages": 0}


def test_a_segment_that_was_cut_off_says_where(dump):
    done = dump(TWO[:-1])
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("seq") for line in lines] == [41, None, None]
    assert lines[-1]["end"] == "cut off"
    assert lines[-1]["byte"] == len(TWO) - len(record(42, 2, b'{"fate":0}'))


@pytest.mark.parametrize("content, said", [
    (None, "No such file or directory"),
    (b"a text", "not a segment of a spool"),
    (bytes(4096), "nothing was written to it yet"),
    (header(1, version=7)[:8] + struct.pack("<I", 7) + header(1)[12:50] + os.urandom(14), "newer version"),
])
def test_what_is_no_segment_is_refused_in_one_line(dump, content, said):
    done = dump(content)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr and "0000000000000029.spool" in done.stderr


def test_the_help_names_it():
    done = subprocess.run([f"{place.installation()}/sbin/proctord", "--help"], text=True, capture_output=True,
                          check=True, timeout=20)
    assert "--spool-dump FILE" in done.stdout
