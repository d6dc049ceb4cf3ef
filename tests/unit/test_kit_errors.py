from __future__ import annotations

import grpc
import psycopg
import pytest
from google.rpc import error_details_pb2
from sqlalchemy import exc

from kit import db, errors


def test_a_field_error_travels_as_bad_request_and_comes_back() -> None:
    sent = errors.invalid_argument("page_size", "must lie in 0..200", maximum=200)
    status = sent.to_status()
    violations = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(violations)
    assert violations.field_violations[0].field == "page_size"
    received = errors.from_status(status)
    assert str(received) == "INVALID_ARGUMENT INVALID_FIELD: page_size: must lie in 0..200"
    assert (received.field, received.metadata) == ("page_size", {"maximum": "200"})


def test_a_wait_travels_as_retry_info() -> None:
    status = errors.resource_exhausted("too many", reason="RATE", retry_after_s=1.5).to_status()
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToMilliseconds() == 1500
    assert errors.from_status(status).retry_after_s == 1.5


def test_a_noun_of_two_words_makes_one_reason() -> None:
    error = errors.not_found("gate policy", "7")
    assert (error.reason, error.message) == ("GATE_POLICY_NOT_FOUND", "no gate policy 7")


def test_a_call_without_details_keeps_its_status() -> None:
    call = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, (), (), details="refused")
    error = errors.from_call(call)
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert error.message == "refused"


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        (psycopg.OperationalError("connection refused"), "DATABASE_UNAVAILABLE"),
        (psycopg.errors.AdminShutdown("terminating"), "DATABASE_UNAVAILABLE"),
        (psycopg.errors.LockNotAvailable("lock timeout"), "DATABASE_BUSY"),
        (psycopg.errors.QueryCanceled("statement timeout"), "DATABASE_BUSY"),
        (psycopg.errors.DeadlockDetected("deadlock"), "CONCURRENT_CHANGE"),
        (psycopg.errors.SerializationFailure("serialize"), "CONCURRENT_CHANGE"),
    ],
)
def test_what_a_database_failure_means(origin: psycopg.Error, reason: str) -> None:
    assert db.problem(origin).reason == reason
    assert db.problem(exc.OperationalError("SELECT 1", {}, origin)).reason == reason


def test_a_bug_is_no_database_failure() -> None:
    unique = psycopg.errors.UniqueViolation("duplicate key")
    assert db.problem(exc.IntegrityError("INSERT", {}, unique)) is None
    assert db.problem(KeyError("x")) is None
