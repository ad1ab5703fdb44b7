"""What is chosen for which file, what is refused, and in which words."""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from stinet.config import EncodeConfig
from stinet.errors import OutputError, StinetError, UsageError
from stinet.video import codecs, trial
from stinet.video.codecs import CONTAINERS, choose_encoder
from stinet.video.encoder import EncoderChoice, prepare_encoder
from stinet.video.frame import Colour, Light, Mastering, Notes, VideoInfo

TICK = Fraction(1, 24_000)
PQ = Colour(matrix=9, primaries=9, transfer=16)


def source(**changed: Any) -> VideoInfo:
    said: dict[str, Any] = {
        "path": Path("source.mkv"), "container": "matroska", "codec": "h264", "width": 16, "height": 12,
        "rate": Fraction(24), "duration": None, "frames_declared": None, "time_base": TICK, "pixel_format": "yuv420p",
        "colour": Colour(matrix=1, primaries=1, transfer=1),
    }  # fmt: skip
    return VideoInfo(**(said | changed))


def choose(
    name: str,
    info: VideoInfo | None = None,
    *,
    size: tuple[int, int] = (64, 48),
    time_base: Fraction = TICK,
    notes: Notes | None = None,
    **config: Any,
) -> EncoderChoice:
    return choose_encoder(
        EncodeConfig(**config),
        Path(name),
        size=size,
        rate=Fraction(24),
        time_base=time_base,
        info=info,
        notes=Notes() if notes is None else notes,
    )


DEEP = {"bit_depth": 10, "pixel_format": "yuv420p10le"}
CLEAR = {"has_alpha": True, "pixel_format": "rgba"}


@pytest.mark.bad_input(14, 16)
@pytest.mark.parametrize(
    ("name", "info", "wanted"),
    [
        ("a.mp4", {}, "libx264 yuv420p crf=17 preset=faster"),
        ("a.M4V", {}, "libx264 yuv420p crf=17 preset=faster"),
        ("a.mov", {}, "libx264 yuv420p crf=17 preset=faster"),
        ("a.mkv", {}, "libx264 yuv420p crf=17 preset=faster"),
        ("a.webm", {}, "libvpx-vp9 yuv420p crf=24 cpu-used=2 row-mt=1"),
        ("a.mp4", DEEP, "libx265 yuv420p10le crf=18 preset=medium"),
        ("a.mov", DEEP, "libx265 yuv420p10le crf=18 preset=medium"),
        ("a.webm", DEEP, "libsvtav1 yuv420p10le crf=24 preset=6"),
        ("a.mp4", CLEAR, "libx264 yuv420p crf=17"),
        ("a.mov", CLEAR, "prores_ks yuva444p10le profile=4444"),
        ("a.webm", CLEAR, "libvpx-vp9 yuva420p crf=24"),
        ("a.mkv", CLEAR, "libvpx-vp9 yuva420p crf=24"),
        ("a.mkv", CLEAR | {"bit_depth": 16, "pixel_format": "rgba64le"}, "prores_ks yuva444p10le profile=4444"),
        ("a.mov", {"has_alpha": True, "pixel_format": "pal8"}, "libx264 yuv420p crf=17"),
        ("a.y4m", {}, "y4m yuv420p"),
        ("-", DEEP, "y4m yuv420p10le"),
    ],
)
def test_a_container_gets_the_codec_that_plays_and_keeps_depth_and_alpha(
    name: str, info: dict[str, Any], wanted: str
) -> None:
    choice = choose(name, source(**info))
    encoder, pix_fmt, *options = wanted.split()
    assert (choice.encoder, choice.pix_fmt) == (encoder, pix_fmt)
    assert {tuple(option.split("=")) for option in options} <= set(choice.options)
    assert choice.container == CONTAINERS.get(Path(name).suffix.lower(), CONTAINERS[".y4m"]).name


@pytest.mark.bad_input(7)
@pytest.mark.parametrize(("size", "family"), [((4094, 64), "h264"), ((4096, 64), "hevc"), ((64, 4096), "hevc")])
def test_a_side_of_4096_takes_hevc(size: tuple[int, int], family: str) -> None:
    assert choose("a.mp4", source(), size=size).family == family


@pytest.mark.parametrize(
    ("codec", "crf", "preset", "wanted"),
    [
        ("h264", 0, "ultrafast", {"crf": "0", "preset": "ultrafast"}),
        ("hevc", 30, "fast", {"crf": "30", "preset": "fast"}),
        ("av1", 60, "12", {"crf": "60", "preset": "12"}),
        ("vp9", 63, "5", {"crf": "63", "cpu-used": "5"}),
        ("prores", None, "lt", {"profile": "lt"}),
        ("libx264", 20, None, {"crf": "20", "preset": "faster"}),
    ],
)
def test_quality_and_effort_are_told_in_the_encoders_own_words(
    codec: str, crf: int | None, preset: str | None, wanted: dict[str, str]
) -> None:
    choice = choose("a.mkv", source(), codec=codec, crf=crf, preset=preset)
    assert wanted.items() <= dict(choice.options).items()


@pytest.mark.parametrize(
    ("name", "config", "error", "words"),
    [
        ("a.avi", {}, OutputError, r"a.avi: unknown suffix '.avi'; known are .mp4, .m4v, .mov, .mkv, .webm, .y4m"),
        ("a", {}, OutputError, "unknown suffix ''"),
        ("a.mp4", {"codec": "prores"}, UsageError, r"not prores; for prores use .mov, .mkv"),
        ("a.webm", {"codec": "h264"}, UsageError, r"takes vp9, av1, not h264"),
        ("a.mov", {"codec": "ffv1"}, UsageError, r"for ffv1 use .mkv"),
        ("a.mp4", {"codec": "h246"}, OutputError, "no encoder 'h246'; did you mean h264"),
        ("a.mp4", {"codec": "mpeg4"}, UsageError, "mpeg4 makes mpeg4, which is not written here; choose h264"),
        ("a.mp4", {"codec": "h264", "crf": 52}, UsageError, "crf 52 is beyond the 51 of h264"),
        ("a.mov", {"codec": "prores", "crf": 10}, UsageError, "prores takes no crf.*proxy, lt"),
        ("a.mkv", {"codec": "ffv1", "crf": 10}, UsageError, "ffv1 takes no crf: it is lossless"),
        ("a.mp4", {"preset": "quick"}, UsageError, "h264 has no preset 'quick'; choose ultrafast"),
        ("a.mkv", {"codec": "ffv1", "preset": "slow"}, UsageError, "ffv1 has no preset 'slow'; it has none"),
        ("a.mp4", {"pix_fmt": "yuv420"}, UsageError, "pixel format 'yuv420' is unknown"),
        ("a.mp4", {"codec": "h264", "pix_fmt": "yuva420p"}, UsageError, "libx264 does not take yuva420p; it takes"),
        ("a.mov", {"codec": "prores", "range": "full"}, UsageError, "prores has no full range"),
        ("a.mkv", {"codec": "ffv1", "range": "limited"}, UsageError, r"RGB \(bgr0\) is always of full range"),
        ("a.mp4", {"pix_fmt": "yuvj420p", "range": "limited"}, UsageError, "yuvj420p is of full range"),
        ("a.y4m", {"codec": "h264"}, UsageError, "y4m holds raw frames, not h264; choose .mkv"),
        ("-", {"crf": 3, "preset": "fast"}, UsageError, "y4m holds raw frames and has no crf or preset"),
        ("a.y4m", {"pix_fmt": "yuva420p"}, UsageError, "y4m has no pixel format yuva420p; it has yuv420p"),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_does(
    name: str, config: dict[str, Any], error: type[StinetError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        choose(name, source(), **config)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("codec", "option", "words"),
    [
        ("h264", ("tunee", "film"), "libx264 has no option 'tunee'; did you mean tune"),
        ("h264", ("tune", "nothing"), "libx264 refuses the options tune=nothing"),
        ("h264", ("x264-params", "nonsense=1"), "libx264 refuses the options x264-params=nonsense=1"),
        ("hevc", ("x265-params", "nonsense=1"), "libx265 refuses the options x265-params=nonsense=1.*nonsense"),
        ("av1", ("svtav1-params", "nonsense=1"), "libsvtav1 refuses the options.*nonsense"),
        ("vp9", ("nonsense", "1"), "libvpx-vp9 has no option 'nonsense'"),
        ("ffv1", ("nonsense", "1"), "ffv1 has no option 'nonsense'"),
    ],
)
def test_an_option_that_nobody_takes_is_an_error(codec: str, option: tuple[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        choose("a.mkv", source(), codec=codec, options=(option,))


def test_options_reach_the_encoder_beside_ours_and_override_them() -> None:
    given = (("threads", "3"), ("x264-params", "keyint=7"), ("b", "2M"))
    options = dict(choose("a.mp4", source(), options=given).options)
    assert (options["threads"], options["b"]) == ("3", "2M")
    assert options["x264-params"].endswith("keyint=7")
    assert "crf" not in options  # a bit rate and a quality exclude each other
    params = dict(choose("a.mp4", source(), codec="hevc", options=(("x265-params", "aq-mode=3"),)).options)
    assert params["x265-params"].startswith("log-level=none:")
    assert params["x265-params"].endswith(":aq-mode=3")


def test_no_default_choice_has_an_option_that_its_encoder_leaves_over() -> None:
    for codec in ("h264", "hevc", "av1", "vp9", "prores", "ffv1"):
        choice = choose("a.mkv", source(), codec=codec)
        context: Any = av.CodecContext.create(choice.encoder, "w")
        prepare_encoder(context, choice)
        context.options = dict(choice.options)
        context.open()
        assert context.options == {}


@pytest.mark.bad_input(6)
@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "h264", "yuv444p"),
        ("a.mp4", "hevc", "yuv444p"),
        ("a.mov", "prores", "yuv444p10le"),
        ("a.mkv", "av1", "yuv420p10le"),
        ("a.webm", "vp9", "yuv420p"),
        ("a.mkv", "ffv1", "bgr0"),
    ],
)
def test_an_odd_side_takes_a_format_that_holds_it(name: str, codec: str, pix_fmt: str) -> None:
    notes = Notes()
    assert choose(name, source(), size=(63, 47), codec=codec, notes=notes).pix_fmt == pix_fmt
    assert any("63x47 has an odd side" in line for line in notes.lines) == ("444" in pix_fmt)


@pytest.mark.bad_input(6)
@pytest.mark.parametrize(("codec", "use"), [("h264", "yuv444p"), ("hevc", "yuv444p")])
def test_an_odd_side_in_420_is_refused_with_what_to_do(codec: str, use: str) -> None:
    with pytest.raises(UsageError, match=rf"63x47 has an odd side.*use --pix-fmt {use} or --size 62x46"):
        choose("a.mp4", source(), size=(63, 47), codec=codec, pix_fmt="yuv420p")


@pytest.mark.bad_input(6)
def test_prores_is_not_asked_for_an_odd_width_in_422() -> None:
    with pytest.raises(UsageError, match="odd width, which prores spoils in 4:2:2; use yuv444p10le"):
        choose("a.mov", source(), size=(63, 48), codec="prores", pix_fmt="yuv422p10le")


@pytest.mark.bad_input(7)
@pytest.mark.parametrize(("codec", "size"), [("h264", (16_386, 128)), ("h264", (128, 16_386)), ("av1", (16_386, 128))])
def test_a_size_that_the_codec_refuses_names_one_that_takes_it(codec: str, size: tuple[int, int]) -> None:
    with pytest.raises(OutputError, match=rf"{size[0]}x{size[1]} is a size that \w+ refuses .*use --codec .*hevc"):
        choose("a.mkv", source(), size=size, codec=codec)


@pytest.mark.bad_input(7)
def test_a_size_that_no_container_names_is_refused() -> None:
    with pytest.raises(OutputError, match="70000x128 is beyond the 65,535 px"):
        choose("a.mkv", source(), size=(70_000, 128))


@pytest.mark.bad_input(7)
def test_a_16k_picture_is_tried_without_its_memory_and_its_level_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    plain = trial.encode_some
    monkeypatch.setattr(trial, "encode_some", lambda choice: tried.append(choice.size) or plain(choice))
    notes = Notes()
    choice = choose("a.mp4", source(), size=(15_360, 8_640), notes=notes, preset="ultrafast")
    assert (choice.family, choice.size) == ("hevc", (15_360, 8_640))
    assert tried == [(15_360, 256), (256, 8_640)]
    assert any("15360x8640 is beyond the highest level of hevc" in line for line in notes.lines)


@pytest.mark.bad_input(15)
def test_hdr_in_eight_bit_is_refused_unless_it_is_asked_for() -> None:
    hdr = source(bit_depth=10, pixel_format="yuv420p10le", colour=PQ)
    with pytest.raises(UsageError, match=r"a.webm: the source is HDR \(PQ\) and libvpx-vp9 writes 8 bit.*hevc or av1"):
        choose("a.webm", hdr, codec="vp9")
    notes = Notes()
    choice = choose("a.mp4", hdr, pix_fmt="yuv420p", notes=notes)
    assert (choice.encoder, choice.pix_fmt, choice.colour.transfer) == ("libx264", "yuv420p", 16)
    assert "HDR (PQ) in 8 bit: bands may show" in notes.warnings


@pytest.mark.bad_input(15)
def test_mastering_data_that_a_codec_cannot_hold_is_named() -> None:
    light = Light(max_content=1000, max_average=400)
    notes = Notes()
    hdr = source(bit_depth=10, pixel_format="yuv422p10le", colour=dataclasses.replace(PQ, light=light))
    assert choose("a.mov", hdr, codec="prores", notes=notes).colour.transfer == 16
    assert notes.warnings == ("mastering display data dropped: prores_ks does not store it",)


@pytest.mark.bad_input(14)
@pytest.mark.parametrize(
    ("name", "config", "info", "words"),
    [
        ("a.webm", {"codec": "vp9"}, {"bit_depth": 10, "pixel_format": "yuv420p10le"}, "10 bit become 8 bit"),
        ("a.mp4", {}, {"bit_depth": 12, "pixel_format": "yuv420p12le"}, "12 bit become 10 bit (--pix-fmt yuv420p12le"),
        ("a.mov", {"codec": "prores"}, {"colour": Colour(matrix=1, is_full_range=True)}, "full range becomes limited"),
        ("a.mp4", {}, {"has_alpha": True, "pixel_format": "rgba"}, "alpha dropped: h264 has none"),
    ],
)
def test_what_the_codec_cannot_keep_is_a_warning(
    name: str, config: dict[str, Any], info: dict[str, Any], words: str
) -> None:
    notes = Notes()
    choose(name, source(**info), notes=notes, **config)
    assert len(notes.warnings) == 1
    assert notes.warnings[0].startswith(words)


@pytest.mark.bad_input(14)
@pytest.mark.parametrize(
    ("pix_fmt", "said"), [("yuv444p", "4:4:4"), ("yuv422p", "4:2:2"), ("yuv420p", ""), ("gray", "")]
)
def test_halved_colour_is_said_when_the_source_has_more(pix_fmt: str, said: str) -> None:
    notes = Notes()
    choose("a.mp4", source(pixel_format=pix_fmt), notes=notes)
    assert [line.split(";")[0] for line in notes.lines] == (
        [f"colour stored at 4:2:0, the source has {said}"] if said else []
    )
    assert not notes.warnings


@pytest.mark.parametrize(
    ("name", "pix_fmt", "encoder"),
    [
        ("a.mp4", "yuv444p10le", "libx265"),
        ("a.mp4", "yuv444p", "libx264"),
        ("a.mp4", "yuv420p12le", "libx265"),
        ("a.mov", "yuva444p10le", "prores_ks"),
        ("a.mkv", "gbrp16le", "ffv1"),
        ("a.webm", "yuva420p", "libvpx-vp9"),
    ],
)
def test_a_pixel_format_picks_the_codec_that_has_it(name: str, pix_fmt: str, encoder: str) -> None:
    choice = choose(name, source(), pix_fmt=pix_fmt)
    assert (choice.encoder, choice.pix_fmt) == (encoder, pix_fmt)


def test_rgb_sources_get_a_matrix_and_their_own_curve() -> None:
    rgb = choose("a.mp4", source(pixel_format="rgb24", colour=Colour(matrix=0, is_full_range=True))).colour
    assert (rgb.matrix, rgb.primaries, rgb.transfer, rgb.is_full_range) == (1, 1, 13, False)
    wide = source(bit_depth=16, pixel_format="rgb48le", colour=dataclasses.replace(PQ, matrix=0, is_full_range=True))
    assert choose("a.mp4", wide).colour == PQ


@pytest.mark.bad_input(35)
@pytest.mark.parametrize("codec", ["h264_nvenc", "hevc_qsv", "av1_amf", "h264_vaapi", "hevc_videotoolbox"])
def test_a_hardware_encoder_that_is_not_there_names_the_software_one(codec: str) -> None:
    if codec in av.codecs_available and choose("b.mp4", source(), size=(256, 256), hardware=True).encoder == codec:
        pytest.skip(f"{codec} works here")
    family = codec.partition("_")[0]
    software = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}[family]
    with pytest.raises(OutputError, match=rf"{codec}.*; use --codec {family}, .*software encoder {software}$"):
        choose("a.mp4", source(), codec=codec, size=(256, 256))


@pytest.mark.bad_input(35)
def test_without_a_working_card_the_software_encoder_is_used_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = trial.encode_some
    broken = trial.Verdict(error="no such device")
    monkeypatch.setattr(trial, "encode_some", lambda choice: broken if choice.is_hardware else plain(choice))
    notes = Notes()
    assert choose("a.mp4", source(), hardware=True, notes=notes).encoder == "libx264"
    assert notes.warnings[0].startswith("no hardware encoder of h264 works here (h264_nvenc: no such device; ")
    assert notes.warnings[0].endswith("; libx264 is used")


@pytest.mark.bad_input(35)
def test_the_first_encoder_of_a_card_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    works = trial.Verdict()
    monkeypatch.setattr(
        trial,
        "encode_some",
        lambda choice: works if choice.encoder.endswith("_qsv") else trial.Verdict(error="absent"),
    )
    notes = Notes()
    choice = choose("a.mp4", source(), codec="hevc", hardware=True, crf=21, notes=notes)
    assert (choice.encoder, choice.pix_fmt, dict(choice.options)) == ("hevc_qsv", "nv12", {"global_quality": "21"})
    assert choice.is_hardware
    assert any("hevc_qsv" in line for line in notes.lines)
    assert not notes.warnings


def test_a_time_base_that_no_container_takes_is_rounded_and_said() -> None:
    notes = Notes()
    assert choose("a.mp4", source(), time_base=Fraction(1, 10**9), notes=notes).time_base == Fraction(1, 90_000)
    assert "times rounded to 1/90000 s" in notes.lines[0]


def test_a_choice_survives_json() -> None:
    mastering = Mastering(
        red=(Fraction(17, 25), Fraction(8, 25)),
        green=(Fraction(53, 200), Fraction(69, 100)),
        blue=(Fraction(3, 20), Fraction(3, 50)),
        white=(Fraction(3127, 10_000), Fraction(329, 1000)),
        darkest=Fraction(1, 200),
        brightest=Fraction(1000),
    )
    colour = dataclasses.replace(PQ, mastering=mastering, light=Light(max_content=1000, max_average=400))
    info = source(bit_depth=10, pixel_format="yuv420p10le", colour=colour, sample_aspect=Fraction(4, 3))
    choice = choose("a.mp4", info)
    again = EncoderChoice.from_json(json.loads(json.dumps(choice.to_json())))
    assert again == choice
    assert hash(again) == hash(choice)
    assert str(choice) == "hevc (libx265), crf 18, preset medium, yuv420p10le"


def test_threads_are_a_number_in_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "cores", lambda: 64)
    assert dict(choose("a.mp4", source()).options)["threads"] == "8"
    assert ":pools=8:frame-threads=3" in dict(choose("a.mp4", source(), codec="hevc").options)["x265-params"]
    assert "lp=6:" in dict(choose("a.mkv", source(), codec="av1").options)["svtav1-params"]
