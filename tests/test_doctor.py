"""The doctor finds what is broken, says what to do, and is not stopped by the first thing that is."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from stinet import doctor
from stinet.checkpoint import save_model
from stinet.doctor import Check, examine
from stinet.engines.ranges import ranges_file
from stinet.errors import CheckpointError, DeviceError, ModelError, OutputError
from stinet.face import load_model


def by_name(**wish: str) -> dict[str, Check]:
    return {check.name: check for check in examine(**wish)}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without the slow parts: one encoder, no run."""
    monkeypatch.setattr(doctor, "_SOFTWARE", ("h264",))
    monkeypatch.setattr(doctor, "_HARDWARE", ("h264_nvenc",))
    monkeypatch.setattr(doctor, "_self_test", lambda *_: iter([doctor._ok("self-test", "left out")]))
    monkeypatch.setattr("stinet.runtime.probe_threads", lambda: 1)
    return monkeypatch


def test_a_well_machine_says_what_it_has(quick: pytest.MonkeyPatch) -> None:
    checks = by_name(model="blend+bicubic", device="cpu")
    assert [check for check in checks.values() if check.code] == []
    assert "cpu" in checks["device"].says
    assert "FFmpeg" in checks["ffmpeg"].says
    assert "libx264" in checks["enc h264"].says
    assert "h264" in checks["decoders"].says
    assert {check.state for check in checks.values()} <= {"ok", "missing"}


def test_a_missing_device_is_six_and_hides_nothing_that_comes_later(quick: pytest.MonkeyPatch) -> None:
    checks = by_name(model="blend+bicubic", device="abacus")
    assert (checks["device"].code, checks["memory"].code) == (6, 6)
    assert "abacus" in checks["device"].says
    assert checks["enc h264"].state == checks["weights"].state == "ok"


@pytest.mark.bad_input(34)
def test_broken_weights_are_seven_and_named(quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "page.safetensors").write_text("<html>404</html>")
    check = by_name(model=str(tmp_path / "page.safetensors"))["weights"]
    assert check.code == CheckpointError.exit_code == 7
    assert "page.safetensors" in check.says
    assert "web page" in check.says
    assert by_name(model="nonesuch")["weights"].code == 7


def test_the_engine_that_auto_chooses_is_said_and_why_it_is_not_in_8_bits(
    quick: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    quick.setattr("stinet.runtime.has_int8", lambda: True)
    assert (
        by_name(model="stinet-xs", device="cpu")["engine"].says == "openvino, int8 is what auto chooses for stinet-xs"
    )
    net = load_model("stinet-xs")
    file = tmp_path / "mine.safetensors"
    save_model(file, net, net.state_dict(), {})
    checks = by_name(model=str(file), device="cpu")
    assert checks["engine"].says.startswith("openvino, ")
    assert (checks["int8"].state, checks["int8"].code) == ("missing", 0)
    assert "no ranges lie beside the weights" in checks["int8"].says
    ranges_file(file).write_text("{")
    damaged = by_name(model=str(file), device="cpu")["int8"]
    assert (damaged.state, damaged.code) == ("broken", CheckpointError.exit_code)
    assert "mine.int8.json" in damaged.says
    quick.setattr("stinet.runtime.has_int8", lambda: False)
    assert by_name(model="stinet-xs", device="cpu")["int8"].says == "this CPU has no VNNI instructions"
    assert "engine" not in by_name(model="blend+bicubic", device="cpu")


def test_little_memory_is_said_with_what_to_do(quick: pytest.MonkeyPatch) -> None:
    quick.setattr("stinet.runtime.memory_available_bytes", lambda kind="cpu": 200 << 20)
    check = by_name(model="blend+bicubic")["memory"]
    assert check.code == DeviceError.exit_code
    assert "--tile" in check.remedy
    assert check.line().startswith("BROKEN")


@pytest.mark.bad_input(35)
def test_an_encoder_that_does_not_open_is_missing_and_none_at_all_is_broken(quick: pytest.MonkeyPatch) -> None:
    quick.setattr(doctor, "_opened", lambda name: name if name == "h264_nvenc" else refuse(name))
    checks = by_name(model="blend+bicubic")
    assert checks["enc h264"].state == "missing"
    assert checks["enc h264_nvenc"].state == "ok"
    assert "encoders" not in checks
    quick.setattr(doctor, "_opened", refuse)
    assert by_name(model="blend+bicubic")["encoders"].code == OutputError.exit_code


def refuse(name: str) -> str:
    raise OutputError(f"{name} does not work here")


def test_an_error_of_ours_is_one_and_asks_for_a_report(quick: pytest.MonkeyPatch) -> None:
    quick.setattr(doctor, "_packages", lambda: 1 / 0)
    check = by_name(model="blend+bicubic")["package"]
    assert check.code == 1
    assert "report" in check.remedy


def test_a_decoder_that_lacks_is_named() -> None:
    from stinet.video.library import can_decode

    assert can_decode("h264")
    assert not can_decode("libx264")
    assert not can_decode("nonesuch")


def test_the_self_test_upscales_a_clip_and_a_black_result_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    (check,) = doctor._self_test("blend+bicubic", "cpu")
    assert "4 frames in, 8 out, 256x192" in check.says
    monkeypatch.setattr("stinet.video.read.read_frames", black_frames)
    with pytest.raises(ModelError, match="not the source's"):
        list(doctor._self_test("blend+bicubic", "cpu"))


def black_frames(path: Path, **_: object) -> list[object]:
    from fractions import Fraction

    from stinet.video.frame import Frame

    return [Frame(rgb=np.zeros((192, 256, 3), np.uint8), time=Fraction(k)) for k in range(8)]


def test_the_command_prints_json_and_leaves_with_the_code_of_what_is_broken(
    quick: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from stinet.__main__ import main

    for words, code in ((["--model", "blend+bicubic"], 0), (["--model", "nonesuch"], 7)):
        quick.setattr(sys, "argv", ["stinet", "doctor", "--json", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert (end.value.code or 0) == code
        told = json.loads(capsys.readouterr().out)
        assert told["is_well"] == (code == 0)
        assert {"name", "state", "says", "remedy", "code"} == set(told["checks"][0])
    quick.setattr(sys, "argv", ["stinet", "doctor", "--model", "blend+bicubic"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.splitlines()[-1] == "all is well"
