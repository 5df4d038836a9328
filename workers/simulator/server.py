"""The HTTP side: aiohttp's low-level server, and the delivery of a plan in all its ways."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time

from aiohttp import web
from aiohttp.web_request import BaseRequest

from simulator.control import Control
from simulator.engine import Engine, Plan
from simulator.formats import FORMATS

BACKLOG = 4096
CONTROL_BODY_MOST = 16 << 20
PIECES = 10  # of a slow body


def loopback_address(host: str) -> str:
    """`localhost` or a loopback address; anything else is a ValueError."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"host {host!r} is not an IP address") from None
    if not address.is_loopback:
        raise ValueError(f"host {host} is not a loopback address: the simulator serves this machine only")
    return host


class Listener(web.Server):
    """aiohttp's server, which also tells when the client of a request has gone."""

    def __init__(self, handler, request_factory):
        super().__init__(handler, request_factory=request_factory, access_log=None, keepalive_timeout=3600.0)
        self._departures: dict[object, asyncio.Future] = {}

    def connection_made(self, handler, transport) -> None:
        super().connection_made(handler, transport)
        # Draining then means that the kernel has every byte: only so "delivered whole" means something.
        transport.set_write_buffer_limits(0)

    def connection_lost(self, handler, exc=None) -> None:
        super().connection_lost(handler, exc)
        waiter = self._departures.pop(handler, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(False)

    async def stays(self, request: BaseRequest, seconds: float | None) -> bool:
        """Waits so long (None = without end); False as soon as the client has gone."""
        if _is_gone(request):
            return False
        loop = asyncio.get_running_loop()
        waiter = self._departures[request.protocol] = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, _pass, waiter)
        try:
            return await waiter
        finally:
            if timer is not None:
                timer.cancel()
            # One that was cancelled ends behind the beginning of the next.
            if self._departures.get(request.protocol) is waiter:
                del self._departures[request.protocol]


def _pass(waiter: asyncio.Future) -> None:
    if not waiter.done():
        waiter.set_result(True)


def _port_of(request: BaseRequest) -> int:
    """The client's; 0 once it has gone."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return peer[1] if peer else 0


def _is_gone(request: BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()


class Simulator:
    """Takes requests from the listener to the engine, and plans back to the client."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.control = Control(engine)
        self._listener: Listener | None = None
        self._sockets: asyncio.AbstractServer | None = None

    async def listen(self, host: str, port: int) -> int:
        """The port that is served (port 0 picks one).  Raises OSError."""
        loop = asyncio.get_running_loop()
        self._listener = Listener(self._handle, self._make_request)
        self._sockets = await loop.create_server(self._listener, host, port, backlog=BACKLOG, reuse_address=True)
        return self._sockets.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Takes no new connection; what is under way ends when its task is cancelled."""
        self._sockets.close()

    def _make_request(self, message, payload, protocol, writer, task) -> BaseRequest:
        most = max(self.engine.settings.max_request_bytes, CONTROL_BODY_MOST)
        return BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=most)

    async def _handle(self, request: BaseRequest) -> web.StreamResponse:
        _, first, rest = f"{request.path}//".split("/", 2)
        rest = rest[:-2] if rest.endswith("//") else ""
        if first in FORMATS:
            return await self._serve(request, first, "/" + rest)
        if first == "_sim":
            status, body = await self.control.handle(request.method, rest, request.query, await request.read())
        else:
            status, body = 404, {"error": f"no such provider; known: {', '.join(FORMATS)}; control: /_sim/"}
        return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")

    async def _body(self, request: BaseRequest) -> bytes | None:
        """The request's body; None when it is too long."""
        most = self.engine.settings.max_request_bytes
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return None
        return body if len(body) <= most else None

    async def _serve(self, request: BaseRequest, provider: str, path: str) -> web.StreamResponse:
        body = await self._body(request)
        # The one clock by which limits age, read when the request has arrived whole.
        now, wall = time.monotonic_ns(), time.time()
        plan = self.engine.receive(provider, request.method, path, request.headers, body, now, wall, _port_of(request))
        if plan.record is None:
            return web.Response(status=plan.status, body=plan.body, headers=plan.headers)
        delivered = False
        try:
            self.control.changed()
            response, delivered = await self._deliver(request, plan)
        except ConnectionError:
            response = web.Response(status=plan.status)
        finally:
            self.engine.finish(plan, delivered, time.monotonic_ns(), time.time())
            self.control.changed()
        return response

    async def _deliver(self, request: BaseRequest, plan: Plan) -> tuple[web.StreamResponse, bool]:
        """Sends the plan; the response and whether all of it went out to a client still there."""
        if plan.gated and not self.control.open_gate.is_set():
            await self._pass_gate(request)
        if plan.latency_s > 0:
            await self._listener.stays(request, plan.latency_s)
        if _is_gone(request):
            raise ConnectionResetError("the client has gone")
        if plan.effects:
            return await self._deliver_oddly(request, plan)
        response = web.Response(status=plan.status, body=plan.body, headers=plan.headers)
        await response.prepare(request)
        await response.write_eof()
        return response, not _is_gone(request)

    async def _pass_gate(self, request: BaseRequest) -> None:
        """Waits until the gate opens or the client leaves."""
        gate = asyncio.ensure_future(self.control.open_gate.wait())
        leaving = asyncio.ensure_future(self._listener.stays(request, None))
        self.engine.held += 1
        self.control.changed()
        try:
            await asyncio.wait({gate, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.engine.held -= 1
            gate.cancel()
            leaving.cancel()

    async def _deliver_oddly(self, request: BaseRequest, plan: Plan) -> tuple[web.StreamResponse, bool]:
        """slow, hangup and hang: the body in pieces, and perhaps not all of it."""
        stop = plan.effects.get("hangup") or plan.effects.get("hang")
        response = web.StreamResponse(status=plan.status, headers=plan.headers)
        if stop == "start":
            await self._part(request, plan)
            return web.Response(status=plan.status), False
        response.content_length = len(plan.body)
        await response.prepare(request)
        pause = plan.effects.get("slow", 0.0) / PIECES
        end = {"headers": 0, "middle": len(plan.body) // 2}.get(stop, len(plan.body))
        size = max(1, -(-len(plan.body) // PIECES))
        for at in range(0, end, size):
            if pause and not await self._listener.stays(request, pause):
                raise ConnectionResetError("the client has gone")
            await response.write(plan.body[at:min(end, at + size)])
        if stop:
            await self._part(request, plan)
            return response, False
        await response.write_eof()
        return response, not _is_gone(request)

    async def _part(self, request: BaseRequest, plan: Plan) -> None:
        """The end of a broken answer: silence until the client leaves, or our own leaving."""
        if "hang" in plan.effects:
            await self._listener.stays(request, None)
        elif not _is_gone(request):
            request.transport.close()
