"""A TCP proxy that can swallow every byte, as a broken network does."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_PIECE_BYTES = 65536


class Proxy:
    """Forwards a loopback port to another; `blackhole` stops both directions without closing."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self._target_port = target_port
        self._loop: asyncio.AbstractEventLoop
        self._open = asyncio.Event()
        self._done = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        # `asyncio.run` cancels and awaits the connections that are left, then closes the loop.
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def blackhole(self) -> None:
        """Let no byte through any more; connections stay open and new ones are accepted."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def restore(self) -> None:
        """Let bytes through again, those that waited first."""
        self._loop.call_soon_threadsafe(self._open.set)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._open.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._done.wait()
        server.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The server's own tasks would complain about being cancelled.
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            try:
                there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
            except ConnectionError:
                return
            with closing(back):
                await self._forward((reader, back), (there, writer))

    async def _forward(
        self, *directions: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for source, target in directions:
                    tasks.create_task(self._pump(source, target))
        except* ConnectionError:
            pass  # one end hung up, so the other is closed too

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_PIECE_BYTES):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        writer.close()
