"""What the gateway tells of a call that a service did not answer."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import Metadata

from kit import errors
from services.gateway.failures import from_backend, http_status


def failed(code: grpc.StatusCode, *trailing: tuple[str, bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, Metadata(), Metadata(*trailing), details="details")


# grpc.aio ends the calls of a server that stops as cancelled, before a servicer saw them.
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_a_service_that_went_away_may_be_asked_again(code: grpc.StatusCode) -> None:
    refusal = from_backend(failed(code), "registry")
    assert http_status(refusal) == 503
    assert refusal.reason == "SERVICE_UNAVAILABLE"
    assert refusal.retry_after_s == 1
    assert refusal.message == "the registry service does not answer"


def test_a_refusal_of_the_service_is_told_as_it_is() -> None:
    status = errors.unavailable("replaced", reason="DRAINING", retry_after_s=3).to_status()
    details = errors.DETAILS_KEY, status.SerializeToString()
    refusal = from_backend(failed(grpc.StatusCode.UNAVAILABLE, details), "registry")
    assert (refusal.reason, refusal.message) == ("DRAINING", "replaced")
    assert refusal.retry_after_s == 3


def test_slowness_names_the_service_and_hides_what_grpc_says() -> None:
    refusal = from_backend(failed(grpc.StatusCode.DEADLINE_EXCEEDED), "executor")
    assert http_status(refusal) == 504
    assert refusal.message == "the executor service took longer than it may"
