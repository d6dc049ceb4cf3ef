"""The one place every RPC passes: request id, caller, rule, deadline, errors, log, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import time
import uuid
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import grpc
import structlog
from google.protobuf.message import DecodeError
from prometheus_client import Counter, Gauge, Histogram

from kit import auth, db, errors, rule, trace
from kit.log import request_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Context = grpc.aio.ServicerContext[Any, Any]

UNARY_LIMIT_S = 30
"""How long a unary RPC may take whose caller set no deadline."""

_UNREADABLE = object()
"""What stands for a request whose bytes are no message of its RPC, until its caller is known."""
_OPEN = ("/grpc.health.v1.Health/", "/grpc.reflection.")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Refusals of a peer that speak about the caller's request rather than about this service's call.
_PASSED_ON = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DATA_LOSS,
    }
)
_PEER_DOWN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    }
)
# Endings that are the fault of this service or of what it needs.
_FAULTS = frozenset({"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DATA_LOSS"})

log = structlog.get_logger("kit.rpc")
rpcs_finished = Counter("elodrome_rpcs", "RPCs finished", ["rpc", "code"])
rpc_duration = Histogram(
    "elodrome_rpc_duration_seconds",
    "Time from the first byte of a unary RPC to its answer",
    ["rpc"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
# Where the counts of an RPC begin: one that is there only since it failed shows no increase.
_COUNTED = ("OK", "INTERNAL")
rpcs_open = Gauge("elodrome_rpcs_open", "RPCs in progress")

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def expect(path: str) -> None:
    """Begin the counts of an RPC, `package.Service/Method`, at 0."""
    for code in _COUNTED:
        rpcs_finished.labels(_label(path), code)


def time_left() -> float | None:
    """Return the seconds the caller of the current RPC still waits; None without a deadline."""
    deadline = _deadline.get()
    return None if deadline is None else max(0.0, deadline - time.monotonic())


class Gate(grpc.aio.ServerInterceptor):
    """Lets a call through to its servicer if it may pass; turns what goes wrong into a status."""

    def __init__(self, verifier: auth.Verifier) -> None:
        self._verifier = verifier
        self._watches: set[asyncio.Task[Any]] = set()
        self._draining = False

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Return the method's handler, wrapped."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_OPEN):
            return handler
        call = _Call(handler_call_details)
        if handler.response_streaming:
            return self._streaming(handler, call)
        return self._unary(handler, call)

    def drain(self) -> None:
        """End the Watch streams, which would never end by themselves; callers resume elsewhere."""
        self._draining = True
        for watch in self._watches:
            watch.cancel()

    def _unary(self, handler: grpc.RpcMethodHandler, call: _Call) -> grpc.RpcMethodHandler:
        behaviour: Any = handler.stream_unary or handler.unary_unary
        wrap = (
            grpc.stream_unary_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_unary_rpc_method_handler
        )

        async def answer(request: object, context: Context) -> object:
            async with self._passing(call, context):
                limit_s = time_left()
                if limit_s is None and not handler.request_streaming:
                    limit_s = UNARY_LIMIT_S
                with rpc_duration.labels(call.rpc).time():
                    return await _within(limit_s, behaviour(_checked(request), context))

        return wrap(answer, _lenient(handler.request_deserializer), handler.response_serializer)

    def _streaming(self, handler: grpc.RpcMethodHandler, call: _Call) -> grpc.RpcMethodHandler:
        behaviour: Any = handler.stream_stream or handler.unary_stream
        wrap = (
            grpc.stream_stream_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_stream_rpc_method_handler
        )

        async def write(request: object, context: Context) -> None:
            async with self._passing(call, context):
                await behaviour(_checked(request), context)

        async def stream(request: object, context: Context) -> AsyncIterator[object]:
            async with (
                self._passing(call, context),
                aclosing(behaviour(_checked(request), context)) as responses,
            ):
                async for response in responses:
                    yield response

        chosen = stream if inspect.isasyncgenfunction(behaviour) else write
        return wrap(chosen, _lenient(handler.request_deserializer), handler.response_serializer)

    @asynccontextmanager
    async def _passing(self, call: _Call, context: Context) -> AsyncIterator[None]:
        request_id.set(call.request_id)
        span = trace.begin(call.rpc, "server", call.traceparent)
        started = time.monotonic()
        rpcs_open.inc()
        code = grpc.StatusCode.CANCELLED
        try:
            try:
                self._admit(call, context)
                with self._watching(call):
                    yield
                code = context.code() or grpc.StatusCode.OK
            except grpc.aio.AbortError:
                code = context.code()
                raise
            except Exception as error:  # noqa: BLE001 - the one place that turns bugs into a status
                problem = _problem(error, call)
                code = problem.code
                await _refuse(context, problem, call.request_id)
        finally:
            rpcs_open.dec()
            name = _code(code)
            span.end(name if name in _FAULTS else "")
            _report(call, name, started)

    def _admit(self, call: _Call, context: Context) -> None:
        left = context.time_remaining()
        _deadline.set(None if left is None else time.monotonic() + left)
        if left is not None and left <= 0:
            raise errors.deadline_exceeded("the deadline had passed before the call began")
        caller = self._verifier.verify(call.token) if call.token else auth.ANONYMOUS
        call.caller = caller
        auth.act_as(caller)
        rule.check(call.path, caller)

    @contextlib.contextmanager
    def _watching(self, call: _Call) -> Iterator[None]:
        """Remember the tasks of Watch streams, so that a drain can end them with a reason."""
        task = asyncio.current_task()
        if task is None or not call.is_watch:
            yield
            return
        self._watches.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._draining:
                raise
            task.uncancel()
            raise errors.unavailable(
                "the server is being replaced; resume from the last cursor", reason="DRAINING"
            ) from None
        finally:
            self._watches.discard(task)


class _Call:
    """What is known of a call from its headers, and its caller once admitted."""

    def __init__(self, details: grpc.HandlerCallDetails) -> None:
        headers = dict(details.invocation_metadata or ())
        self.path: str = details.method
        self.rpc = _label(self.path)
        self.is_watch = self.path.rpartition("/")[2].startswith("Watch")
        scheme, _, token = str(headers.get("authorization", "")).partition(" ")
        self.token = token.strip() if scheme.lower() == "bearer" else ""
        given = str(headers.get("x-request-id", ""))
        self.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.traceparent = str(headers.get(trace.HEADER, ""))
        self.caller = auth.ANONYMOUS


def _label(path: str) -> str:
    return path.strip("/").removeprefix("elodrome.")


def _lenient(read: Callable[[bytes], object] | None) -> Callable[[bytes], object] | None:
    """Put off the refusal of bytes that are no message; gRPC would call it the server's bug."""
    if read is None:
        return None

    def attempt(data: bytes) -> object:
        try:
            return read(data)
        except DecodeError:
            return _UNREADABLE

    return attempt


def _checked(request: object) -> object:
    """Return the request, or the stream of requests, refusing what could not be read."""
    if hasattr(request, "__aiter__"):
        return _each_checked(cast("AsyncIterator[object]", request))
    if request is _UNREADABLE:
        raise errors.RpcError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "the request is no message of this RPC, or nests deeper than 100 levels",
            reason="BAD_MESSAGE",
        )
    return request


async def _each_checked(requests: AsyncIterator[object]) -> AsyncIterator[object]:
    async for request in requests:
        yield _checked(request)


async def _within(limit_s: float | None, work: Awaitable[object]) -> object:
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if limit.expired():
            raise errors.deadline_exceeded("the call took longer than it may") from None
        raise


def _problem(error: Exception, call: _Call) -> errors.RpcError:
    """Say in the caller's terms what went wrong; a bug is logged here and told to nobody."""
    if isinstance(error, errors.RpcError):
        return error
    if isinstance(error, NotImplementedError):
        return errors.RpcError(
            grpc.StatusCode.UNIMPLEMENTED, "not offered here", reason="NOT_IMPLEMENTED"
        )
    problem = db.problem(error) or _peer_problem(error)
    if problem is None:
        log.error("rpc_failed", rpc=call.rpc, caller=_name(call.caller), exc_info=error)
        return errors.RpcError(
            grpc.StatusCode.INTERNAL,
            "internal error",
            reason="INTERNAL",
            metadata={"request_id": call.request_id},
        )
    if problem.code is grpc.StatusCode.UNAVAILABLE:
        log.warning("dependency_unavailable", rpc=call.rpc, reason=problem.reason, error=str(error))
    return problem


def _peer_problem(error: Exception) -> errors.RpcError | None:
    """Judge the failure of a call this RPC made: pass on refusals, hide the services' own."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return None
    if error.code() in _PASSED_ON:
        return errors.from_call(error)
    if error.code() in _PEER_DOWN:
        return errors.unavailable("a service this needs does not answer", reason="PEER_UNAVAILABLE")
    return None


async def _refuse(context: Context, problem: errors.RpcError, call_id: str) -> None:
    details = problem.to_status().SerializeToString()
    await context.abort(
        problem.code,
        problem.message,
        trailing_metadata=((errors.DETAILS_KEY, details), ("x-request-id", call_id)),
    )


def _report(call: _Call, code: str, started: float) -> None:
    rpcs_finished.labels(call.rpc, code).inc()
    log.info(
        "rpc",
        rpc=call.rpc,
        code=code,
        duration_ms=round((time.monotonic() - started) * 1000, 1),
        caller=_name(call.caller),
    )


def _name(caller: auth.Principal) -> str:
    return f"{caller.kind}:{caller.subject}" if caller.subject else caller.kind


def _code(code: grpc.StatusCode | int) -> str:
    """Name a status; the context hands it back as a number once it was set."""
    return code.name if isinstance(code, grpc.StatusCode) else errors.code_of(code).name
