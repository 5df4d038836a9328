"""A small HTTP server that holds each POST for a while and then gives the same answer.

    delaying_server.py PORT DELAY_S ANSWER_FILE

GET tells how many POSTs are held now, how many were at most, and how many were answered. Every call has the
same delay, so what is due first was asked first, and one queue does for all timers.
"""

import asyncio
import collections
import json
import resource
import sys


class Hold:
    """The POSTs being held, oldest first."""

    def __init__(self, delay_s, answer):
        self.delay_s = delay_s
        self.answer = head(answer) + answer
        self.waiting = collections.deque()
        self.armed = False
        self.most = 0
        self.served = 0

    def add(self, connection):
        loop = asyncio.get_running_loop()
        self.waiting.append((loop.time() + self.delay_s, connection))
        self.most = max(self.most, len(self.waiting))
        if not self.armed:
            self.armed = True
            loop.call_later(self.delay_s, self.release)

    def release(self):
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self.waiting and self.waiting[0][0] <= now:
            _, connection = self.waiting.popleft()
            connection.transport.write(self.answer)
            self.served += 1
        self.armed = bool(self.waiting)
        if self.waiting:
            loop.call_later(max(0.001, self.waiting[0][0] - now), self.release)

    def count(self):
        body = json.dumps({"in_flight": len(self.waiting), "most": self.most, "served": self.served}).encode()
        return head(body) + body


def head(body):
    lines = ("HTTP/1.1 200 OK", "Content-Type: application/json", f"Content-Length: {len(body)}", "", "")
    return "\r\n".join(lines).encode()


class Connection(asyncio.Protocol):
    """Requests one behind the other; bodies by Content-Length, as the workers send them."""

    def __init__(self, hold):
        self.hold = hold
        self.buffer = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            length = content_length(self.buffer[:end])
            if len(self.buffer) < end + 4 + length:
                return
            posted = self.buffer.startswith(b"POST ")
            self.buffer = self.buffer[end + 4 + length:]
            if posted:
                self.hold.add(self)
            else:
                self.transport.write(self.hold.count())


def content_length(lines):
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def main(port, delay_s, answer_path):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with open(answer_path, "rb") as file:
        hold = Hold(delay_s, file.read())
    server = await asyncio.get_running_loop().create_server(lambda: Connection(hold), "127.0.0.1", port,
                                                            backlog=4096)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
