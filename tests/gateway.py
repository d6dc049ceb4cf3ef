"""A gateway for tests: in this process, with its own ports, and a client that speaks REST."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from deploy.laptop.ports import free_port
from kit import server
from services.gateway.assembly import build
from services.gateway.models.user import User
from services.gateway.settings import GatewaySettings
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Environment = Callable[[str], dict[str, Any]]
PASSWORD = "correct horse battery"


@dataclass
class Gateway:
    """A running gateway."""

    url: str
    http: httpx.AsyncClient
    running: server.Running
    settings: GatewaySettings

    async def register(self, name: str = "ada", **fields: Any) -> dict[str, Any]:
        """Make an account and return its session."""
        body = {"email": f"{name}@example.org", "password": PASSWORD, **fields}
        answer = await self.http.post("/api/v1/auth/register", json=body)
        self.http.cookies.clear()
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def sign_in(self, name: str, *, role: str = "USER") -> Client:
        """Make an account with a role and return a client that speaks as it."""
        session = await self.register(name)
        if role != "USER":
            async with self.running.context.sessions.begin() as rows:
                user = await rows.get_one(User, session["user"]["id"])
                user.role = role
            body = {"email": name, "password": PASSWORD}
            session = (await self.http.post("/api/v1/auth/login", json=body)).json()
            self.http.cookies.clear()
        return Client(self, session)


@dataclass
class Client:
    """Somebody who is signed in."""

    gateway: Gateway
    session: dict[str, Any]

    @property
    def id(self) -> str:
        return self.session["user"]["id"]

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.session['access_token']}"}

    async def __call__(self, method: str, path: str, json: Any = None, **more: Any) -> Any:
        headers = {**self.headers, **more.pop("headers", {})}
        return await self.gateway.http.request(
            method, f"/api/v1{path}", json=json, headers=headers, **more
        )


@asynccontextmanager
async def running_gateway(
    environment: dict[str, Any], *, peers: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[Gateway]:
    """Run a gateway until the block ends."""
    http_port, grpc_port = free_port(), free_port()
    own = {"gateway": f"127.0.0.1:{grpc_port}"}
    chosen = GatewaySettings(
        **{
            **environment,
            "http_port": http_port,
            "grpc_port": grpc_port,
            "addresses": {**own, **(peers or {})},
            "password_memory_kib": 64,
            **settings,
        }
    )
    url = f"http://127.0.0.1:{http_port}"
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(server.running(chosen, build))
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=url, timeout=20, verify=False)
        )

        async def answers() -> bool:
            try:
                return (await http.get("/healthz")).status_code == 200
            except httpx.ConnectError:
                return False

        await eventually(answers)
        yield Gateway(url, http, running, chosen)
