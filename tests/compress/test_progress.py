"""Progress tells how far a run is, and never counts what nobody can count."""

from __future__ import annotations

from io import StringIO

from fitment_compress.progress import Lines, Parts


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_one_line_per_step_with_the_time_left() -> None:
    stream, now = StringIO(), [0.0]
    progress = Lines(stream, lambda: now[0])
    progress.stage("building", 4)
    now[0] = 10.0
    progress.step("fp16")
    progress.part(0.5, "epoch 1/2")
    assert stream.getvalue().splitlines() == [
        "building ...",
        "building 1/4  fp16  (about 30 s left)",
    ]


def test_a_terminal_sees_long_steps_move_and_the_time_shrink() -> None:
    stream, now = Terminal(), [0.0]
    progress = Lines(stream, lambda: now[0])
    progress.stage("building", 2)
    now[0] = 10.0
    progress.part(0.5, "epoch 1/2")
    assert "building 0/2  epoch 1/2  (about 30 s left)" in stream.getvalue()


def test_a_stage_without_an_end_is_counted_and_not_divided() -> None:
    stream = StringIO()
    progress = Lines(stream, lambda: 1.0)
    progress.stage("searching", 0)
    progress.step("prune50")
    assert stream.getvalue().splitlines()[-1] == "searching 1  prune50"


def test_steps_of_inner_work_are_parts_of_the_outer_one() -> None:
    stream = Terminal()
    outer = Lines(stream, lambda: 1.0)
    outer.stage("searching", 0)
    inner = Parts(outer)
    inner.stage("building", 3)
    inner.step("fp16")
    inner.note("beware")
    outer.step("prune50")
    assert "searching 0  fp16" in stream.getvalue()
    assert "note: beware" in stream.getvalue()
    assert "searching 1  prune50" in stream.getvalue()
    assert "building" not in stream.getvalue()
