"""Updates on a GPU that wait neither for the launch of each kernel nor for each array to arrive.

An update of a small network is some hundreds of kernels that take longer to launch than to run. A
CUDA graph launches all of them at once. It is a recording: it reads and writes the memory that it
was recorded with, and repeats nothing that was done on the host.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from trainer.shared import Column

if TYPE_CHECKING:
    from numpy.typing import NDArray

Tensors = Mapping[str, Tensor]
Arrays = Mapping[str, "NDArray[Any]"]
Result = TypeVar("Result")
Run = Callable[[], Result]

# Calls that let the libraries of the GPU set up what may not be set up in a recording.
WARM_UP = 3


@functools.cache
def _stream() -> torch.cuda.Stream:
    """Reserve the stream to record on; on each the libraries take memory of their own."""
    return torch.cuda.Stream()


def run_aside(run: Run[Result]) -> Result:
    """Run on another stream than usual, as what is recorded there later has to have been."""
    stream, current = _stream(), torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        result = run()
    current.wait_stream(stream)
    return result


def record(run: Run[Result]) -> Run[Result]:
    """Record `run` without its taking effect; answers what repeats it, into the same result."""
    graph = torch.cuda.CUDAGraph()
    # Other threads may go on using the GPU meanwhile.
    with torch.cuda.graph(graph, stream=_stream(), capture_error_mode="thread_local"):
        result = run()

    def replay() -> Result:
        graph.replay()
        return result

    return replay


@dataclass
class _Recording:
    """What was made of one layout of inputs: where they are read from, and how to go on."""

    inputs: dict[str, Tensor]
    calls: int = 0
    replay: Run[dict[str, Tensor]] | None = None


class Graphs:
    """A function of tensors, recorded for each layout of its inputs after `WARM_UP` calls.

    The function may not wait for the GPU, and does nothing on the host that matters later. The
    tensors of the first call are where those of later calls are copied to, and belong to the
    recording from then on; who hands in the same ones again has none copied. What is answered is
    the caller's to keep.
    """

    def __init__(
        self,
        function: Callable[[Tensors], dict[str, Tensor]],
        *,
        warm_up: Callable[[Run[dict[str, Tensor]]], dict[str, Tensor]] = run_aside,
        record: Callable[[Run[dict[str, Tensor]]], Run[dict[str, Tensor]]] = record,
    ) -> None:
        """Record nothing yet; `warm_up` and `record` are those of a GPU."""
        self._function = function
        self._warm_up = warm_up
        self._record = record
        self._recordings: dict[object, _Recording] = {}

    def __call__(self, inputs: Tensors) -> dict[str, Tensor]:
        """Do what the function does of `inputs`."""
        layout = tuple((name, one.dtype, one.shape) for name, one in inputs.items())
        recording = self._recordings.setdefault(layout, _Recording(dict(inputs)))
        for name, kept in recording.inputs.items():
            if kept is not inputs[name]:
                kept.copy_(inputs[name])
        recording.calls += 1
        if recording.calls <= WARM_UP:
            return self._warm_up(lambda: self._function(recording.inputs))
        if recording.replay is None:
            recording.replay = self._record(lambda: self._function(recording.inputs))
        return {name: one.clone() for name, one in recording.replay().items()}


class Landing:
    """Where arrays of one layout come to lie on a device: in one transfer, at the same place."""

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        """Reserve the memory for arrays like these."""
        self._starts: dict[str, int] = {}
        self._size_bytes = 0
        for name, array in arrays.items():
            self._starts[name] = self._size_bytes
            self._size_bytes += Column(array.shape, array.dtype.str).size_bytes
        self._memory = torch.empty(self._size_bytes, dtype=torch.uint8, device=device)
        self._tensors = {name: self._there(name, array) for name, array in arrays.items()}

    def _there(self, name: str, array: NDArray[Any]) -> Tensor:
        start, kind = self._starts[name], torch.from_numpy(array).dtype
        return self._memory[start : start + array.nbytes].view(kind).view(array.shape)

    def bring(self, arrays: Arrays) -> dict[str, Tensor]:
        """Bring arrays over without waiting for it; they take the place of those before."""
        # Torch gives pinned memory out again only once it has been read.
        block = torch.empty(
            self._size_bytes, dtype=torch.uint8, pin_memory=self._memory.device.type == "cuda"
        )
        octets = block.numpy()
        for name, start in self._starts.items():
            array = arrays[name]
            place = octets[start : start + array.nbytes].view(array.dtype)
            place.reshape(array.shape)[...] = array
        self._memory.copy_(block, non_blocking=True)
        return self._tensors
