"""Every codec gives its frames back: their number, their times, their colours, their transparency."""

import hashlib
import io
import os
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorRange, Interpolation

from films import pictures  # pyright: ignore[reportMissingImports]
from stinet.config import EncodeConfig
from stinet.errors import OutputError
from stinet.video.codecs import choose_encoder
from stinet.video.convert import SWSCALE_MATRIX
from stinet.video.encode import PipeWriter, Segment, SegmentWriter
from stinet.video.encoder import EncoderChoice
from stinet.video.frame import Colour, Frame, Light, Mastering, Notes, VideoInfo

NTSC = Fraction(24_000, 1_001)
TICK = Fraction(1, 24_000)
SUFFIXES = {"h264": ".mp4", "hevc": ".mp4", "av1": ".mkv", "vp9": ".webm", "prores": ".mov", "ffv1": ".mkv"}
LEAST_DB = {"h264": 31, "hevc": 31, "av1": 30, "vp9": 31, "prores": 32, "ffv1": 45}
"""Of 4:2:0, whose halved colour is most of the loss at 64x48."""

MASTERING = Mastering(
    red=(Fraction("0.68"), Fraction("0.32")),
    green=(Fraction("0.265"), Fraction("0.69")),
    blue=(Fraction("0.15"), Fraction("0.06")),
    white=(Fraction("0.3127"), Fraction("0.329")),
    darkest=Fraction("0.005"),
    brightest=Fraction(1000),
)
HDR10 = Colour(matrix=9, primaries=9, transfer=16, mastering=MASTERING, light=Light(max_content=1000, max_average=400))


def source(**changed: Any) -> VideoInfo:
    """What a reader would say of a source."""
    said: dict[str, Any] = {
        "path": Path("source.mkv"), "container": "matroska", "codec": "ffv1", "width": 16, "height": 12, "rate": NTSC,
        "duration": None, "frames_declared": None, "time_base": TICK, "pixel_format": "yuv420p",
        "colour": Colour(matrix=1, primaries=1, transfer=1),
    }  # fmt: skip
    return VideoInfo(**(said | changed))


def choose(
    codec: str = "auto",
    suffix: str | None = None,
    *,
    size: tuple[int, int] = (64, 48),
    info: VideoInfo | None = None,
    notes: Notes | None = None,
    time_base: Fraction = TICK,
    **config: Any,
) -> EncoderChoice:
    return choose_encoder(
        EncodeConfig(codec=codec, **config),
        Path(f"out{suffix or SUFFIXES[codec]}"),
        size=size,
        rate=NTSC,
        time_base=time_base,
        info=info,
        notes=notes or Notes(),
    )


def timed(rgbs: Sequence[np.ndarray], alphas: Sequence[np.ndarray] | None = None) -> list[Frame]:
    return [
        Frame(rgb=rgb, alpha=None if alphas is None else alphas[number], time=number / NTSC)
        for number, rgb in enumerate(rgbs)
    ]


def wide(rgb: np.ndarray) -> np.ndarray:
    """16 bit of an 8-bit picture, with steps between its steps."""
    steps = np.arange(rgb.shape[1], dtype=np.uint16)[None, :, None] % 4 * 64
    return (rgb.astype(np.uint16) * 257 // 2 + steps).astype(np.uint16)


def encode(path: Path, choice: EncoderChoice, frames: Iterable[Frame]) -> Segment:
    with SegmentWriter(path, choice) as writer:
        for frame in frames:
            writer.write(frame)
    assert writer.segment is not None
    return writer.segment


def decode(path: Path, decoder: str | None = None) -> list[av.VideoFrame]:
    with av.open(str(path)) as file:
        if decoder is None:
            return list(file.decode(video=0))
        context: Any = av.CodecContext.create(decoder, "r")
        context.extradata = file.streams.video[0].codec_context.extradata
        packets = [packet for packet in file.demux(video=0) if packet.size]
        return [frame for packet in (*packets, None) for frame in context.decode(packet)]


def colours(frame: av.VideoFrame, form: str = "rgb48le") -> np.ndarray:
    """R'G'B' by the tags of the decoded frame itself, 1.0 = the largest number."""
    if frame.format.is_rgb:
        array = frame.to_ndarray(format=form)
    else:
        matrix = SWSCALE_MATRIX[frame.colorspace]
        array = frame.reformat(
            format=form,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=frame.color_range,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
        ).to_ndarray()
    return array / (65_535 if array.dtype == np.uint16 else 255)


def psnr_db(decoded: np.ndarray, wanted: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((decoded - wanted / np.iinfo(wanted.dtype).max) ** 2) + 1e-12))


@pytest.mark.parametrize("codec", SUFFIXES)
def test_every_codec_gives_back_every_frame_at_its_time(tmp_path: Path, codec: str) -> None:
    frames = timed(pictures(7))
    segment = encode(tmp_path / "s.mkv", choose(codec), frames)
    decoded = decode(segment.path)
    assert segment.times == tuple(number / NTSC for number in range(7))
    assert [frame.pts for frame in decoded] == list(range(7))
    assert segment.frames == 7
    assert segment.bytes == segment.path.stat().st_size
    assert not (tmp_path / "s.mkv.part").exists()
    for number, frame in enumerate(decoded):
        quality = [psnr_db(colours(frame), other.rgb) for other in frames]
        assert quality[number] > LEAST_DB[codec]
        assert max(quality) == quality[number]  # no other frame stands in its place


@pytest.mark.parametrize("codec", SUFFIXES)
def test_packets_are_out_of_order_by_no_more_than_is_said(tmp_path: Path, codec: str) -> None:
    segment = encode(tmp_path / "s.mkv", choose(codec), timed(pictures(9)))
    with av.open(str(segment.path)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    numbers = [packet.pts for packet in packets if packet.pts is not None]
    assert packets[0].is_keyframe
    assert sorted(numbers) == list(range(9))
    assert max(place - number for place, number in enumerate(numbers)) == segment.reorder
    assert (segment.reorder > 0) == (codec in ("h264", "hevc"))


@pytest.mark.bad_input(8)
def test_uneven_times_are_kept_exactly(tmp_path: Path) -> None:
    times = [Fraction(ticks, 90_000) for ticks in (7, 3_011, 3_012, 50_000, 9_000_001)]
    frames = [Frame(rgb=rgb, time=time) for rgb, time in zip(pictures(5), times, strict=True)]
    segment = encode(tmp_path / "s.mkv", choose("h264", time_base=Fraction(1, 90_000)), frames)
    assert segment.times == tuple(times)
    assert len(decode(segment.path)) == 5


def test_a_segment_needs_nothing_of_the_one_before(tmp_path: Path) -> None:
    frames, choice = timed(pictures(12)), choose("h264")
    first = encode(tmp_path / "a.mkv", choice, frames[:6])
    second = encode(tmp_path / "b.mkv", choice, frames[6:])
    assert first.times + second.times == tuple(frame.time for frame in frames)
    assert min(psnr_db(colours(got), sent.rgb) for got, sent in zip(decode(second.path), frames[6:], strict=True)) > 31


@pytest.mark.parametrize("codec", SUFFIXES)
def test_segments_of_one_choice_have_one_header(tmp_path: Path, codec: str) -> None:
    choice, frames = choose(codec), timed(pictures(9))
    headers = []
    for name, part in (("a.mkv", frames[:2]), ("b.mkv", frames[2:])):
        with av.open(str(encode(tmp_path / name, choice, part).path)) as file:
            headers.append(file.streams.video[0].codec_context.extradata)
    assert headers[0] == headers[1]


def digest_every_codec(folder: Path) -> str:
    """One line for each codec: what a child process prints, to be compared with another's."""
    lines = []
    for codec in SUFFIXES:
        for threads in (1, 2):
            choice = choose(codec)
            options = dict(choice.options)
            options |= {"threads": str(threads)} if "threads" in options else {}
            plain = EncoderChoice.from_json({**choice.to_json(), "options": list(options.items())})
            segment = encode(folder / "s.mkv", plain, timed(pictures(6)))
            lines.append(f"{codec} {threads} {hashlib.sha256(segment.path.read_bytes()).hexdigest()}")
    return "\n".join(lines)


def test_equal_frames_give_equal_bytes_whatever_the_memory_held_before(tmp_path: Path) -> None:
    command = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}\n"
        "from pathlib import Path; import test_encode; print(test_encode.digest_every_codec(Path(sys.argv[1])))"
    )
    printed = [
        subprocess.run(  # glibc fills fresh memory with the pattern; elsewhere this is a plain repetition
            [sys.executable, "-c", command, str(tmp_path)],
            env={**os.environ, "MALLOC_PERTURB_": pattern},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for pattern in ("85", "170")
    ]
    assert len(printed[0].splitlines()) == 2 * len(SUFFIXES)
    assert printed[0] == printed[1]


@pytest.mark.bad_input(14, 16)
@pytest.mark.parametrize("is_deep", [False, True])
def test_ffv1_loses_nothing_not_even_in_colour_and_alpha(tmp_path: Path, is_deep: bool) -> None:  # noqa: FBT001
    rgbs = pictures(3)
    alphas = [rgb[..., 1] for rgb in rgbs]
    if is_deep:
        rgbs, alphas = [wide(rgb) for rgb in rgbs], [wide(rgb)[..., 2] for rgb in rgbs]
    info = source(bit_depth=16 if is_deep else 8, has_alpha=True, pixel_format="rgba64le" if is_deep else "rgba")
    for with_alpha in (False, True):
        choice = choose("ffv1", info=info if with_alpha else source(bit_depth=info.bit_depth))
        assert choice.keeps_alpha == with_alpha
        decoded = decode(encode(tmp_path / "s.mkv", choice, timed(rgbs, alphas)).path)
        form = ("rgba64le" if is_deep else "rgba") if with_alpha else ("rgb48le" if is_deep else "rgb24")
        for got, rgb, alpha in zip(decoded, rgbs, alphas, strict=True):
            array = got.to_ndarray(format=form)
            assert np.array_equal(array[..., :3], rgb)
            assert not with_alpha or np.array_equal(array[..., 3], alpha)


@pytest.mark.bad_input(16)
@pytest.mark.parametrize(("codec", "decoder"), [("prores", None), ("vp9", "libvpx-vp9")])
def test_alpha_is_kept_beside_the_colours(tmp_path: Path, codec: str, decoder: str | None) -> None:
    rgbs = pictures(3)
    alphas = [np.roll(rgb[..., 0], 9, axis=1) for rgb in rgbs]
    choice = choose(codec, info=source(has_alpha=True, pixel_format="rgba"))
    decoded = decode(encode(tmp_path / "s.mkv", choice, timed(rgbs, alphas)).path, decoder)
    assert len(decoded) == 3
    for got, rgb, alpha in zip(decoded, rgbs, alphas, strict=True):
        rgba = colours(got, "rgba64le")
        assert psnr_db(rgba[..., 3], alpha) > 35
        assert psnr_db(rgba[..., :3], rgb) > 30


@pytest.mark.bad_input(16)
def test_a_frame_without_alpha_is_opaque(tmp_path: Path) -> None:
    choice = choose("ffv1", info=source(has_alpha=True, pixel_format="rgba"))
    decoded = decode(encode(tmp_path / "s.mkv", choice, timed(pictures(1))).path)
    assert np.all(decoded[0].to_ndarray(format="rgba")[..., 3] == 255)


@pytest.mark.bad_input(6)
@pytest.mark.parametrize("codec", SUFFIXES)
@pytest.mark.parametrize("size", [(63, 47), (17, 64), (16, 16)])
def test_odd_and_small_sizes_come_out_exactly(tmp_path: Path, codec: str, size: tuple[int, int]) -> None:
    frames = timed(pictures(3, *size))
    decoded = decode(encode(tmp_path / "s.mkv", choose(codec, size=size), frames).path)
    assert [(frame.width, frame.height) for frame in decoded] == [size] * 3
    for got, sent in zip(decoded, frames, strict=True):
        assert psnr_db(colours(got), sent.rgb) > 26
        assert psnr_db(colours(got)[:, -1], sent.rgb[:, -1]) > 24  # what subsampled colour spoils first
        assert psnr_db(colours(got)[-1], sent.rgb[-1]) > 24


@pytest.mark.bad_input(14)
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "prores"])
def test_ten_bit_keeps_steps_that_eight_bit_has_not(tmp_path: Path, codec: str) -> None:
    ramp = np.broadcast_to(np.linspace(20_000, 21_500, 128).astype(np.uint16)[None, :, None], (64, 128, 3)).copy()
    info = source(bit_depth=10, pixel_format="yuv420p10le")
    choice = choose(codec, size=(128, 64), info=info, crf=None if codec == "prores" else 4)
    assert choice.bits == 10
    luma = decode(encode(tmp_path / "s.mkv", choice, timed([ramp] * 2)).path)[0].to_ndarray(format="gray16le")
    assert len(np.unique(luma)) > 12  # 1500 of 65535: six steps in 8 bit, 20 in 10 bit


@pytest.mark.bad_input(14)
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
@pytest.mark.parametrize("asked", ["limited", "full"])
def test_range_is_tagged_and_white_stays_white(tmp_path: Path, codec: str, asked: Any) -> None:
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:, 32:] = 255
    choice = choose(codec, info=source(), range=asked)
    got = decode(encode(tmp_path / "s.mkv", choice, timed([rgb] * 2)).path)[0]
    assert got.color_range == (ColorRange.JPEG if asked == "full" else ColorRange.MPEG)
    stored = np.frombuffer(bytes(got.reformat(format="yuv420p").planes[0]), np.uint8).reshape(48, -1)[:, :64]
    assert (int(stored[24, 4]), int(stored[24, 60])) == ((0, 255) if asked == "full" else (16, 235))


@pytest.mark.bad_input(14)
@pytest.mark.parametrize("tags", [(6, 6, 6), (5, 5, 5), (1, 1, 1), (9, 9, 14), (7, 7, 7)])
@pytest.mark.parametrize("codec", SUFFIXES)
def test_colours_come_back_by_the_tags_that_are_written(tmp_path: Path, codec: str, tags: tuple[int, int, int]) -> None:
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:, :32], rgb[:, 32:] = (200, 40, 30), (20, 90, 210)
    colour = Colour(matrix=tags[0], primaries=tags[1], transfer=tags[2])
    got = decode(encode(tmp_path / "s.mkv", choose(codec, info=source(colour=colour)), timed([rgb])).path)[0]
    assert (got.color_primaries, got.color_trc) == tags[1:]
    assert got.colorspace == (0 if codec == "ffv1" else tags[0])
    middle = colours(got)[24, [8, 56]] * 255
    assert np.abs(middle - [[200, 40, 30], [20, 90, 210]]).max() < 4


@pytest.mark.bad_input(15)
@pytest.mark.parametrize(("codec", "suffix"), [("auto", ".mp4"), ("av1", ".mkv"), ("h264", ".mkv"), ("auto", ".webm")])
def test_hdr10_comes_back_with_its_tags_and_side_data(tmp_path: Path, codec: str, suffix: str) -> None:
    notes = Notes()
    info = source(bit_depth=10, pixel_format="yuv420p10le", colour=HDR10)
    choice = choose(codec, suffix, info=info, notes=notes)
    got = decode(encode(tmp_path / "s.mkv", choice, timed([wide(rgb) for rgb in pictures(3)])).path)[0]
    assert got.format.name == "yuv420p10le"
    assert (got.colorspace, got.color_primaries, got.color_trc, got.color_range) == (9, 9, 16, ColorRange.MPEG)
    mastering, light = side_data(got)
    step = Fraction(1, 50_000) if choice.family != "av1" else Fraction(1, 1 << 14)  # AV1 stores binary fractions
    wanted = [
        *MASTERING.red,
        *MASTERING.green,
        *MASTERING.blue,
        *MASTERING.white,
        MASTERING.darkest,
        MASTERING.brightest,
    ]
    assert all(abs(read - sent) < step for read, sent in zip(mastering, wanted, strict=True))
    assert choice.family == "av1" or mastering == wanted
    assert light == (1000, 400)
    assert not notes.warnings


@pytest.mark.bad_input(15)
@pytest.mark.parametrize(
    ("codec", "suffix"), [("auto", ".mp4"), ("auto", ".webm"), ("prores", ".mov"), ("ffv1", ".mkv")]
)
def test_hlg_keeps_its_tags_and_ten_bit(tmp_path: Path, codec: str, suffix: str) -> None:
    info = source(bit_depth=10, pixel_format="yuv420p10le", colour=Colour(matrix=9, primaries=9, transfer=18))
    choice = choose(codec, suffix, info=info)
    got = decode(encode(tmp_path / "s.mkv", choice, timed([wide(rgb) for rgb in pictures(2)])).path)[0]
    assert (got.color_primaries, got.color_trc) == (9, 18)
    assert got.format.components[0].bits >= 10


def side_data(frame: Any) -> tuple[list[Fraction], tuple[int, int]]:
    """Red, green, blue and white x, y, darkest, brightest; then the two light levels."""
    numbers = struct.unpack("=20i", bytes(frame.side_data[SideDataType.MASTERING_DISPLAY_METADATA])[:80])
    light = struct.unpack("=2I", bytes(frame.side_data[SideDataType.CONTENT_LIGHT_LEVEL])[:8])
    return [Fraction(numbers[k], numbers[k + 1]) for k in range(0, 20, 2)], (light[0], light[1])


@pytest.mark.bad_input(12)
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_pixel_shape_is_written_into_the_stream(tmp_path: Path, codec: str) -> None:
    choice = choose(codec, info=source(sample_aspect=Fraction(16, 15)))
    with av.open(str(encode(tmp_path / "s.mkv", choice, timed(pictures(1))).path)) as file:
        assert file.streams.video[0].sample_aspect_ratio == Fraction(16, 15)


@pytest.mark.parametrize("codec", SUFFIXES)
def test_no_encoder_prints_anything(tmp_path: Path, codec: str, capfd: pytest.CaptureFixture[str]) -> None:
    encode(tmp_path / "s.mkv", choose(codec), timed(pictures(2)))
    assert capfd.readouterr() == ("", "")


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    def frames_that_break() -> Iterator[Frame]:
        yield timed(pictures(1))[0]
        raise RuntimeError("elsewhere")

    with pytest.raises(RuntimeError, match="elsewhere"):
        encode(tmp_path / "s.mkv", choose("h264"), frames_that_break())
    assert list(tmp_path.iterdir()) == []


def test_a_time_that_does_not_rise_is_our_own_mistake(tmp_path: Path) -> None:
    frame = timed(pictures(1))[0]
    with pytest.raises(AssertionError, match="does not rise"):
        encode(tmp_path / "s.mkv", choose("h264"), [frame, frame])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.bad_input(28)
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("frames", [2, 40])
def test_a_disk_that_takes_no_more_is_an_output_error_and_leaves_nothing(tmp_path: Path, frames: int) -> None:
    import resource

    choice = choose("ffv1")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            encode(tmp_path / "s.mkv", choice, timed(pictures(frames)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        SegmentWriter(tmp_path / "file" / "s.mkv", choose("h264"))


def test_a_segment_survives_json_and_a_folder_that_has_moved(tmp_path: Path) -> None:
    segment = Segment(path=tmp_path / "3.mkv", frames=2, times=(Fraction(0), Fraction(1, 3)), bytes=9, reorder=1)
    moved = Segment.from_json(segment.to_json(), tmp_path / "else")
    assert moved.path == tmp_path / "else" / "3.mkv"
    assert (moved.frames, moved.times, moved.bytes, moved.reorder) == (2, segment.times, 9, 1)


@pytest.mark.bad_input(25)
@pytest.mark.parametrize(
    ("bits", "pix_fmt"), [(8, "yuv420p"), (10, "yuv420p10le"), (12, "yuv420p12le"), (10, "yuv444p10le")]
)
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_y4m_is_read_back_by_another_program(bits: int, pix_fmt: str, size: tuple[int, int]) -> None:
    asked = pix_fmt if "444" in pix_fmt else None
    info = source(bit_depth=bits, pixel_format=pix_fmt, sample_aspect=Fraction(4, 3))
    choice = choose("auto", ".y4m", size=size, info=info, pix_fmt=asked)
    frames = timed([rgb if bits == 8 else wide(rgb) for rgb in pictures(3, *size)])
    stream = io.BytesIO()
    writer = PipeWriter(stream, choice)
    for frame in frames:
        writer.write(frame)
    writer.close()
    stream.seek(0)
    with av.open(stream, "r", format="yuv4mpegpipe") as file:
        video = file.streams.video[0]
        assert (video.average_rate, video.sample_aspect_ratio) == (NTSC, Fraction(4, 3))
        decoded = list(file.decode(video=0))
    assert [frame.format.name for frame in decoded] == [pix_fmt] * 3
    assert [(frame.width, frame.height) for frame in decoded] == [size] * 3
    for got, sent in zip(decoded, frames, strict=True):
        got.colorspace, got.color_range = 1, ColorRange.MPEG  # y4m has no tag of the matrix
        assert psnr_db(colours(got), sent.rgb) > 33


class Narrow(io.BytesIO):
    """A pipe without a buffer: takes at most 1000 bytes at once."""

    def write(self, data: Any, /) -> int:
        return super().write(data[:1_000])


def test_a_pipe_that_takes_little_at_once_gets_every_byte() -> None:
    streams = io.BytesIO(), Narrow()
    for stream in streams:
        writer = PipeWriter(stream, choose("auto", ".y4m"))
        for frame in timed(pictures(2)):
            writer.write(frame)
        writer.close()
    assert streams[0].getvalue() == streams[1].getvalue()
    assert len(streams[0].getvalue()) > 2 * 64 * 48 * 3 // 2


@pytest.mark.bad_input(37)
def test_a_reader_that_goes_away_ends_the_pipe_quietly() -> None:
    receiving, sending = os.pipe()
    with os.fdopen(sending, "wb", buffering=0) as stream:
        writer = PipeWriter(stream, choose("auto", ".y4m"))
        writer.write(timed(pictures(1))[0])
        os.close(receiving)
        writer.write(timed(pictures(1))[0])
        assert writer.is_broken
        writer.write(timed(pictures(1))[0])
        writer.close()


def test_the_times_of_a_segment_are_kept_as_even_runs(tmp_path: Path) -> None:
    even = tuple(Fraction(k, 60) for k in range(9_000))
    uneven = (*even[:5], Fraction(1), Fraction(7, 6), Fraction(4, 3), Fraction(9, 2))
    for times in (even, uneven, even[:1], even[3:5]):
        segment = Segment(path=tmp_path / "3.mkv", frames=len(times), times=times, bytes=9, reorder=1)
        plain = segment.to_json()
        assert Segment.from_json(plain, tmp_path).times == times
        assert len(str(plain)) < 250


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system tells no scheduling")
def test_no_encoder_makes_real_time_threads(tmp_path: Path) -> None:
    # SVT-AV1 does, as root, with the thread that opens it too; in a process of its own, since it does so but once
    code = f"""
import os, sys
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # the parent may be a real-time process by now
from fractions import Fraction
from pathlib import Path
import numpy as np
from stinet.config import EncodeConfig
from stinet.video.codecs import choose_encoder
from stinet.video.encode import SegmentWriter
from stinet.video.frame import Frame, Notes
path = Path({str(tmp_path / "a.mkv")!r})
choice = choose_encoder(EncodeConfig(codec="av1"), path, size=(64, 64), rate=Fraction(25), time_base=Fraction(1, 25),
                        info=None, notes=Notes())
kinds = set()
with SegmentWriter(path, choice) as writer:
    for k in range(40):
        writer.write(Frame(rgb=np.full((64, 64, 3), k, np.uint8), time=Fraction(k, 25)))
        kinds |= {{os.sched_getscheduler(int(t)) for t in os.listdir("/proc/self/task")}}
sys.exit(0 if kinds == {{os.SCHED_OTHER}} else f"scheduling policies {{kinds}}")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
