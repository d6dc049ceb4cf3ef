"""Who may call what, asked of every service of a running install, RPC by RPC and route by route."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from elodrome.registry.v1 import version_service_pb2, version_service_pb2_grpc

from kit import errors
from services.gateway import routes
from services.gateway.routes import Rpc, Shape
from tests.tokens import Metadata, Tokens, bearer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.system.stack import Stack

TABLE = routes.load()
NOWHERE = "0f8fad5b-d9cb-469f-a165-70867728950e"
# No message of any RPC: whoever may call is told so, and nothing else happens.
GARBAGE = b"\xff\xff\xff"
PEOPLE = ("ADMIN", "OPERATOR", "USER", "VIEWER", "PLAYER")

OPEN = "AccountService: Register Login RefreshToken; EdgeService: GetBuild"
"""For anybody, with or without an account."""
OWN = """
AccountService: Logout GetMe UpdateMe; ApiKeyService: CreateApiKey ListApiKeys RevokeApiKey;
EdgeService: CreateStreamTicket
"""
"""For everybody who is signed in: what concerns oneself."""
ADMIN = "AccountService: UpdateUser; EdgeService: ListAuditEntries"
STAFF = "AccountService: ListUsers GetUser; CheckpointService: ScrubArtifacts"
"""For administrators and operators."""
SHOWN = """
GameService: GetGame ListGames GetMap ListMaps; ModelService: GetModel ListModels;
VersionService: GetVersion ResolveVersion GetStableVersion ListVersions;
SessionService: GetSession ListSessions ListSessionEvents GetSummary WatchSession;
AgentService: GetAgent ListAgents; MatchService: GetMatch ListMatches WatchMatch GetReplay
"""
"""For everybody who is signed in: what players choose from, and their own play."""
PLAY = "SessionService: StartSession RecordEvent EndSession"
"""For everybody but viewers."""
READ = """
EvaluationService: GetEvaluation ListEvaluations WatchEvaluation ListEpisodes CompareEvaluations;
GateService: GetGatePolicy ListGatePolicies GetDecision ListDecisions RecomputeDecision;
SuiteService: GetSuite ListSuites ListSuiteVersions; LogService: ListLogLines WatchLogs;
MetricService: GetMetricHistory GetLatestMetrics;
RunService: GetRun ListRuns DiffRuns GetConfigSchema WatchRun ListJobs GetProvenance;
TrainingService: GetTrainingStatus GetTrainingLog;
CheckpointService: GetCheckpoint ListCheckpoints DownloadCheckpoint;
ModelService: ListPromotions; VersionService: GetLineage DownloadVersion;
AgentService: GetSubmission ListSubmissions ListBuilds WatchSubmission
"""
"""For everybody but players."""
WRITE = """
EvaluationService: CreateEvaluation CancelEvaluation RerunEvaluation;
AgentService: CreateAgent CreateSubmission ActivateSubmission RebuildSubmission;
MatchService: CreateMatch CancelMatch;
GateService: CreateGatePolicy CreateGatePolicyVersion DecideGate;
SuiteService: CreateSuite UpdateSuite CreateSuiteVersion; MetricService: LogMetrics;
RunService: CreateRun UpdateRun DeleteRun StopRun CancelRun PauseRun ResumeRun CloneRun RetryRun
  CertifyRun FinishRun;
TrainingService: StartTraining StopTraining;
CheckpointService: UploadCheckpoint CommitCheckpoint DeleteCheckpoint LoadCheckpoint
  MarkBestCheckpoint;
ModelService: CreateModel UpdateModel DeleteModel RestoreModel PurgeModel SetAlias DeleteAlias
  RollbackModel;
VersionService: CreateVersion UpdateVersion DeleteVersion PromoteVersion
"""
"""For administrators, operators and users."""
WORK = """
RefereeService: ClaimEvaluation RecordEpisodes FinishEvaluation;
RefereeService: ClaimMatch FinishMatch ClaimBuild FinishBuild;
LeaseService: AcquireLease Heartbeat ReportProvenance ReportOutcome; MetricService: Append;
CheckpointService: ClaimRun
"""
"""For workloads, and for no person."""
WORK_AND_PEOPLE = """
CheckpointService: UploadCheckpoint CommitCheckpoint GetCheckpoint LoadCheckpoint
  MarkBestCheckpoint DownloadCheckpoint;
GameService: GetGame GetMap; VersionService: GetVersion DownloadVersion
"""
"""What a workload may call besides."""


def named(block: str) -> set[str]:
    """Return the names `Service/Method` of a block above."""
    found = set()
    for line in block.split(";"):
        service, _, methods = line.partition(":")
        found |= {f"{service.strip()}/{method}" for method in methods.split()}
    return found


MATRIX = {
    "ADMIN": named(OWN) | named(ADMIN) | named(STAFF) | named(SHOWN) | named(PLAY) | named(READ)
    | named(WRITE),
    "OPERATOR": named(OWN) | named(STAFF) | named(SHOWN) | named(PLAY) | named(READ) | named(WRITE),
    "USER": named(OWN) | named(SHOWN) | named(PLAY) | named(READ) | named(WRITE),
    "VIEWER": named(OWN) | named(SHOWN) | named(READ),
    "PLAYER": named(OWN) | named(SHOWN) | named(PLAY),
    "WORKER": named(WORK) | named(WORK_AND_PEOPLE),
}  # fmt: skip


def short(rpc: Rpc) -> str:
    return rpc.name.rpartition(".")[2]


@pytest.fixture(scope="module")
def channels(stack: Stack) -> Iterator[dict[str, grpc.Channel]]:
    opened = {name: stack.channel(name) for name in {rpc.backend for rpc in TABLE.rpcs}}
    yield opened
    for channel in opened.values():
        channel.close()


def _send(channel: grpc.Channel, rpc: Rpc, caller: Metadata) -> None:
    given = {"metadata": caller, "timeout": 20}
    if rpc.shape is Shape.UPLOAD:
        channel.stream_unary(rpc.path)(iter([GARBAGE]), **given)
    elif rpc.shape is Shape.UNARY:
        channel.unary_unary(rpc.path)(GARBAGE, **given)
    else:
        list(channel.unary_stream(rpc.path)(GARBAGE, **given))


def refusal(channel: grpc.Channel, rpc: Rpc, caller: Metadata) -> errors.RpcError:
    """Call an RPC of any shape with bytes that are no message; return what it says."""
    with pytest.raises(grpc.RpcError) as caught:
        _send(channel, rpc, caller)
    return errors.from_call(caught.value)


def test_the_table_names_every_rpc() -> None:
    blocks = (OPEN, OWN, ADMIN, STAFF, SHOWN, PLAY, READ, WRITE, WORK)
    assert set().union(*map(named, blocks)) == {short(rpc) for rpc in TABLE.rpcs}


def test_no_rpc_of_any_service_answers_nobody(channels: dict[str, grpc.Channel]) -> None:
    strangers = ([], bearer("x.y.z"))
    for rpc in TABLE.rpcs:
        for stranger in strangers:
            said = refusal(channels[rpc.backend], rpc, stranger)
            is_open = said.code is not grpc.StatusCode.UNAUTHENTICATED
            assert is_open == (short(rpc) in named(OPEN) and not stranger), (rpc.name, said)


@pytest.mark.parametrize("role", MATRIX)
def test_every_rpc_lets_in_the_roles_of_the_table(
    stack: Stack, channels: dict[str, grpc.Channel], role: str
) -> None:
    tokens = Tokens(stack.home / "keys")
    work = {"run_id": str(uuid.uuid4()), "job_id": str(uuid.uuid4())}
    caller = tokens.worker(**work) if role == "WORKER" else tokens.user(roles=(role,))
    for rpc in TABLE.rpcs:
        said = refusal(channels[rpc.backend], rpc, caller)
        allowed = short(rpc) in MATRIX[role] | named(OPEN)
        assert said.reason == ("BAD_MESSAGE" if allowed else "ROLE_MISSING"), (rpc.name, said)


def test_a_workload_without_a_lease_may_only_take_it(
    stack: Stack, channels: dict[str, grpc.Channel]
) -> None:
    work = {"run_id": str(uuid.uuid4()), "job_id": str(uuid.uuid4())}
    bootstrap = Tokens(stack.home / "keys").worker(**work, epoch=0)
    for rpc in TABLE.rpcs:
        if short(rpc) in MATRIX["WORKER"]:
            said = refusal(channels[rpc.backend], rpc, bootstrap)
            may = short(rpc) == "LeaseService/AcquireLease"
            assert said.reason == ("BAD_MESSAGE" if may else "LEASE_REQUIRED"), (rpc.name, said)


def test_a_workload_does_not_promote(channels: dict[str, grpc.Channel], stack: Stack) -> None:
    work = {"run_id": str(uuid.uuid4()), "job_id": str(uuid.uuid4())}
    caller = Tokens(stack.home / "keys").worker(**work)
    stub = version_service_pb2_grpc.VersionServiceStub(channels["registry"])
    request = version_service_pb2.PromoteVersionRequest(id=NOWHERE, override=True, reason="mine")
    with pytest.raises(grpc.RpcError) as refused:
        stub.PromoteVersion(request, metadata=caller, timeout=20)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture(scope="module")
def people(stack: Stack) -> Iterator[dict[str, httpx.Client]]:
    """One real account of each role."""
    root = stack.admin()
    clients = {"ADMIN": root}
    for role in PEOPLE[1:]:
        client = stack.anonymous()
        account = {
            "email": f"{role.lower()}-{uuid.uuid4().hex[:8]}@example.org",
            "password": "correct horse battery",
        }
        session = client.post("/auth/register", json=account).json()
        answer = root.patch(f"/users/{session['user']['id']}", json={"role": role})
        assert answer.status_code == 200, answer.text
        session = client.post("/auth/login", json=account).json()
        client.cookies.clear()
        client.headers["authorization"] = f"Bearer {session['access_token']}"
        clients[role] = client
    yield clients
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("role", PEOPLE)
def test_every_route_refuses_the_roles_it_is_not_for(
    people: dict[str, httpx.Client], role: str
) -> None:
    def ask(route: routes.Route) -> tuple[routes.Route, int, str]:
        path = route.template.removeprefix("/api/v1")
        for name in route.variables:
            path = path.replace(f"{{{name}}}", "a" * 64 if name == "sha256" else NOWHERE)
        answer = people[role].request(route.method, path)
        reason = "" if answer.is_success else answer.json()["error"]["reason"]
        return route, answer.status_code, reason

    # What people may do is only read here: their writes are the business of other tests.
    allowed = MATRIX[role] | named(OPEN)
    asked = [r for r in TABLE.all if short(r.rpc) not in allowed or r.rpc.shape is Shape.UNARY]
    asked = [r for r in asked if short(r.rpc) not in allowed or r.method == "GET"]
    assert len(asked) > 40
    with ThreadPoolExecutor(4) as pool:
        for route, status, reason in pool.map(ask, asked):
            where = f"{route.method} {route.template}: {status} {reason}"
            refused = (status, reason) == (403, "ROLE_MISSING")
            assert refused == (short(route.rpc) not in allowed), where
            assert status < 500, where
