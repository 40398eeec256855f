"""An HTTP/1.1 server for a hostile network: nothing that a client does costs more than its share.

One thread and an event loop for all connections, h11 for the protocol, a few threads for what has
to wait. A body is read only after the request's head was approved of. Every step has a deadline.
Beyond `Limits.connections`, the address with most of them loses the one that has been at its step
for longest, so that who has just come is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

import h11

from mobilemod.errors import UserError

BLOCK, LINGER = 1 << 15, 1 << 20
# Connections taken before those that are there have a turn, and dropped at once in a full house.
BATCH, ROOM = 64, 16
# Seconds: that a connection has at its step before it may be dropped; between looks at a full
# house; between pieces of one body, for each body that is being read; and of what isn't wanted.
GRACE, FULL, PACE, LINGER_PACE = 0.2, 0.02, 0.001, 0.05
JSON, TEXT = "application/json", "text/plain; charset=utf-8"
BUSY = "too many connections; try again"
DROPPED = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    f"Content-Length: {len(BUSY) + 1}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n{BUSY}\n"
).encode()


@dataclass(frozen=True)
class Limits:
    """connections: open ones; past it one goes for each that comes. threads: that `Work` waits in.
    head, headers: bytes and lines of a request's head. body: bytes of one, bodies: of all that are
    being read or worked on. Seconds: head_seconds for a head to be whole, or the next to come;
    body_seconds for a body; block_seconds for the client to take 32 KiB; linger_seconds to hear a
    refusal out."""

    connections: int = 512
    threads: int = 16
    head: int = 16 << 10
    headers: int = 100
    body: int = 4 << 20
    bodies: int = 8 << 20
    head_seconds: float = 20.0
    body_seconds: float = 60.0
    block_seconds: float = 20.0
    linger_seconds: float = 2.0


@dataclass(frozen=True)
class Request:
    """A request's head. path: up to the "?", as it came; query: what follows. encodings: those that
    the client takes."""

    method: str
    path: str
    query: str
    encodings: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Answer:
    """content: bytes, or a file to be sent. headers: beside those that every answer has."""

    status: HTTPStatus
    content: bytes | Path
    type: str = TEXT
    cache: str = "no-store"
    headers: tuple[tuple[str, str], ...] = ()


def say(status: HTTPStatus, text: str) -> Answer:
    """A line for people."""
    return Answer(status, f"{text}\n".encode())


@dataclass(frozen=True)
class Work:
    """An answer that has to be waited for, in a thread. takes_body: `run` is given the body."""

    run: Callable[[bytes], Answer]
    takes_body: bool = False


# What to do about a request, by its head alone; called on the loop's thread, so it must not wait.
Route = Callable[[Request], Answer | Work]


class _Refused(Exception):
    """The request is answered like this, and the connection closed."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.answer = say(HTTPStatus(status), text)


@dataclass(eq=False)
class _Peer:
    """A connection. since: when its step began; None: it waits for us, not we for it."""

    socket: socket.socket
    address: str
    since: float | None
    conn: h11.Connection
    task: asyncio.Task[None] | None = None
    # The body so far, in small pieces, of which the allocator wastes none; and its bytes, which
    # count until the answer is there.
    pieces: list[bytes] = field(default_factory=list)
    held: int = 0
    answering: bool = False


class HttpServer:
    """Listens from the start, answers within its block.

    headers: put on every answer. Raises `UserError` where the port can't be had.
    """

    def __init__(
        self, host: str, port: int, route: Route, headers: dict[str, str], limits: Limits = Limits()
    ):
        self._route, self._headers, self._limits = route, list(headers.items()), limits
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=1024)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"port {port} of {host} can't be used ({reason}); give another --port"
            ) from None
        # Of each connection, taken over from this one: what the system holds is bounded too.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * BLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * BLOCK)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._peers: set[_Peer] = set()
        self._pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="serve")
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="serve", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Every connection is dropped and the port free on return."""
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()
        self._socket.close()
        self._loop.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        self._loop.run_until_complete(self._main())

    async def _main(self) -> None:
        accepting = asyncio.create_task(self._accept())
        await self._ending.wait()
        tasks = [accepting, *(p.task for p in self._peers if p.task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- connections

    async def _accept(self) -> None:
        for turn in itertools.count():
            while len(self._peers) >= self._limits.connections and not self._drop_some(ROOM, GRACE):
                await asyncio.sleep(FULL)
            try:
                accepted, address = await self._loop.sock_accept(self._socket)
            except OSError:
                # No more files may be open, say; those that are will close.
                await asyncio.sleep(0.05)
                continue
            accepted.setblocking(False)
            conn = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.head)
            peer = _Peer(accepted, address[0], self._loop.time(), conn)
            self._peers.add(peer)
            peer.task = self._loop.create_task(self._serve(peer))
            peer.task.add_done_callback(partial(self._closed, peer))
            # Their first bytes are mostly there: let them be heard before more come.
            if turn % BATCH == 0:
                await asyncio.sleep(0)

    def _drop_some(self, most: int, grace: float = 0.0, bodies_only: bool = False) -> bool:
        """Drop up to `most` who have been at their step for longest, of the address with most
        connections, those being answered last; False where nobody was for `grace` seconds."""
        count = Counter(p.address for p in self._peers)
        by = self._loop.time() - grace
        waiting = [
            ((-count[p.address], p.answering, p.since), p)
            for p in self._peers
            if p.since is not None and p.since <= by and (p.held or not bodies_only)
        ]
        victims = heapq.nsmallest(most, waiting, key=itemgetter(0))
        for _, peer in victims:
            self._drop(peer)
        return bool(victims)

    def _drop(self, peer: _Peer) -> None:
        """Close a connection, with a line where there is room for one."""
        if not peer.answering:
            with contextlib.suppress(OSError):
                peer.socket.send(DROPPED)
        peer.since, peer.held = None, 0
        peer.pieces.clear()
        self._peers.discard(peer)
        if peer.task is not None:
            peer.task.cancel()

    async def _serve(self, peer: _Peer) -> None:
        """A connection from its first request to its end; what goes wrong ends it, quietly."""
        with contextlib.suppress(OSError, TimeoutError, h11.ProtocolError, EOFError):
            while await self._one(peer):
                peer.conn.start_next_cycle()

    def _closed(self, peer: _Peer, task: asyncio.Task[None]) -> None:
        # Also where it was dropped before it began.
        self._peers.discard(peer)
        peer.socket.close()
        # A dropped task's error holds its frames, and these the peer: no bytes hang on that.
        peer.conn = None  # type: ignore[assignment]
        if not task.cancelled() and (error := task.exception()):
            print(f"a request failed: {type(error).__name__}: {error}", file=sys.stderr)

    # -- requests

    async def _one(self, peer: _Peer) -> bool:
        """One request; whether another may follow."""
        close = False
        try:
            answer, head_only = await self._answer(peer)
        except _Refused as refused:
            answer, head_only, close = refused.answer, False, True
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint or 400
            answer, head_only, close = say(HTTPStatus(status), "no request"), False, True
        finally:
            peer.held = 0
            peer.pieces.clear()
        conn = peer.conn
        # Browsers don't send the next request before the answer; who does would be served in bulk.
        close = close or conn.their_state is not h11.DONE or bool(conn.trailing_data[0])
        await self._send(peer, answer, head_only, close)
        if close:
            await self._linger(peer)
        return not close and conn.our_state is h11.DONE

    async def _answer(self, peer: _Peer) -> tuple[Answer, bool]:
        async with self._step(peer, self._limits.head_seconds):
            event = await self._event(peer)
        if not isinstance(event, h11.Request):
            raise EOFError
        if len(event.headers) > self._limits.headers:
            raise _Refused(431, f"at most {self._limits.headers} headers")
        path, _, query = event.target.decode("latin-1").partition("?")
        request = Request(event.method.decode("ascii"), path, query, _encodings(event))
        body = b""
        decision = self._route(request)
        if isinstance(decision, Work) and decision.takes_body:
            length = _length(event, self._limits.body)
            body = await self._body(peer, length)
        elif _may_have_body(event):
            # Not read: the connection closes after the answer.
            if isinstance(decision, Work):
                raise _Refused(400, "no body is taken here")
        else:
            await self._event(peer)
        if isinstance(decision, Work):
            peer.since = None
            decision = await self._loop.run_in_executor(self._pool, decision.run, body)
        return decision, request.method == "HEAD"

    async def _body(self, peer: _Peer, length: int) -> bytes:
        try:
            async with self._step(peer, self._limits.body_seconds):
                if peer.conn.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    await self._loop.sock_sendall(peer.socket, peer.conn.send(go_on))
                while isinstance(event := await self._event(peer), h11.Data):
                    peer.pieces.append(bytes(event.data))
                    peer.held += len(event.data)
                    reading = [p for p in self._peers if p.held]
                    await asyncio.sleep(PACE * len(reading))
                    while sum(p.held for p in self._peers) > self._limits.bodies:
                        if not self._drop_some(1, bodies_only=True):
                            raise _Refused(503, BUSY)
        except TimeoutError:
            raise _Refused(408, f"{length} bytes didn't come in time") from None
        if not isinstance(event, h11.EndOfMessage):
            raise EOFError
        body = b"".join(peer.pieces)
        peer.pieces.clear()
        return body

    async def _event(self, peer: _Peer) -> Any:
        while (event := peer.conn.next_event()) is h11.NEED_DATA:
            peer.conn.receive_data(await self._loop.sock_recv(peer.socket, BLOCK))
        return event

    @contextlib.asynccontextmanager
    async def _step(self, peer: _Peer, seconds: float):
        """The client's turn: so long, and it may be dropped for another."""
        peer.since = self._loop.time()
        async with asyncio.timeout(seconds):
            yield
        peer.since = None if peer.since is None else self._loop.time()

    # -- answers

    def _head(self, peer: _Peer, answer: Answer, length: int, close: bool) -> bytes:
        headers = [
            ("Content-Type", answer.type),
            ("Content-Length", str(length)),
            ("Cache-Control", answer.cache),
            *answer.headers,
            *self._headers,
        ]
        if close:
            headers.append(("Connection", "close"))
        response = h11.Response(
            status_code=answer.status, headers=headers, reason=answer.status.phrase.encode()
        )
        return peer.conn.send(response) or b""

    async def _send(self, peer: _Peer, answer: Answer, head_only: bool, close: bool) -> None:
        content = answer.content
        with contextlib.ExitStack() as stack:
            if isinstance(content, Path):
                try:
                    file = stack.enter_context(content.open("rb"))
                except OSError:
                    gone = say(HTTPStatus.NOT_FOUND, "not here any more")
                    return await self._send(peer, gone, head_only, close)
                length = content.stat().st_size
                blocks = iter(lambda: file.read(BLOCK), b"")
            else:
                length, blocks = len(content), iter((content,))
            peer.answering = True
            await self._write(peer, self._head(peer, answer, length, close))
            if not head_only:
                for block in blocks:
                    await self._write(peer, peer.conn.send(h11.Data(data=block)) or b"")
                    # What has room already never waits; others have their turn all the same.
                    await asyncio.sleep(0)
            peer.conn.send(h11.EndOfMessage())
        peer.answering = False

    async def _write(self, peer: _Peer, data: bytes) -> None:
        async with self._step(peer, self._limits.block_seconds):
            await self._loop.sock_sendall(peer.socket, data)

    async def _linger(self, peer: _Peer) -> None:
        """Let a client that still sends read its answer: closing at once would reset the line."""
        peer.answering = True
        peer.socket.shutdown(socket.SHUT_WR)
        left = LINGER
        async with self._step(peer, self._limits.linger_seconds):
            while left > 0 and (data := await self._loop.sock_recv(peer.socket, BLOCK)):
                left -= len(data)
                await asyncio.sleep(LINGER_PACE)


def _length(event: h11.Request, most: int) -> int:
    """Bytes of a request's body; refuses where it doesn't say, or has too many."""
    found = dict(event.headers)
    if b"transfer-encoding" in found or b"content-length" not in found:
        raise _Refused(411, "give Content-Length")
    length = int(found[b"content-length"])
    if length > most:
        raise _Refused(413, f"at most {most} bytes")
    return length


def _encodings(event: h11.Request) -> frozenset[str]:
    """Of `Accept-Encoding`, those without a weight of 0."""
    told = (value for name, value in event.headers if name == b"accept-encoding")
    parts = (part.partition(";") for part in b",".join(told).decode("latin-1").lower().split(","))
    refused = ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return frozenset(name.strip() for name, _, q in parts if q.replace(" ", "") not in refused)


def _may_have_body(event: h11.Request) -> bool:
    found = dict(event.headers)
    return b"transfer-encoding" in found or int(found.get(b"content-length", 0)) > 0
