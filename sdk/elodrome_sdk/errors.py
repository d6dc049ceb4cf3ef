"""What can go wrong between a client and an install."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx


class UnreachableError(Exception):
    """Nothing answered at the install's address."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"no answer from {url}: {cause}")
        self.url = url
        self.cause = cause


class ApiError(Exception):
    """The install refused a request.

    `status` is the HTTP status (0 when the refusal came within a stream), `code` the name of the
    gRPC status, `reason` a stable UPPER_SNAKE word, `field` the request field at fault or empty,
    `retry_after_s` the seconds after which a retry makes sense or None.
    """

    def __init__(
        self, status: int, body: dict[str, Any], *, retry_after_s: float | None = None
    ) -> None:
        self.status = status
        self.code: str = body.get("code") or "UNKNOWN"
        self.reason: str = body.get("reason") or self.code
        self.message: str = body.get("message") or f"HTTP status {status}"
        self.field: str = body.get("field") or ""
        self.request_id: str = body.get("request_id") or ""
        self.details: dict[str, str] = body.get("details") or {}
        self.retry_after_s = retry_after_s
        super().__init__(self.message)

    @classmethod
    def from_response(cls, response: httpx.Response) -> ApiError:
        """Read the refusal out of a response whose body has been read."""
        retry_after = response.headers.get("retry-after", "")
        retry_after_s = float(retry_after) if retry_after.isdigit() else None
        return cls(response.status_code, _error_of(response), retry_after_s=retry_after_s)

    def to_json(self) -> dict[str, Any]:
        """Return the refusal as the install words it."""
        error = {
            "code": self.code,
            "reason": self.reason,
            "message": self.message,
            "field": self.field or None,
            "request_id": self.request_id,
        }
        if self.details:
            error["details"] = self.details
        return {"error": error}


def _error_of(response: httpx.Response) -> dict[str, Any]:
    """Return the error object; proxies between client and install answer in other words."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return body["error"]
    return {"message": f"{response.reason_phrase or 'unexpected answer'} (not from Elodrome?)"}
