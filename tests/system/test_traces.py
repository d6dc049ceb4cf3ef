"""One trace leads from a request through services and events to the worker, and into the logs."""

from __future__ import annotations

import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.system import training
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.stack import Stack


class Span(NamedTuple):
    """A span as a collector gets it; ids in hexadecimal."""

    service: str
    name: str
    trace_id: str
    id: str
    parent_id: str


class Collector:
    """Takes OTLP over HTTP, as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/traces":
                    spans.extend(read(ExportTraceServiceRequest.FromString(body)))
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

            def log_message(self, *_: object) -> None:
                """Keep the test's output to what fails."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, trace_id: str) -> dict[tuple[str, str], Span]:
        """Return the first span of each service and name within a trace."""
        found: dict[tuple[str, str], Span] = {}
        for span in list(self.spans):
            if span.trace_id == trace_id:
                found.setdefault((span.service, span.name), span)
        return found


def read(request: ExportTraceServiceRequest) -> list[Span]:
    """Return the spans of one batch."""
    found = []
    for resource in request.resource_spans:
        names = {each.key: each.value.string_value for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            for each in scope.spans:
                ids = (each.trace_id.hex(), each.span_id.hex(), each.parent_span_id.hex())
                found.append(Span(names["service.name"], each.name, *ids))
    return found


GATEWAY = ("elodrome-gateway", "POST /api/v1/runs")
CREATE = ("elodrome-executor", "executor.v1.RunService/CreateRun")
LAUNCH = ("elodrome-executor", "launch")
ACQUIRE = ("elodrome-executor", "executor.v1.LeaseService/AcquireLease")
HEARTBEAT = ("elodrome-executor", "executor.v1.LeaseService/Heartbeat")
HEARD = ("elodrome-evaluator", "apply elodrome.executor.v1.RunStateChanged")


def test_one_trace_leads_from_a_request_to_its_worker_and_to_who_hears_of_it(
    new_stack: Callable[..., Stack],
) -> None:
    with Collector() as collector:
        own = new_stack(ELODROME_OTLP_ENDPOINT=collector.endpoint).start()
        client = own.admin()
        trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
        client.headers["traceparent"] = f"00-{trace_id}-{caller}-01"
        answer = client.post("/runs", json={"type": "TRAINING", "config": training.CATCH})
        assert answer.status_code == 201, answer.text
        assert answer.headers["traceresponse"].split("-")[1] == trace_id
        del client.headers["traceparent"]
        training.reached(client, answer.json()["id"], 1)

        wanted = {GATEWAY, CREATE, LAUNCH, ACQUIRE, HEARD}
        eventually_sync(lambda: wanted <= collector.of(trace_id).keys(), within_s=30)
        spans = collector.of(trace_id)
        assert spans[GATEWAY].parent_id == caller
        assert spans[CREATE].parent_id == spans[GATEWAY].id
        assert spans[LAUNCH].parent_id == spans[CREATE].id
        assert spans[ACQUIRE].parent_id == spans[LAUNCH].id
        assert spans[HEARD].parent_id == spans[CREATE].id
        # What comes every second is in the trace, and would bury everything else in it.
        assert HEARTBEAT not in spans
        client.post(f"/runs/{answer.json()['id']}/cancel")

        printed = client.get(f"/runs/{answer.json()['id']}/logs").text
        assert f"trace {trace_id}" in printed
        request_id = answer.headers["x-request-id"]
        for name, event in (("gateway", "request"), ("executor", "rpc")):
            lines = [json.loads(line) for line in own.log(name).splitlines()]
            told = [line for line in lines if line.get("trace_id") == trace_id]
            assert [line for line in told if line.get("request_id") == request_id], name
            assert {line["service"] for line in told} == {name}
            assert event in {line["event"] for line in told}


def test_a_trace_begins_at_the_edge_where_none_came_or_it_is_malformed(stack: Stack) -> None:
    client = stack.anonymous()
    made = set()
    for came in ("", "00-0-0-0", f"00-{'0' * 32}-{'1' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01"):
        answer = client.get("/build", headers={"traceparent": came})
        version, trace_id, span_id, _flags = answer.headers["traceresponse"].split("-")
        assert (version, len(trace_id), len(span_id)) == ("00", 32, 16)
        made.add(trace_id)
        eventually_sync(lambda trace_id=trace_id: trace_id in stack.log("gateway"))
    assert len(made) == 4
