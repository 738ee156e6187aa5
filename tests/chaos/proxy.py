"""A TCP proxy that does to a line what networks do to it: delay, narrow, slice, stall, reset, cut."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

_CHUNK_BYTES = 65_536
_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Weather:
    """What the line is like, in both directions."""

    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0
    """At most so much is added to the latency, by chance."""
    bytes_per_second: float | None = None
    slice_bytes: int | None = None
    """Nothing longer than this comes in one piece."""
    stalled: bool = False
    """Connections stand, and nothing passes: nobody is told."""
    mute: bool = False
    """What the other side answers does not pass; what it is told does."""
    down: bool = False
    """No connection is let through; those that stood are cut."""


CALM = Weather()


class Proxy:
    """Listens on :attr:`port` of the loopback address, and passes on to ``upstream``."""

    def __init__(self, upstream: int, seed: int = 0) -> None:
        self.upstream = upstream
        self.passed_bytes = 0
        """In both directions."""
        self._weather = CALM
        self._dice = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._listener.close()

    @property
    def weather(self) -> Weather:
        """What the line is like now."""
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._weather = weather
        if weather.down:
            self.cut()

    def cut(self) -> None:
        """Reset every connection; new ones are let through."""
        self._do(self._cut())

    @property
    def connections(self) -> int:
        """How many pass through now."""
        return len(self._writers) // 2

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._listener))
        self._loop.run_forever()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._weather.down:
            _reset(writer)
            return
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            _reset(writer)
            return
        self._writers |= {writer, onward}
        ways = [
            asyncio.ensure_future(self._pump(reader, onward, back=False)),
            asyncio.ensure_future(self._pump(there, writer, back=True)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for side in (writer, onward):
            self._writers.discard(side)
            side.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(self._weather.slice_bytes or _CHUNK_BYTES):
                await self._delay(len(data))
                while self._weather.stalled or (back and self._weather.mute):
                    await asyncio.sleep(_LOOK_SECONDS)
                self.passed_bytes += len(data)
                writer.write(data)
                await writer.drain()

    async def _delay(self, size: int) -> None:
        weather = self._weather
        seconds = weather.latency_seconds + self._dice.uniform(0.0, weather.jitter_seconds)
        if weather.bytes_per_second:
            seconds += size / weather.bytes_per_second
        if seconds:
            await asyncio.sleep(seconds)

    async def _cut(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _leave(self) -> None:
        self._weather = CALM
        await self._cut()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        if serving:
            await asyncio.wait(serving, timeout=5.0)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection at once, by RST: what waited to be sent is lost."""
    peer = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
