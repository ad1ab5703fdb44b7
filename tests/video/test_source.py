"""Films, pictures and pipes by one door; fingerprints; what is refused at it."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from films import film, pictures  # pyright: ignore[reportMissingImports]
from stinet.config import ReadConfig
from stinet.errors import DecodeError, InputError
from stinet.video.container import is_encrypted, open_file
from stinet.video.frame import Notes
from stinet.video.source import fingerprint, open_source, probe_source, read_source

Y4M = b"YUV4MPEG2 W16 H8 F30000:1001 Ip A1:1 C420jpeg\n"


def y4m(count: int) -> bytes:
    return Y4M + b"".join(b"FRAME\n" + bytes([20 + k]) * 128 + bytes([128]) * 64 for k in range(count))


@pytest.mark.bad_input(25)
def test_y4m_through_a_pipe_gives_every_frame_once() -> None:
    source = open_source(Path("-"), stdin=io.BytesIO(y4m(7)))
    assert source.is_pipe
    assert (source.info.width, source.info.height, source.info.rate) == (16, 8, Fraction(30000, 1001))
    frames = list(source.frames(Notes()))
    assert [frame.time for frame in frames] == [Fraction(1001 * k, 30000) for k in range(7)]
    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == sorted({int(frame.rgb[0, 0, 0]) for frame in frames})
    with pytest.raises(InputError, match="only once"):
        list(source.frames(Notes()))


@pytest.mark.bad_input(25, 3)
def test_a_pipe_that_breaks_gives_what_came(tmp_path: Path) -> None:
    made = film(tmp_path / "a.mkv", pictures(12))
    whole = [frame.rgb for frame in read_source(made)]
    source = open_source(Path("-"), stdin=io.BytesIO(made.read_bytes()))
    assert all(np.array_equal(a.rgb, b) for a, b in zip(source.frames(Notes()), whole, strict=True))
    cut = open_source(Path("-"), stdin=io.BytesIO(y4m(7)[:-100]))
    assert 6 <= len(list(cut.frames(Notes()))) <= 7


@pytest.mark.bad_input(25, 24)
@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "nothing came"),
        (b"hello\n", "a text file"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n", "playlist"),
        (b"#EXTM3U\n\0\0", "playlist"),
    ],
)
def test_a_pipe_without_film_says_what_came(sent: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_source(Path("-"), stdin=io.BytesIO(sent))


@pytest.mark.bad_input(1)
def test_a_picture_named_as_a_film_is_a_picture_and_said(tmp_path: Path) -> None:
    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.mp4", format="JPEG")
    notes = Notes()
    source = open_source(tmp_path / "a.mp4", notes=notes)
    assert source.info.container == "image"
    assert notes.lines == ("a.mp4 is a JPEG picture, whatever its name says",)
    assert len(list(source.frames(notes))) == 1


@pytest.mark.bad_input(1, 24)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"just words", "a text file, not a video"),
        (b"<!DOCTYPE html><html>", "HTML page"),
        (b"#EXTM3U\nfilm.ts\n", "playlist"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n\0\0\xff", "playlist"),
        (b"ffconcat version 1.0\nfile secret.ts\n", "playlist"),
        (b"%PDF-1.7\n\xff\xfe", "PDF"),
        (b"PK\x03\x04\x14\0", "ZIP"),
        (bytes(range(256)) * 20, "no media file"),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8", "a.ffconcat"])
def test_what_is_no_film_is_named_by_its_bytes(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        open_source(tmp_path / name)


@pytest.mark.bad_input(24)
def test_no_entry_of_a_playlist_is_opened_even_when_ffmpeg_is_asked(tmp_path: Path) -> None:
    film(tmp_path / "secret.ts", pictures(3))
    (tmp_path / "a.m3u8").write_text("\x01#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError):
        open_file(tmp_path / "a.m3u8")
    with av.open(str(film(tmp_path / "b.mp4", pictures(1)))) as file:
        assert file.streams.video
    import stinet.video.container as room

    assert not {"hls", "concat", "dash", "image2"} & set(room._demuxers().split(","))  # pyright: ignore


@pytest.mark.bad_input(24)
@pytest.mark.parametrize(
    "name",
    [
        "pipe:0.mp4",
        "concat:x.mp4",
        'it\'s "50%" #1?.mkv',
        "-i.mp4",
        "😀.mkv",
        "a\nb.mp4",
        "%03d.mp4",
        "http:__x.mp4",
        "-",
    ],
)
def test_any_name_is_a_plain_file_and_has_a_fingerprint(tmp_path: Path, name: str) -> None:
    plain = film(tmp_path / "plain.mp4", pictures(3))
    mark = fingerprint(plain)
    path = plain.rename(tmp_path / name)
    assert len(list(open_source(path).frames(Notes()))) == 3
    assert fingerprint(path) == mark


@pytest.mark.bad_input(31)
def test_fingerprints_tell_contents_and_not_names(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    content = bytearray(np.random.default_rng(0).bytes(5_000_000))
    first.write_bytes(content)
    second.write_bytes(content)
    assert fingerprint(first) == fingerprint(second)
    for place in (0, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        second.write_bytes(changed)
        assert fingerprint(first) != fingerprint(second), place
    second.write_bytes(content + b"x")
    assert fingerprint(first) != fingerprint(second)


@pytest.mark.bad_input(25, 31)
def test_a_folder_is_told_by_names_sizes_and_its_ends(tmp_path: Path) -> None:
    for k in range(3):
        Image.new("RGB", (4, 4), (k, 0, 0)).save(tmp_path / f"{k}.bmp")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    Image.new("RGB", (4, 4), (9, 0, 0)).save(tmp_path / "2.bmp")
    assert fingerprint(tmp_path) != before
    with pytest.raises(InputError, match="twice"):
        fingerprint(Path("-"))


@pytest.mark.bad_input(25)
def test_pictures_take_rate_and_part_from_the_settings(tmp_path: Path) -> None:
    for k in range(6):
        Image.new("RGB", (4, 4), (k, 0, 0)).save(tmp_path / f"{k}.png")
    config = ReadConfig(rate=Fraction(10), start=Fraction(1, 5), seconds=Fraction(3, 10))
    source = open_source(tmp_path, config)
    frames = list(source.frames(Notes()))
    assert [(int(frame.rgb[0, 0, 0]), frame.time) for frame in frames] == [
        (2, 0),
        (3, Fraction(1, 10)),
        (4, Fraction(1, 5)),
    ]
    assert source.info.duration == Fraction(6, 10)


def test_the_time_base_of_a_source_suits_the_times_of_its_part(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi", pictures(50))
    source = open_source(path, ReadConfig(start=Fraction(101, 100)))
    ticks = [frame.time / source.info.time_base for frame in source.frames(Notes())]
    assert len(ticks) == 24
    assert all(tick.denominator == 1 for tick in ticks)


@pytest.mark.bad_input(26)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_codec_without_decoder_is_called_so_and_not_encrypted(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / name, pictures(3))
    known, unknown = (b"avc1", b"zqx1") if name == "a.mp4" else (b"V_MPEG4/ISO/AVC", b"V_UNKNOWN/WHATS")
    path.write_bytes(path.read_bytes().replace(known, unknown))
    with pytest.raises(InputError, match="no decoder for its video"):
        probe_source(path)


@pytest.mark.bad_input(26)
def test_an_encrypted_film_is_called_so(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", pictures(3))
    data = path.read_bytes()
    assert data.count(b"avc1") >= 2
    head, tail = data.rsplit(b"avc1", 1)
    path.write_bytes(head + b"encv" + tail)
    assert is_encrypted(path)
    with pytest.raises(InputError, match="encrypted"):
        probe_source(path)


@pytest.mark.bad_input(26)
def test_encrypted_matroska_and_scrambled_transport_streams_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(
        b"\x1a\x45\xdf\xa3" + bytes(50) + b"\x6d\x80\x90\x62\x40\x8d\x50\x33\x81\x01\x50\x35\x87" + bytes(50)
    )
    assert is_encrypted(path)
    assert not is_encrypted(film(tmp_path / "b.mkv", pictures(2)))
    stream = film(tmp_path / "c.ts", pictures(30))
    assert not is_encrypted(stream)
    data = bytearray(stream.read_bytes())
    for k in range(0, len(data), 188):
        if struct.unpack(">H", data[k + 1 : k + 3])[0] & 0x1FFF == 0x100:
            data[k + 3] |= 0x80
            data[k + 4 : k + 188] = np.random.default_rng(k).bytes(184)
    stream.write_bytes(bytes(data))
    with pytest.raises((InputError, DecodeError), match="encrypted"):
        probe_source(stream)


@pytest.mark.bad_input(4)
def test_a_film_that_is_only_a_cover_has_no_video(tmp_path: Path) -> None:
    Image.fromarray(pictures(1)[0]).save(tmp_path / "c.png")
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out, av.open(str(tmp_path / "c.png")) as cover:
        stream = out.add_stream_from_template(cover.streams.video[0])
        stream.disposition = av.stream.Disposition.attached_pic  # pyright: ignore
        for packet in cover.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    with pytest.raises(InputError, match="no video stream; it has: cover"):
        probe_source(path)
