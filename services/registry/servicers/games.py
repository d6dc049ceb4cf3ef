"""The catalogue of games and maps; read only, because a release brings it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.registry.v1 import game_service_pb2 as pb
from elodrome.registry.v1 import game_service_pb2_grpc
from sqlalchemy import select

from kit import errors, parse
from kit.page import list_page
from services.registry.models.catalogue import Game, Map

if TYPE_CHECKING:
    import grpc
    from elodrome.registry.v1 import game_pb2

    from kit.db import Sessions


class GameServicer(game_service_pb2_grpc.GameServiceServicer):
    """Answers from the catalogue."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def GetGame(
        self, request: pb.GetGameRequest, _context: grpc.aio.ServicerContext
    ) -> game_pb2.Game:
        async with self._sessions() as session:
            game = await session.get(Game, parse.uuid(request.id, "id"))
            if game is None:
                raise errors.not_found("game", request.id)
            return game.to_proto(with_maps=True)

    async def ListGames(
        self, request: pb.ListGamesRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ListGamesResponse:
        async with self._sessions() as session:
            items, token, total = await list_page(
                session,
                select(Game),
                Game,
                request,
                convert=lambda game: game.to_proto(with_maps=False),
            )
        return pb.ListGamesResponse(items=items, next_page_token=token, total=total)

    async def GetMap(
        self, request: pb.GetMapRequest, _context: grpc.aio.ServicerContext
    ) -> game_pb2.Map:
        async with self._sessions() as session:
            found = await session.get(Map, parse.uuid(request.id, "id"))
            if found is None:
                raise errors.not_found("map", request.id)
            return found.to_proto()

    async def ListMaps(
        self, request: pb.ListMapsRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ListMapsResponse:
        query = select(Map)
        if request.game_id:
            query = query.where(Map.game_id == parse.uuid(request.game_id, "game_id"))
        if request.name:
            query = query.where(Map.name == request.name)
        async with self._sessions() as session:
            items, token, total = await list_page(
                session, query, Map, request, convert=Map.to_proto
            )
        return pb.ListMapsResponse(items=items, next_page_token=token, total=total)
