"""The engine's buffers, shrunk straight into the frame that the player is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
import vizdoom

from games.doom.label_maps import label_map, parse_mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from games.doom.observation import ObservationOptions
    from games.interface import Frame

    FrameWriter: TypeAlias = Callable[[vizdoom.GameState, Frame], None]


def engine_resolution(options: ObservationOptions) -> vizdoom.ScreenResolution:
    """Choose the screen asked for, or the smallest (none is below 160x120) that covers it."""
    if options.screen:
        return getattr(vizdoom.ScreenResolution, f"RES_{options.screen.upper()}")
    for width, height in ((160, 120), (320, 240)):
        if options.width <= width and options.height <= height:
            return getattr(vizdoom.ScreenResolution, f"RES_{width}X{height}")
    return vizdoom.ScreenResolution.RES_640X480


def frame_writer(options: ObservationOptions) -> FrameWriter:
    """Choose how a state becomes a frame: the screen's channels, then one of each buffer.

    Nothing is allocated per frame; the gray screen alone, which is the usual choice, takes the
    shortest way.
    """
    size, method = (options.width, options.height), _interpolation(options)

    def write_gray(state: vizdoom.GameState, frame: Frame) -> None:
        cv2.resize(state.screen_buffer, size, dst=frame[0], interpolation=method)

    is_rgb = options.color == "rgb"
    write_screen = _rgb_writer(size, method) if is_rgb else write_gray
    writers = [writer for name in options.buffers for writer in _writers(options, name)]
    if not writers:
        return write_screen
    first = options.space.frame_channels - len(writers)

    def write_all(state: vizdoom.GameState, frame: Frame) -> None:
        write_screen(state, frame)
        for channel, write in enumerate(writers, start=first):
            write(state, frame[channel])

    return write_all


def _interpolation(options: ObservationOptions) -> int:
    """Average a screen that was chosen; sample one that is hardly larger than the frame."""
    return cv2.INTER_AREA if options.screen else cv2.INTER_LINEAR


def _rgb_writer(size: tuple[int, int], method: int) -> FrameWriter:
    small = np.zeros((size[1], size[0], 3), dtype=np.uint8)

    def write_rgb(state: vizdoom.GameState, frame: Frame) -> None:
        cv2.resize(state.screen_buffer, size, dst=small, interpolation=method)
        cv2.split(small, [frame[0], frame[1], frame[2]])

    return write_rgb


def _writers(options: ObservationOptions, name: str) -> list[FrameWriter]:
    """Write one buffer channel by channel; only labels may have several, one for each map."""
    if name == "labels" and options.label_maps:
        return [_map_writer(options, group) for group in parse_mapping(options.label_maps)]
    return [_buffer_writer(options, name)]


def _map_writer(options: ObservationOptions, group: Sequence[int]) -> FrameWriter:
    size, method = (options.width, options.height), _interpolation(options)

    def write_map(state: vizdoom.GameState, channel: Frame) -> None:
        drawn = label_map(np.asarray(state.labels_buffer), state.labels or (), group)
        cv2.resize(drawn, size, dst=channel, interpolation=method)

    return write_map


def _buffer_writer(options: ObservationOptions, name: str) -> FrameWriter:
    """Write one buffer into one channel, uint8 [height, width]."""
    size = (options.width, options.height)
    attribute = f"{name}_buffer"
    # Labels are numbers of objects: between two of them lies a third object, not a mixture.
    interpolation = cv2.INTER_NEAREST if name == "labels" else _interpolation(options)

    def write_buffer(state: vizdoom.GameState, channel: Frame) -> None:
        cv2.resize(getattr(state, attribute), size, dst=channel, interpolation=interpolation)

    def write_color(state: vizdoom.GameState, channel: Frame) -> None:
        gray = cv2.cvtColor(getattr(state, attribute), cv2.COLOR_RGB2GRAY)
        cv2.resize(gray, size, dst=channel, interpolation=interpolation)

    # The engine draws the automap in the screen's own format.
    return write_color if name == "automap" and options.color == "rgb" else write_buffer
