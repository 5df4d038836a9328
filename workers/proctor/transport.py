"""HTTP calls, many at once: one libcurl multi driven by one epoll set.

`Transport.wait` is the heart of every loop in a worker: it sleeps until a call or a registered
descriptor has something to say, drives the calls, reports those that ended to `on_done`, and returns
what happened on the other descriptors. No call is ever repeated here, not even by libcurl (see
`Exchange.read`): a call may cost money and is the supervisor's to permit.
"""

import select
import time

import pycurl

from . import clock, errors

MAX_RESPONSE_BYTES = 4 * 1024 * 1024
MAX_HEADER_BYTES = 256 * 1024
CONNECT_TIMEOUT_MS = 10_000
KEEPALIVE_IDLE_S = 60

_EPOLL_MASKS = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_BAD_URL = (pycurl.E_URL_MALFORMAT, pycurl.E_UNSUPPORTED_PROTOCOL)
_BAD_CERTIFICATE = (pycurl.E_SSL_CACERT, pycurl.E_SSL_CACERT_BADFILE, pycurl.E_PEER_FAILED_VERIFICATION)


class Channel:
    """One provider's prepared header lines and its pool of idle exchanges."""

    __slots__ = ("headers", "idle")

    def __init__(self, headers):
        self.headers = headers
        self.idle = []


class Exchange:
    """An easy handle and the call that it carries; reused for ever, so that nothing is set up twice.

    owner        whose call it is, None when idle
    headers      raw lines of the response
    started_at   ISO stamp of the start; latency_ms once it is done, at least 1
    """

    __slots__ = ("easy", "owner", "channel", "headers", "started_at", "latency_ms", "deadline_ms",
                 "_url", "_payload", "_sent", "_chunks", "_size", "_header_size", "_started")

    def __init__(self, channel, settings):
        self.channel = channel
        self.owner = None
        self.headers = []
        self.deadline_ms = None
        self._url = None
        self._chunks = []
        self.easy = easy = pycurl.Curl()
        easy.exchange = self
        easy.setopt(pycurl.NOSIGNAL, 1)
        easy.setopt(pycurl.POST, 1)
        easy.setopt(pycurl.HTTPHEADER, channel.headers)
        easy.setopt(pycurl.READFUNCTION, self.read)
        easy.setopt(pycurl.WRITEFUNCTION, self.write)
        easy.setopt(pycurl.HEADERFUNCTION, self.header)
        easy.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        easy.setopt(pycurl.UPLOAD_BUFFERSIZE, 16384)
        easy.setopt(pycurl.CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS)
        easy.setopt(pycurl.TCP_KEEPALIVE, 1)
        easy.setopt(pycurl.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        _set_trust(easy, settings)
        if not settings.has_proxy:
            # Spares libcurl a look through the environment at every call.
            easy.setopt(pycurl.PROXY, "")

    def load(self, owner, url, payload, deadline_ms):
        """Prepares the next call."""
        easy = self.easy
        if url != self._url:
            self._url = url
            easy.setopt(pycurl.URL, url)
            # Over TLS, wait for a connection in the making that may turn out to be HTTP/2 rather than
            # open one for each call. Without TLS that would hold all back until the first answer.
            easy.setopt(pycurl.PIPEWAIT, url.startswith("https:"))
        if deadline_ms != self.deadline_ms:
            self.deadline_ms = deadline_ms
            easy.setopt(pycurl.TIMEOUT_MS, deadline_ms)
        easy.setopt(pycurl.POSTFIELDSIZE_LARGE, len(payload))
        self.owner = owner
        self._payload = payload
        self._sent = self._size = self._header_size = 0
        self._chunks.clear()
        self.headers.clear()
        self.started_at = clock.iso_now()
        self._started = time.monotonic()

    def read(self, size):
        """The next piece of the request's body.

        libcurl sends a request again by itself when a reused connection dies before the answer. A body
        that comes from here and cannot be rewound turns that into an error instead, once any of it was sent.
        """
        start = self._sent
        payload = self._payload
        if start == 0 and len(payload) <= size:
            self._sent = len(payload)
            return payload
        piece = payload[start:start + size]
        self._sent = start + len(piece)
        return piece

    def write(self, chunk):
        self._size += len(chunk)
        if self._size > MAX_RESPONSE_BYTES:
            return 0
        self._chunks.append(chunk)
        return None

    def header(self, line):
        self._header_size += len(line)
        if self._header_size > MAX_HEADER_BYTES:
            return 0
        if line.startswith(b"HTTP/"):
            # A new block: what came before was a proxy's, or a 100 Continue.
            self.headers.clear()
        self.headers.append(line)
        return None

    def finish(self):
        self.latency_ms = max(1, round((time.monotonic() - self._started) * 1000))

    @property
    def status(self):
        return self.easy.getinfo(pycurl.RESPONSE_CODE)

    @property
    def body(self):
        chunks = self._chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def failure(self, number, text):
        """The ProbeError for a libcurl error of this call."""
        details = {"curl": number, "elapsedMs": self.latency_ms}
        if self._size > MAX_RESPONSE_BYTES:
            told = self.easy.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD)
            details["bytes"] = int(told) if told > 0 else self._size
            return errors.InvalidResponse(
                f"the answer is too large: {details['bytes']} bytes{'' if told > 0 else ' and more'},"
                f" at most {MAX_RESPONSE_BYTES} are accepted", details)
        if self._header_size > MAX_HEADER_BYTES:
            return errors.InvalidResponse(f"the answer's headers exceed {MAX_HEADER_BYTES} bytes", details)
        if number == pycurl.E_OPERATION_TIMEDOUT:
            return self._timeout(details)
        if number in _BAD_URL:
            return errors.ValidationError(f"the provider's base_url cannot be used: {text}", details)
        if number == pycurl.E_SEND_FAIL_REWIND:
            text = "the connection was closed before the answer"
        elif number in _BAD_CERTIFICATE:
            text += "; a CA bundle of your own can be named in SSL_CERT_FILE"
        return errors.NetworkError(f"the call failed: {text or f'libcurl error {number}'}", details)

    def _timeout(self, details):
        if self._sent == 0 and self.latency_ms < self.deadline_ms:
            return errors.NetworkError(f"no connection within {CONNECT_TIMEOUT_MS} ms", details)
        details["deadlineMs"] = self.deadline_ms
        return errors.Timeout(f"no complete answer within {self.deadline_ms} ms", details)


class Transport:
    """settings: capacity, CA bundle and proxies as in config.Settings.

    on_done(exchange, error) is called from `wait` for each call that ended, error None when a whole
    response is there. The exchange is the callee's until it returns. `active` counts calls under way.
    """

    def __init__(self, settings, on_done):
        self._settings = settings
        self._on_done = on_done
        self._epoll = select.epoll()
        self._curl_fds = {}
        self._due = None
        self._exchanges = 0
        self._channels = {}
        self.active = 0
        self._multi = multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        multi.setopt(pycurl.M_MAXCONNECTS, settings.capacity)
        multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, 0)

    def register(self, fd, mask):
        """Has `wait` report a descriptor's events. Raises PermissionError for a regular file."""
        self._epoll.register(fd, mask)

    def unregister(self, fd):
        self._epoll.unregister(fd)

    def start(self, owner, provider, url, payload, deadline_ms):
        """Begins a call and returns its exchange.

        payload is the POST's body, deadline_ms the most the call may take.

        Raises what `provider.headers()` raises: MissingApiKey, AuthError.
        """
        channel = self._channels.get(provider.name)
        if channel is None:
            channel = self._channels[provider.name] = Channel(provider.headers())
        exchange = channel.idle.pop() if channel.idle else self._obtain(channel)
        exchange.load(owner, url, payload, deadline_ms)
        self._multi.add_handle(exchange.easy)
        self.active += 1
        return exchange

    def cancel(self, exchange):
        """Ends a call at once; on_done is not called for it."""
        self._multi.remove_handle(exchange.easy)
        self._release(exchange)

    def _obtain(self, channel):
        if self._exchanges >= self._settings.capacity:
            for other in self._channels.values():
                if other.idle:
                    exchange = other.idle.pop()
                    exchange.channel = channel
                    exchange.easy.setopt(pycurl.HTTPHEADER, channel.headers)
                    return exchange
        self._exchanges += 1
        return Exchange(channel, self._settings)

    def _release(self, exchange):
        exchange.owner = exchange._payload = None
        exchange._chunks.clear()
        exchange.channel.idle.append(exchange)
        self.active -= 1

    def wait(self, timeout_ms):
        """Waits at most timeout_ms (None: for ever) and returns [(fd, mask)] of registered descriptors."""
        foreign = []
        curl_fds = self._curl_fds
        socket_action = self._multi.socket_action
        for fd, mask in self._epoll.poll(self._timeout_s(timeout_ms)):
            if fd in curl_fds:
                socket_action(fd, (pycurl.CSELECT_IN if mask & _READABLE else 0)
                              | (pycurl.CSELECT_OUT if mask & select.EPOLLOUT else 0))
            else:
                foreign.append((fd, mask))
        if self._due is not None and self._due <= time.monotonic():
            self._due = None
            socket_action(pycurl.SOCKET_TIMEOUT, 0)
        if self.active:
            self._collect()
        return foreign

    def _timeout_s(self, timeout_ms):
        timeout = -1 if timeout_ms is None else timeout_ms / 1000
        if self._due is not None:
            left = max(0.0, self._due - time.monotonic())
            timeout = left if timeout < 0 else min(left, timeout)
        return timeout

    def _collect(self):
        more = True
        while more:
            more, done, failed = self._multi.info_read()
            for easy in done:
                self._end(easy.exchange, None)
            for easy, number, text in failed:
                self._end(easy.exchange, (number, text))

    def _end(self, exchange, fault):
        exchange.finish()
        self._multi.remove_handle(exchange.easy)
        try:
            self._on_done(exchange, exchange.failure(*fault) if fault else None)
        finally:
            self._release(exchange)

    def _on_socket(self, event, fd, multi, data):
        known = self._curl_fds.get(fd)
        if event == pycurl.POLL_REMOVE:
            if known is not None:
                del self._curl_fds[fd]
                try:
                    self._epoll.unregister(fd)
                except OSError:
                    # Closed already, and so gone from the set.
                    pass
            return
        mask = _EPOLL_MASKS.get(event, 0)
        if known is None:
            self._epoll.register(fd, mask)
        elif known != mask:
            self._epoll.modify(fd, mask)
        self._curl_fds[fd] = mask

    def _on_timer(self, timeout_ms):
        self._due = None if timeout_ms < 0 else time.monotonic() + timeout_ms / 1000


def _set_trust(easy, settings):
    """Trusts one file, or one folder, and nothing beside it.

    Debian's libcurl reads both a bundle and all files of a folder, the same certificates twice, for
    every connection: 80 ms in which this loop would do nothing else, against 2 ms for the bundle alone.
    """
    if settings.ca_file:
        easy.setopt(pycurl.CAINFO, settings.ca_file)
        easy.setopt(pycurl.PROXY_CAINFO, settings.ca_file)
        easy.unsetopt(pycurl.CAPATH)
        easy.unsetopt(pycurl.PROXY_CAPATH)
    elif settings.ca_dir:
        easy.setopt(pycurl.CAPATH, settings.ca_dir)
        easy.setopt(pycurl.PROXY_CAPATH, settings.ca_dir)
        easy.unsetopt(pycurl.CAINFO)
        easy.unsetopt(pycurl.PROXY_CAINFO)
