"""The last step of the story: a person registers, fights the promoted agent and learns from it."""

from __future__ import annotations

import secrets
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from deploy.laptop.demo_client import Client, RefusedError, expect

if TYPE_CHECKING:
    from deploy.laptop.demo_display import Display

# A duel as a player's client reports it: time in ms, type, payload. Two of seven shots hit.
DUEL: list[tuple[int, str, dict[str, Any]]] = [
    (0, "round_started", {"round": 1}),
    (1200, "opponent_seen", {"distance": 320}),
    (2300, "shot", {"hit": False, "weapon": "pistol"}),
    (2900, "shot", {"hit": False, "weapon": "pistol"}),
    (3100, "damage_taken", {"amount": 15, "health": 85}),
    (3500, "shot", {"hit": True, "damage": 25, "weapon": "pistol"}),
    (4200, "damage_taken", {"amount": 60, "health": 25}),
    (4900, "death", {"cause": "pistol"}),
    (5000, "round_ended", {"outcome": "loss"}),
    (6000, "round_started", {"round": 2}),
    (7400, "opponent_seen", {"distance": 210}),
    (8600, "shot", {"hit": False, "weapon": "pistol"}),
    (9200, "shot", {"hit": False, "weapon": "pistol"}),
    (9900, "shot", {"hit": False, "weapon": "pistol"}),
    (10500, "shot", {"hit": True, "damage": 100, "weapon": "pistol"}),
    (10500, "kill", {"victim": "agent"}),
    (11000, "round_ended", {"outcome": "win"}),
]
SHOTS = sum(kind == "shot" for _, kind, _ in DUEL)


def new_player(admin: Client, url: str, tag: str) -> Client:
    """Register a person, make them a player, and return them signed in."""
    email, password = f"player-{tag}@example.com", secrets.token_urlsafe(12)
    body = {"email": email, "password": password, "username": f"player-{tag}"}
    user = admin.post("/auth/register", body)["user"]
    admin.patch(f"/users/{user['id']}", {"role": "PLAYER"})
    player = Client(url, email, password)
    player.sign_in()
    expect(player.get("/auth/me")["role"] == "PLAYER", "the player has another role")
    refused = player.refusal("/runs", {"config": {}})
    expect(refused.status == HTTPStatus.FORBIDDEN, f"a player was refused a run by {refused}")
    return player


def fight(player: Client, model_id: str, version_id: str, style: str) -> str:
    """Play the duel against a promoted version; returns the id of the session."""
    wish = {"mode": "DUEL", "difficulty": 4, "opponent_style": style}
    wish |= {"model_id": model_id, "request_id": str(uuid.uuid4())}
    session = player.post("/sessions/start", wish)
    pinned = session["opponent"]["version_id"]
    expect(pinned == version_id, f"the session pinned version {pinned}")
    for t_ms, kind, payload in DUEL:
        event = {"t_ms": t_ms, "type": kind, "payload": payload, "event_id": str(uuid.uuid4())}
        player.post(f"/sessions/{session['id']}/event", event)
    _end(player, session["id"])
    return str(session["id"])


def read_summary(player: Client, session_id: str, display: Display) -> str:
    """Read and tell what the session came to; returns it as one line."""
    session = player.get(f"/sessions/{session_id}")
    summary = player.get(f"/sessions/{session_id}/summary")
    expect(summary["counts"]["shot"] == SHOTS, "the summary counts other shots")
    expect(summary["score"] == session["score"], "the summary has another score")
    expect(summary["drills"], "the summary recommends nothing")
    for insight in summary["insights"]:
        display.fact(f"{insight['kind']}: {insight['text']}")
    for drill in summary["drills"]:
        display.fact(f"drill {drill['title']}: {drill['instructions']}")
    return (
        f"score {session['score']}, {len(DUEL)} events, accuracy {summary['accuracy']:.0%}, "
        f"drill {summary['drills'][0]['title']!r}"
    )


def _end(player: Client, session_id: str) -> None:
    path = f"/sessions/{session_id}/end"
    try:
        player.post(path, {})
    except RefusedError as error:
        # The answer of the first try was lost with its service; what counts is read below.
        expect(error.reason == "ILLEGAL_TRANSITION", str(error))
    session = player.get(f"/sessions/{session_id}")
    expect(session["state"] == "ENDED", f"the session is {session['state']}")
    expect(session["event_count"] == len(DUEL), f"{session['event_count']} events are stored")
    again = player.refusal(path, {})
    expect(again.status == HTTPStatus.CONFLICT, f"a second end was refused by {again}")
