"""Inputs become sources, and every source an outcome; the upscaling itself is a stand-in."""

import errno
from collections.abc import Callable
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stinet.batch import Item, Outcome, Task, exit_code, expand, run_batch, sample_of, target_of
from stinet.config import ReadConfig, UpscaleConfig
from stinet.errors import DecodeError, InputError, Interrupted, UsageError

Ran = list[tuple[Path, Path, UpscaleConfig]]


class Made(SimpleNamespace):
    """A summary in three lines."""

    warnings: tuple[str, ...] = ()
    frames_out, seconds = 4, 0.5

    def line(self) -> str:
        return f"{self.output}: made"

    def to_json(self) -> dict[str, Any]:
        return {"frames_out": self.frames_out, "warnings": list(self.warnings)}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """What the stand-in was asked for; names decide how it ends."""
    calls: Ran = []

    def upscale_video(source: Path, target: Path, *, config: UpscaleConfig, **_: object) -> Made:
        calls.append((source, target, config))
        if "bad" in source.name:
            raise DecodeError("nothing in it can be decoded")
        if "bug" in source.name:
            raise ZeroDivisionError("ours")
        if "full" in source.name:
            raise OSError(errno.ENOSPC, "No space", "out.mp4")
        if "stop" in source.name:
            raise Interrupted("goes on later")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"film")
        return Made(output=target, warnings=("1 corrupt packet",) if "odd" in source.name else ())

    monkeypatch.setattr("stinet.face.upscale_video", upscale_video)
    monkeypatch.setattr(
        "stinet.face.output_path", lambda source, output, config: source.with_name(f"{source.stem}_stinet_x4.mp4")
    )
    return calls


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def names(items: list[Item]) -> list[str]:
    return [item.source.name for item in items if item.error is None and not item.is_result]


@pytest.mark.bad_input(25)
def test_a_folder_of_videos_is_each_of_them_in_natural_order(tmp_path: Path) -> None:
    files(tmp_path, "10.mp4", "2.MKV", "1.webm", "notes.txt", "cover.jpg", ".hidden.mp4")
    assert names(expand([str(tmp_path)])) == ["1.webm", "2.MKV", "10.mp4"]


@pytest.mark.bad_input(25)
def test_a_folder_of_images_is_one_film(tmp_path: Path) -> None:
    files(tmp_path, "frames/1.png", "frames/2.png")
    assert [item.source for item in expand([str(tmp_path / "frames")])] == [tmp_path / "frames"]


@pytest.mark.bad_input(25)
def test_a_folder_of_neither_says_how_to_look_deeper(tmp_path: Path) -> None:
    files(tmp_path, "notes.txt", "inner/a.mp4")
    (item,) = expand([str(tmp_path)])
    assert isinstance(item.error, InputError)
    assert "neither videos nor images" in str(item.error)
    assert names(expand([f"{tmp_path}/**/*"])) == ["a.mp4"]


@pytest.mark.bad_input(25)
def test_a_pattern_is_its_matches_and_one_without_is_an_error(tmp_path: Path) -> None:
    files(tmp_path, "a/2.mkv", "a/10.mkv", "b/c/3.mkv", "a/x.txt", "a/out.mkv.stinet/segments/000000.mkv")
    assert names(expand([f"{tmp_path}/**/*.mkv"])) == ["2.mkv", "10.mkv", "3.mkv"]
    assert names(expand([f"{tmp_path}/a/*"])) == ["2.mkv", "10.mkv"]
    (item,) = expand([f"{tmp_path}/*.avi"])
    assert "nothing matches" in str(item.error)


@pytest.mark.bad_input(25)
def test_a_list_names_files_from_its_own_folder(tmp_path: Path) -> None:
    files(tmp_path, "in/a b.mp4", "in/c.mp4", "in/d1.mkv")
    (tmp_path / "in" / "list.txt").write_text("# mine\n\na b.mp4\r\nc.mp4\ngone.mp4\nd*.mkv\n")
    items = expand([f"@{tmp_path}/in/list.txt"])
    assert names(items) == ["a b.mp4", "c.mp4", "d1.mkv"]
    assert [str(item.error) for item in items if item.error] == [f"{tmp_path}/in/gone.mp4: no such file or folder"]
    assert "cannot be read as a list" in str(expand([f"@{tmp_path}/none.txt"])[0].error)


@pytest.mark.bad_input(25)
def test_numbered_images_are_one_film_if_there_is_one(tmp_path: Path) -> None:
    files(tmp_path, "frame_0001.png", "frame_0002.png")
    assert names(expand([f"{tmp_path}/frame_%04d.png"])) == ["frame_%04d.png"]
    assert "no numbered images" in str(expand([f"{tmp_path}/shot_%04d.png"])[0].error)


@pytest.mark.bad_input(24)
@pytest.mark.parametrize(
    "name", ["@list.txt", "a[1].mp4", "what?.mp4", "100%d.mp4", "-x.mp4", "pipe:x.mp4", "#1.mp4", "a\nb.mp4", "🎬.mp4"]
)
def test_what_exists_by_its_name_is_that_whatever_its_letters(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, name, "a1.mp4")
    monkeypatch.chdir(tmp_path)
    (item,) = expand([name])
    assert (item.source, item.error) == (Path(name), None)


def test_a_name_that_no_file_can_have_is_only_missing() -> None:
    for name in ("x" * 5000, "a\0b"):
        (item,) = expand([name])
        assert "no such file" in str(item.error)


def test_a_source_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    monkeypatch.chdir(tmp_path)
    assert names(expand(["b.mp4", "./b.mp4", str(tmp_path / "*.mp4"), "link.mp4"])) == ["b.mp4", "a.mp4"]


def test_results_beside_their_sources_are_left_out(tmp_path: Path) -> None:
    files(
        tmp_path, "a.mp4", "a_stinet_x4_60fps.mp4", "a_stinet_1080p_29.97fps_sample.mp4", "a_stinet_x4_slow4_50fps.mkv"
    )
    items = expand([str(tmp_path)])
    assert names(items) == ["a.mp4"]
    assert sum(item.is_result for item in items) == 3
    assert not expand([str(tmp_path / "a_stinet_x4_60fps.mp4")])[0].is_result  # named itself: wanted


@pytest.mark.bad_input(25)
def test_one_bad_file_stops_no_other_and_the_first_failure_gives_the_code(tmp_path: Path, ran: Ran) -> None:
    files(tmp_path, "1.mp4", "2bad.mp4", "3bug.mp4", "4full.mp4", "5.mp4")
    outcomes = list(run_batch(expand([str(tmp_path), "gone.mp4"]), Task()))
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "failed", "failed", "done", "failed"]
    assert [outcome.code for outcome in outcomes] == [0, 3, 1, 4, 0, 3]
    assert [source.name for source, _, _ in ran] == ["1.mp4", "2bad.mp4", "3bug.mp4", "4full.mp4", "5.mp4"]
    assert all(outcome.source.name in outcome.says for outcome in outcomes if outcome.state == "failed")
    assert exit_code(outcomes) == 3


def test_a_bug_of_ours_is_raised_when_it_is_alone(tmp_path: Path, ran: Ran) -> None:
    files(tmp_path, "bug.mp4")
    with pytest.raises(ZeroDivisionError):
        list(run_batch(expand([str(tmp_path / "bug.mp4")]), Task()))


def test_several_inputs_go_into_one_folder_and_never_onto_each_other(tmp_path: Path, ran: Ran) -> None:
    files(tmp_path, "a/x.mp4", "b/x.mp4", "b/y.mp4")
    outcomes = list(run_batch(expand([f"{tmp_path}/*/*.mp4"]), Task(output=tmp_path / "out")))
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "done"]
    assert "different folders" in outcomes[1].says
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"x_stinet_x4.mp4", "y_stinet_x4.mp4"}


def test_a_folder_as_output_of_one_video_is_where_it_goes_unless_it_holds_our_frames(tmp_path: Path, ran: Ran) -> None:
    films, frames = tmp_path / "films", tmp_path / "frames"
    films.mkdir()
    files(tmp_path, "a.mp4", "frames/00000001.png")
    assert target_of(tmp_path / "a.mp4", Task(output=films)) == films / "a_stinet_x4.mp4"
    assert target_of(tmp_path / "a.mp4", Task(output=frames)) == frames
    assert target_of(tmp_path / "a.mp4", Task(output=tmp_path / "b.mkv")) == tmp_path / "b.mkv"
    assert target_of(tmp_path / "a.mp4", Task(output=tmp_path / "new", is_folder=True)).parent == tmp_path / "new"


def test_existing_results_are_skipped_one_by_one(tmp_path: Path, ran: Ran) -> None:
    files(tmp_path, "a.mp4", "b.mp4", "out/a_stinet_x4.mp4")
    outcomes = list(run_batch(expand([f"{tmp_path}/*.mp4"]), Task(output=tmp_path / "out", skips_existing=True)))
    assert [(outcome.state, outcome.code) for outcome in outcomes] == [("skipped", 0), ("done", 0)]
    assert [source.name for source, _, _ in ran] == ["b.mp4"]


def test_warnings_give_five_under_strict_only_and_after_failures(tmp_path: Path, ran: Ran) -> None:
    files(tmp_path, "1odd.mp4", "2bad.mp4", "3.mp4")
    codes = {}
    for is_strict in (False, True):
        task = Task(is_strict=is_strict, output=tmp_path / str(is_strict))
        codes[is_strict] = [outcome.code for outcome in run_batch(expand([str(tmp_path)]), task)]
    assert codes == {False: [0, 3, 0], True: [5, 3, 0]}
    strict = Outcome(source=Path("a"), state="done", code=5, says="")
    assert exit_code([strict]) == 5
    assert exit_code([strict, Outcome(source=Path("b"), state="failed", code=3, says="")]) == 3


@pytest.mark.parametrize(("words", "output"), [
    (["-", "a.mp4"], None),
    (["a.mp4", "b.mp4"], Path("-")),
    (["a.mp4", "b.mp4"], Path("a.mp4")),
])  # fmt: skip
def test_streams_stand_alone_and_a_file_holds_one_film(
    tmp_path: Path, ran: Ran, words: list[str], output: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "a.mp4", "b.mp4")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        list(run_batch(expand(words), Task(output=output)))
    assert ran == []


def test_a_stream_needs_a_name_for_its_result_and_has_no_middle(ran: Ran) -> None:
    (outcome,) = run_batch(expand(["-"]), Task())
    assert (outcome.code, "-o FILE" in outcome.says) == (2, True)
    (outcome,) = run_batch(expand(["-"]), Task(output=Path("x.mkv"), sample=Fraction(1)))
    assert (outcome.code, "no middle" in outcome.says) == (2, True)


def test_a_sample_is_the_middle_and_has_its_own_name(tmp_path: Path, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path, "a.mp4")
    task = Task(sample=Fraction(5))
    for length, start in ((Fraction(60), Fraction(55, 2)), (Fraction(3), None)):
        monkeypatch.setattr("stinet.video.source.probe_source", lambda path, n=length: SimpleNamespace(duration=n))
        read = sample_of(tmp_path / "a.mp4", task).read
        assert (read.start, read.seconds) == (start, 5)
    assert target_of(tmp_path / "a.mp4", task).name == "a_stinet_x4_sample.mp4"
    monkeypatch.setattr("stinet.video.source.probe_source", lambda path: SimpleNamespace(duration=None))
    with pytest.raises(InputError, match="does not say how long"):
        sample_of(tmp_path / "a.mp4", task)


def test_wishes_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="-y"):
        Task(skips_existing=True, config=UpscaleConfig(overwrite=True))
    with pytest.raises(UsageError, match="--sample"):
        Task(sample=Fraction(1), config=UpscaleConfig(read=ReadConfig(seconds=Fraction(1))))


def test_an_interruption_ends_the_batch_and_says_how_it_goes_on(tmp_path: Path, ran: Ran) -> None:
    files(tmp_path, "1.mp4", "2.mp4", "3stop.mp4", "4.mp4")
    asked: list[Callable[[], bool]] = []
    runs = run_batch(expand([str(tmp_path)]), Task(), stop=lambda: bool(asked))
    assert next(runs).state == "done"
    asked.append(lambda: True)
    with pytest.raises(Interrupted, match="3 files are left; the same command with -n goes on"):
        next(runs)
    with pytest.raises(Interrupted, match="goes on later"):
        list(run_batch(expand([str(tmp_path / "3stop.mp4"), str(tmp_path / "4.mp4")]), Task()))


def test_a_rehearsal_plans_every_file_and_runs_none(tmp_path: Path, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path, "a.mp4", "b.mp4")
    plan = SimpleNamespace(lines=lambda: ["plan"], to_json=lambda: {"frames": 7})
    monkeypatch.setattr("stinet.face.plan_upscale", lambda *_, **__: plan, raising=False)
    outcomes = list(run_batch(expand([str(tmp_path)]), Task(is_rehearsal=True)))
    assert [outcome.to_json()["frames"] for outcome in outcomes] == [7, 7]
    assert ran == []


def test_what_hears_of_a_run_is_asked_for_by_its_source(tmp_path: Path, ran: Ran) -> None:
    files(tmp_path, "a.mp4", "b.mp4")
    heard: list[str] = []

    def watch(source: Path) -> nullcontext[Callable[[Any], None]]:
        heard.append(source.name)
        return nullcontext(lambda now: None)

    list(run_batch(expand([str(tmp_path)]), Task(), watch=watch))
    assert heard == ["a.mp4", "b.mp4"]


def test_an_outcome_as_json_says_what_failed() -> None:
    outcome = Outcome(source=Path("a"), state="failed", code=3, says="a: broken", error=InputError("broken"))
    assert outcome.to_json() == {"file": "a", "output": None, "state": "failed", "code": 3, "error": "a: broken"}
