"""The decoder: exact times, upright pictures, true colours, and clear words about files that are no video."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from films import film, pictures  # pyright: ignore[reportMissingImports]
from stinet.errors import DecodeError, InputError
from stinet.video.frame import Notes
from stinet.video.read import probe, read_frames


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(((a.astype(float) - b.astype(float)) ** 2).mean(), 1e-9)))


def smooth(width: int, height: int) -> np.ndarray:
    """No fine colour detail, and no symmetry: each corner has its own colour."""
    down, across = np.mgrid[0:height, 0:width]
    return np.stack([across * 200 // width, down * 200 // height, 120 + 0 * down], axis=2).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
def test_every_frame_comes_to_the_last(tmp_path: Path, suffix: str) -> None:
    frames = pictures(23)
    path = film(tmp_path / f"a{suffix}", frames, rate=Fraction(25))
    seen = list(read_frames(path))
    assert len(seen) == 23
    assert psnr_db(seen[-1].rgb, frames[-1]) > 25


def test_ntsc_times_are_exact_fractions(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", pictures(9), rate=Fraction(30000, 1001))
    assert [frame.time for frame in read_frames(path)] == [Fraction(1001 * k, 30000) for k in range(9)]


def test_uneven_source_times_are_kept_exactly(tmp_path: Path) -> None:
    times = [Fraction(k, 600) for k in (0, 20, 50, 55, 90, 200)]
    path = film(tmp_path / "a.mp4", pictures(6), times=times, time_base=Fraction(1, 600))
    assert [frame.time for frame in read_frames(path)] == times
    assert not probe(path).is_constant_rate


def test_a_raw_stream_without_times_is_timed_by_its_rate(tmp_path: Path) -> None:
    path = film(tmp_path / "a.h264", pictures(7), rate=Fraction(25))
    times = [frame.time for frame in read_frames(path)]
    assert np.allclose(np.diff([float(t) for t in times]), 0.04, atol=1e-4)
    assert times[0] == 0


def test_the_offset_between_picture_and_sound_moves_into_our_times(tmp_path: Path) -> None:
    late = [1 + Fraction(k, 25) for k in range(5)]
    tick = Fraction(1, 600)
    path = film(
        tmp_path / "a.mov", pictures(5), times=late, time_base=tick, sound_s=1.5, sound="pcm_s16le", sound_start_s=0.5
    )
    times = [frame.time for frame in read_frames(path)]
    assert abs(times[0] - Fraction(1, 2)) < Fraction(1, 200)
    assert times[1] - times[0] == Fraction(1, 25)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_turned_film_stands_upright_once(tmp_path: Path, *, rotation: int, mirror: bool) -> None:
    stored = smooth(64, 48)
    path = film(tmp_path / "a.mp4", [stored] * 2, rotation=rotation, mirror=mirror)
    shown = next(read_frames(path)).rgb
    with av.open(str(path)) as file:
        said = next(
            file.decode(video=0)
        ).rotation  # FFmpeg's own reading: counter-clockwise; tells nothing of mirroring
    candidates = [np.rot90(stored, said // 90)] if not mirror else [np.rot90(stored, k)[:, ::-1] for k in range(4)]
    assert max(psnr_db(shown, c) for c in candidates if c.shape == shown.shape) > 30
    if not mirror:
        assert said % 360 in (rotation, -rotation % 360)
    info = probe(path)
    assert (info.width, info.height) == ((48, 64) if rotation % 180 else (64, 48))
    assert info.is_mirrored == mirror


def test_a_mirrored_film_is_mirrored_left_and_right(tmp_path: Path) -> None:
    stored = smooth(64, 48)
    shown = next(read_frames(film(tmp_path / "a.mp4", [stored] * 2, mirror=True))).rgb
    assert psnr_db(shown, stored[:, ::-1]) > 30


@pytest.mark.parametrize(("matrix", "red_weight", "blue_weight"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114)])
@pytest.mark.parametrize("is_full_range", [False, True])
def test_colours_follow_the_files_matrix_and_range(
    tmp_path: Path, *, matrix: int, red_weight: float, blue_weight: float, is_full_range: bool
) -> None:
    y, cb, cr = 120, 90, 170
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if is_full_range else 1
        picture = av.VideoFrame(32, 32, "yuv420p")
        for plane, value in zip(picture.planes, (y, cb, cr), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        picture.colorspace, picture.color_range, picture.pts = matrix, 2 if is_full_range else 1, 0
        out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    luma = y / 255 if is_full_range else (y - 16) / 219
    u, v = ((c - 128) / (255 if is_full_range else 224) for c in (cb, cr))
    red, blue = luma + 2 * (1 - red_weight) * v, luma + 2 * (1 - blue_weight) * u
    green = (luma - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    seen = next(read_frames(path)).rgb[16, 16]
    assert np.abs(seen - 255 * np.array([red, green, blue])).max() <= 1.5


@pytest.mark.parametrize(("height", "name"), [(64, "BT.601"), (720, "BT.709")])
def test_a_matrix_that_is_not_said_is_guessed_and_noted(tmp_path: Path, height: int, name: str) -> None:
    path = film(tmp_path / "a.mp4", [np.zeros((height, 64, 3), np.uint8)])
    notes = Notes()
    list(read_frames(path, notes=notes))
    assert any(name in line for line in notes.lines)


@pytest.mark.bad_input(14)
@pytest.mark.parametrize(("matrix", "name"), [(8, "YCgCo"), (14, "ICtCp"), (13, "number 13")])
def test_a_matrix_that_is_not_known_here_is_named(tmp_path: Path, matrix: int, name: str) -> None:
    def tag(stream: Any) -> None:
        stream.codec_context.colorspace = matrix

    notes = Notes()
    path = film(tmp_path / "a.mp4", pictures(2), prepare=tag)
    list(read_frames(path, notes=notes))
    assert f"colour matrix {name} is not known here, taken as BT.601" in notes.warnings
    assert not any("not said" in line for line in notes.warnings)
    assert probe(path).colour.unknown_matrix == matrix


def test_ten_bit_read_as_eight_is_said(tmp_path: Path) -> None:
    notes = Notes()
    path = film(tmp_path / "a.mkv", pictures(3), pix_fmt="yuv420p10le")
    frames = list(read_frames(path, notes=notes, deep=False))
    assert frames[0].rgb.dtype == np.uint8
    assert "10 bit read as 8 bit" in notes.warnings


def test_broken_packets_are_passed_over_and_counted(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", pictures(40))
    with av.open(str(path)) as file:
        spots = [(p.pos or 0, p.size) for p in file.demux(video=0) if p.size][10:13]
    data = bytearray(path.read_bytes())
    for pos, size in spots:
        data[pos + 8 : pos + size] = b"\xff" * (size - 8)
    path.write_bytes(bytes(data))
    notes = Notes()
    frames = list(read_frames(path, notes=notes))
    assert notes["corrupt packets skipped"] + notes["damaged frames repaired by the decoder"] >= 3
    assert len(frames) + notes["corrupt packets skipped"] == 40
    assert frames[-1].time == Fraction(39, 25)


def test_a_file_cut_off_in_the_middle_gives_what_decodes_and_says_so(tmp_path: Path) -> None:
    path = film(
        tmp_path / "a.mkv", [np.random.default_rng(k).integers(0, 255, (48, 64, 3), np.uint8) for k in range(50)]
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    notes = Notes()
    frames = list(read_frames(path, notes=notes))
    assert 15 < len(frames) < 35
    assert any("of the declared duration" in line for line in notes.lines)


@pytest.mark.parametrize(("content", "said"), [
    (b"", "empty"),
    (b"hello, this is a diary\n" * 9, "a text file"),
    (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
    (b"#EXTM3U\n#EXT-X-VERSION:3\n/etc/passwd\n", "a playlist"),
    (b"ffconcat version 1.0\nfile other.mp4\n", "a playlist"),
    (bytes(range(256)) * 40, "no media file"),
])  # fmt: skip
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        probe(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        probe(tmp_path / "none.mp4")
    with pytest.raises(InputError, match="folder"):
        probe(tmp_path)


def test_an_mp4_without_its_index_is_named(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", pictures(20))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])
    with pytest.raises(InputError, match="moov"):
        probe(path)


def test_sound_alone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        out.mux(stream.encode(sound))
    with pytest.raises(InputError, match="no video stream; it has: audio"):
        probe(path)


def test_a_stream_without_frames_is_an_error(tmp_path: Path) -> None:
    path = film(tmp_path / "a.h264", pictures(3))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises((DecodeError, InputError)):
        probe(path)


@pytest.mark.parametrize(
    "name", ["pipe:0.mp4", "concat:x.mp4", "a b'c\"#%.mp4", "-y.mp4", "smile 😀.mp4", "line\nbreak.mp4"]
)
def test_any_name_is_a_plain_local_file(tmp_path: Path, name: str) -> None:
    made = film(tmp_path / "plain.mp4", pictures(3))
    path = made.rename(tmp_path / name)
    assert len(list(read_frames(path))) == 3


def test_a_picture_in_a_cover_stream_is_not_the_film(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    made = film(tmp_path / "b.mp4", pictures(5))
    Image.fromarray(pictures(1)[0]).save(tmp_path / "c.png")
    with av.open(str(path), "w") as out, av.open(str(tmp_path / "c.png")) as cover, av.open(str(made)) as movie:
        first = out.add_stream_from_template(cover.streams.video[0])
        first.disposition = av.stream.Disposition.attached_pic  # pyright: ignore
        second = out.add_stream_from_template(movie.streams.video[0])
        for source, target in ((cover, first), (movie, second)):
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = target
                    out.mux(packet)
    assert len(list(read_frames(path))) == 5
    assert "cover" in {stream.kind for stream in probe(path).streams}
