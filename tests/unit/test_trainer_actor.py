"""Windows against a plain walk through the episodes that the seeds decide."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from games.interface import GameDiedError
from tests.toy import SPACE, CountingGame, MortalGame
from trainer import ppo
from trainer.actor import Actor, Post
from trainer.networks import ActorCritic, Network, QNetwork, Seen, Shape, build
from trainer.ppo import PPOBehaviour
from trainer.q_learning import GreedyBehaviour
from trainer.ring import CUT, ENDED, GOES_ON, Ring, RingShape
from trainer.seeds import training_seed
from trainer.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from games.interface import Game
    from trainer.actor import Behaviour

SEED, GAMES, STEPS, WINDOWS = 5, 4, 6, 3
SHAPE = Shape(frames=SPACE.shape, action_count=4, variables=2, features=1, channels=(8,), hidden=16)
LSTM = replace(SHAPE, recurrent=True)


def an_actor(
    shape: Shape = SHAPE,
    *,
    behaviour: Callable[[Shape], Behaviour] = PPOBehaviour,
    network: type[Network] = ActorCritic,
    make_game: Callable[[str], Game] = CountingGame,
    number: int = 0,
    seed: int = SEED,
) -> Actor:
    ring = Ring(
        RingShape(
            space=SPACE,
            games=GAMES,
            rollout_steps=STEPS,
            windows=WINDOWS,
            variables=shape.variables,
            features=shape.features,
            state_size=2 * shape.hidden if shape.recurrent else 0,
            columns=ppo.COLUMNS,
        )
    )
    learner = build(lambda: network(shape), seed=1)
    weights = Weights(learner)
    weights.publish(learner)
    return Actor(
        Post(
            number=number,
            first=0,
            count=GAMES,
            seed=seed,
            make_game=make_game,
            maps=("basic",),
            variables=("HEALTH", "AMMO2"),
            behaviour=behaviour(shape),
            ring=ring,
            weights=weights,
        )
    )


def ring_of(actor: Actor) -> Ring:
    return actor._ring


def played(actor: Actor, *, windows: int = 2) -> dict[str, np.ndarray]:
    """Play some windows; copies of all columns."""
    actor.restart(0)
    for iteration in range(windows):
        actor.play(iteration, 0.0)
    return ring_of(actor).state(windows * STEPS)


def expected(actions: np.ndarray, game: int) -> list[tuple]:
    """Walk one game through its episodes: seed and age of each step, its reward and its end."""
    walk, nth, age = [], 0, 0
    for action in actions:
        seed = training_seed(SEED, 0, game, nth)
        is_last = age + 1 == CountingGame.length(seed)
        end = (CUT if seed % 3 == 0 else ENDED) if is_last else GOES_ON
        walk.append((seed, age, 10 * age + int(action), end))
        nth, age = (nth + 1, 0) if is_last else (nth, age + 1)
    return walk


def test_a_window_holds_what_the_games_showed_and_did() -> None:
    columns = played(an_actor(), windows=2)
    ends = set()
    for game in range(GAMES):
        walk = expected(columns["actions"][:, game], game)
        for step, (seed, age, reward, end) in enumerate(walk):
            frame = columns["frames"][step, game]
            assert (frame[0] == CountingGame.shown(seed)).all()
            assert (frame[1] == age).all()
            assert columns["ages"][step, game] == age
            assert columns["rewards"][step, game] == reward
            assert columns["ends"][step, game] == end
            # Scaled to be near one.
            assert columns["variables"][step, game].tolist() == pytest.approx(
                [age, seed % 10 / 100]
            )
            assert columns["features"][step, game].tolist() == [age % 2]
            ends.add(end)
    assert ends == {GOES_ON, ENDED, CUT}


def test_whoever_plays_the_last_step_shows_where_the_next_window_begins() -> None:
    actor = an_actor()
    played(actor, windows=1)
    ring = ring_of(actor)
    before = ring["frames"][STEPS].copy(), ring["ages"][STEPS].copy()
    assert before[0].any()
    actor.play(1, 0.0)
    assert np.array_equal(ring["frames"][STEPS], before[0])
    assert np.array_equal(ring["ages"][STEPS], before[1])


def test_episodes_that_ended_are_told_with_the_games_own_score() -> None:
    actor = an_actor()
    actor.restart(0)
    episodes = [*actor.play(0, 0.0), *actor.play(1, 0.0)]
    columns = ring_of(actor).state(2 * STEPS)
    scores = []
    for game in range(GAMES):
        score = length = 0
        for _, _, reward, end in expected(columns["actions"][:, game], game):
            score, length = score + reward, length + 1
            if end != GOES_ON:
                scores.append((score, length))
                score = length = 0
    assert sorted((one["score"], one["length"]) for one in episodes) == sorted(scores)


def test_a_window_follows_from_the_seed_the_window_and_the_actor_alone() -> None:
    first, second = played(an_actor()), played(an_actor())
    for name, column in first.items():
        assert np.array_equal(column, second[name]), name
    for other in (an_actor(seed=6), an_actor(number=1)):
        assert not np.array_equal(played(other)["actions"], first["actions"])


def test_a_restart_forgets_what_was_played_before_it() -> None:
    """As whoever goes on from a checkpoint must, who has played nothing before."""
    long, short = an_actor(LSTM), an_actor(LSTM)
    played(long, windows=3)
    for actor in (long, short):
        actor.restart(3)
        actor.play(3, 0.0)
    for name, column in ring_of(long).state(STEPS).items():
        assert np.array_equal(column, ring_of(short)[name][:STEPS]), name
    for window in (0, 1):
        states = [ring_of(actor)["states"][window] for actor in (long, short)]
        assert np.array_equal(*states)
    # The first episodes of another restart are others.
    assert (
        CountingGame.shown(training_seed(SEED, 3, 0, 0)) == ring_of(long)["frames"][0, 0, 0, 0, 0]
    )
    assert training_seed(SEED, 3, 0, 0) != training_seed(SEED, 0, 0, 0)


@pytest.mark.parametrize("shape", [SHAPE, LSTM])
def test_notes_are_those_of_the_network_on_what_it_saw(shape: Shape) -> None:
    """A recurrent one remembers across windows and begins each episode with an empty state."""
    actor = an_actor(shape)
    played(actor, windows=2)
    ring = ring_of(actor)
    network = build(lambda: ActorCritic(shape), seed=1)
    for window in range(2):
        first = window * STEPS
        steps = np.repeat(np.arange(first, first + STEPS), GAMES)
        frames = ring.observations(steps, np.tile(np.arange(GAMES), STEPS))
        slots = ring.slots(first, STEPS)
        seen = Seen(
            torch.from_numpy(frames), torch.from_numpy(ring["variables"][slots].reshape(-1, 2))
        )
        fresh = torch.from_numpy(ring["ages"][slots] == 0)
        with torch.no_grad():
            hidden = network.torso.unroll(seen, torch.from_numpy(ring["states"][window]), fresh)
            log_probs = network.preferences(hidden).log_softmax(dim=1)
            values = network.value(hidden).reshape(STEPS, GAMES)
        actions = torch.from_numpy(ring["actions"][slots].astype(np.int64)).reshape(-1, 1)
        chosen = log_probs.gather(1, actions).reshape(STEPS, GAMES)
        np.testing.assert_allclose(ring["log_probs"][slots], chosen, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(ring["values"][slots], values, rtol=1e-4, atol=1e-5)
    if shape.recurrent:
        assert not ring["states"][0].any()
        assert ring["states"][1].any()


def dying(*decisions: int) -> Callable[[str], Game]:
    """Make games that die at these decisions, in turn; later ones never do."""
    waiting = list(decisions)
    return lambda _scenario: MortalGame(waiting.pop(0) if waiting else 10**9)


def test_a_game_that_dies_is_replaced_and_its_step_marked_cut() -> None:
    never = 10**9
    actor = an_actor(make_game=dying(never, 2, never, never))
    dead = actor.games[1]
    columns, undisturbed = played(actor, windows=1), played(an_actor(), windows=1)
    assert dead.is_closed
    assert actor.games[1] is not dead
    assert actor.crashes == 1
    assert columns["ends"][:2, 1].tolist() == [GOES_ON, CUT]
    assert columns["rewards"][1, 1] == 0
    assert columns["ages"][2, 1] == 0
    assert columns["frames"][2, 1, 0, 0, 0] == CountingGame.shown(training_seed(SEED, 0, 1, 1))
    # Nobody else notices.
    for name, column in columns.items():
        assert np.array_equal(column[:, [0, 2, 3]], undisturbed[name][:, [0, 2, 3]]), name


def test_an_episode_that_kills_every_game_ends_the_evaluation() -> None:
    """Playing it again and again would never come to an end."""
    actor = an_actor(make_game=lambda _scenario: MortalGame(2))
    seed = next(seed for seed in range(100) if CountingGame.length(seed) > 2)
    with pytest.raises(GameDiedError):
        actor.evaluate([[seed], [], [], []])
    assert actor.crashes == 1


def test_an_episode_that_a_death_ended_is_no_episode() -> None:
    actor = an_actor(make_game=dying(2, 2, 2, 2))
    actor.restart(0)
    ended = [episode["length"] for episode in actor.play(0, 0.0)]
    columns = ring_of(actor).state(STEPS)
    assert actor.crashes == GAMES
    assert len(ended) == np.count_nonzero(columns["ends"][2:])


def test_a_game_that_died_between_episodes_is_replaced() -> None:
    actor = an_actor(make_game=dying(0, 0))
    actor.restart(0)
    assert actor.crashes == 2
    assert np.array_equal(played(actor)["frames"], played(an_actor())["frames"])


# -- greedy episodes ---------------------------------------------------------------------------


def greedy(make_game: Callable[[str], Game] = CountingGame, shape: Shape = LSTM) -> Actor:
    return an_actor(shape, make_game=make_game)


SEEDS = [[11, 29, 3], [56], [], [40, 77, 5, 18]]


def test_an_evaluation_tells_each_seed_its_own_episode_whatever_the_others_are() -> None:
    together = greedy().evaluate(SEEDS)
    for seeds, episodes in zip(SEEDS, together, strict=True):
        lengths = [episode["length"] for episode in episodes]
        assert lengths == [CountingGame.length(seed) for seed in seeds]
    assert len({episode["score"] for episodes in together for episode in episodes}) > 1
    actor = greedy()
    assert actor.evaluate(SEEDS[::-1]) == together[::-1]
    assert actor.evaluate([seeds[::-1] for seeds in SEEDS]) == [one[::-1] for one in together]
    assert actor.evaluate([[], [40], [], []])[1] == together[3][:1]


def test_nobody_plays_where_there_are_no_seeds() -> None:
    assert greedy().evaluate([[]] * GAMES) == [[]] * GAMES


def test_an_evaluation_takes_the_best_action_with_the_state_of_its_own_episode() -> None:
    seed = 24
    ((episode,), *_) = greedy().evaluate([[seed], [], [], []])
    network = build(lambda: ActorCritic(LSTM), seed=1)
    game, frame = CountingGame(), np.zeros((2, 12, 12), dtype=np.uint8)
    game.new_episode(seed, frame)
    stack, state = [frame.copy()] * 3, torch.zeros(1, 32)
    for _ in range(CountingGame.length(seed)):
        variables = torch.tensor([[game.variables["HEALTH"], game.variables["AMMO2"]]]) / 100
        pixels = torch.from_numpy(np.concatenate(stack)[None])
        with torch.no_grad():
            preferences, _, state = network(Seen(pixels, variables), state)
        game.make_action(int(preferences.argmax()), frame)
        stack = [*stack[1:], frame.copy()]
    length = CountingGame.length(seed)
    assert episode == {"score": game.total_reward, "length": length, "facts": {}}


def test_an_episode_that_a_death_ended_is_played_anew() -> None:
    actor = greedy(dying(3, 1, 5, 6))
    assert actor.evaluate(SEEDS) == greedy().evaluate(SEEDS)
    assert actor.crashes == 3


def test_a_training_goes_on_after_an_evaluation_as_if_there_had_been_none() -> None:
    actor = greedy()
    played(actor, windows=2)
    actor.evaluate(SEEDS)
    assert np.array_equal(played(actor)["log_probs"], played(greedy())["log_probs"])


# -- how algorithms explore --------------------------------------------------------------------


def test_a_policy_draws_actions_as_often_as_it_prefers_them() -> None:
    preferences = torch.tensor([0.0, 1.0, -1.0, 2.0])
    count = 40_000
    outputs = [preferences.expand(count, 4), torch.full((count,), 0.5)]
    generator = np.random.default_rng(0)
    actions, columns = PPOBehaviour(SHAPE).act(outputs, generator, 0.0)
    probabilities = preferences.softmax(dim=0).numpy()
    np.testing.assert_allclose(np.bincount(actions) / count, probabilities, atol=0.01)
    np.testing.assert_allclose(columns["log_probs"], np.log(probabilities)[actions], rtol=1e-5)
    assert (columns["values"] == 0.5).all()


@pytest.mark.parametrize(("epsilon", "best"), [(0.0, 1.0), (1.0, 0.25), (0.4, 0.7)])
def test_epsilon_is_the_share_of_any_action_at_all(epsilon: float, best: float) -> None:
    count = 20_000
    values = torch.tensor([0.0, 3.0, -1.0, 2.0]).expand(count, 4)
    actions, columns = GreedyBehaviour(SHAPE).act([values], np.random.default_rng(0), epsilon)
    shares = np.bincount(actions, minlength=4) / count
    others = (1 - best) / 3
    np.testing.assert_allclose(shares, [others, best, others, others], atol=0.015)
    assert columns == {}


def test_greedy_windows_take_the_action_of_the_highest_value() -> None:
    actor = an_actor(behaviour=GreedyBehaviour, network=QNetwork)
    columns = played(actor, windows=1)
    network = build(lambda: QNetwork(SHAPE), seed=1)
    ring = ring_of(actor)
    for step in range(STEPS):
        frames = ring.observations(np.full(GAMES, step), np.arange(GAMES))
        variables = torch.from_numpy(ring["variables"][step])
        with torch.no_grad():
            values, _ = network(Seen(torch.from_numpy(frames), variables), torch.zeros(GAMES, 0))
        assert columns["actions"][step].tolist() == values.argmax(dim=1).tolist()
