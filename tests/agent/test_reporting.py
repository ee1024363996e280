"""What is said when there is too much to say."""

from __future__ import annotations

import pytest

from fitment_agent.reporting import encode_to_fit
from fitment_contract.benchmark import Score, SliceScore
from fitment_contract.codec import MAX_MESSAGE_BYTES, decode
from fitment_contract.errors import OversizedMessageError
from fitment_contract.messages import Bench, Reported
from fitment_contract.topics import UpChannel, UpTopic
from support.contract_samples import MESSAGES, REPORT, STATES

SLICES = {f"{n:064}": SliceScore(value=0.5, count=9, standard_error=0.1) for n in range(100)}
SCORE = Score(metric="top1", value=0.5, count=900, slices=SLICES, worst_slice=f"{0:064}")


def a_state_of(models: int) -> Reported:
    report = REPORT.model_copy(update={"scores": (SCORE,)})
    both = {"benchmark": report, "low_power_benchmark": report}
    state = STATES[0].model_copy(update=both)
    states = tuple(state.model_copy(update={"model": f"m{n}"}) for n in range(models))
    message = MESSAGES["reported"]
    assert isinstance(message, Reported)
    return message.model_copy(update={"models": states})


def test_a_state_too_large_to_send_goes_without_its_slices() -> None:
    message = a_state_of(models=30)
    payload = encode_to_fit(message)
    assert len(payload) <= MAX_MESSAGE_BYTES
    told = decode(UpTopic(message.device, UpChannel.REPORTED), payload)
    assert isinstance(told, Reported)
    assert len(told.models) == 30
    for benchmark in (told.models[0].benchmark, told.models[0].low_power_benchmark):
        assert benchmark is not None
        assert benchmark.scores[0].slices == {}
        assert (benchmark.scores[0].value, benchmark.scores[0].worst_slice) == (0.5, f"{0:064}")


def test_a_state_that_fits_goes_whole() -> None:
    message = a_state_of(models=2)
    assert decode(UpTopic("pi-5", UpChannel.REPORTED), encode_to_fit(message)) == message


def test_what_is_too_large_without_slices_is_an_error() -> None:
    bench = MESSAGES["bench"]
    assert isinstance(bench, Bench)
    operators = {f"{n:0200}": 1 for n in range(2000)}
    kernels = REPORT.kernels.model_copy(update={"operators": operators})
    report = REPORT.model_copy(update={"kernels": kernels})
    with pytest.raises(OversizedMessageError):
        encode_to_fit(bench.model_copy(update={"report": report}))
