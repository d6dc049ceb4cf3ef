"""Metrics on their way to an executor that is away."""

import threading

import grpc

from trainer.metric_stream import MetricStream
from trainer.platform import Credential


def test_a_checkpoint_does_not_wait_for_ever_for_an_executor_that_is_away() -> None:
    stream = MetricStream(grpc.insecure_channel("127.0.0.1:1"), Credential("token"))
    stream.log(1, {"loss": 0.5})
    flushing = threading.Thread(target=stream.flush, kwargs={"within_s": 0.1}, daemon=True)
    flushing.start()
    flushing.join(20)
    assert not flushing.is_alive()
