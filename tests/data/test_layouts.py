"""Trees in the official layouts are recognised, read by their lists, and refused where something is missing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image
from trees import moving, write_frames, write_video

from stinet.data import layouts
from stinet.data.benchmarks import find_clips
from stinet.data.collection import Collection, check_headers
from stinet.errors import InputError


def names(clips) -> list[str]:
    return [clip.name for clip in clips]


@pytest.fixture
def vimeo(tmp_path: Path) -> Path:
    return trees.septuplets(tmp_path / "vimeo_septuplet")


@pytest.fixture(scope="module")
def reds_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.reds(tmp_path_factory.mktemp("reds"))


@pytest.fixture
def adobe(tmp_path: Path) -> Path:
    return trees.adobe240(tmp_path / "adobe", size=(48, 64), count=3)


def collect(place: Path, layout: str = "auto") -> Collection:
    return layouts.collect(place, layout)


def test_every_layout_is_recognised_and_said(vimeo: Path, adobe: Path, reds_tree: Path, tmp_path: Path) -> None:
    shards = trees.corpus(tmp_path / "corpus", runs=2)
    films = write_video(tmp_path / "films" / "a.mp4", moving(0, 3)).parent
    write_video(films / "b.mkv", moving(1, 3))
    places = {"vimeo90k": vimeo, "adobe240": adobe, "reds": reds_tree, "corpus": shards, "folder": films}
    for layout, place in places.items():
        told: list[str] = []
        assert layouts.collect(place, "auto", told.append).layout == layout
        assert "recognised as" in told[0]
    assert layouts.recognise(films / "a.mp4") == "folder"


def test_a_folder_that_lacks_the_asked_for_layout_is_refused(vimeo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="looks like Vimeo-90K septuplets, not like REDS"):
        collect(vimeo, "reds")
    with pytest.raises(InputError, match="no such file or folder"):
        collect(tmp_path / "nowhere")


def test_any_layout_can_be_read_as_a_plain_folder(reds_tree: Path) -> None:
    assert names(collect(reds_tree / "train_sharp", "folder").clips) == ["000", "001"]


def test_septuplets_are_those_of_the_official_lists(vimeo: Path) -> None:
    found = collect(vimeo)
    assert names(found.training) == ["00001/0001", "00001/0002", "00001/0266", "00001/0268"]
    assert names(found.validation) == [
        "00001/1000",
        "00002/0001",
        "00002/0002",
        "00002/0266",
        "00002/0268",
        "00002/1000",
    ]
    clip = found.training[2]
    assert [file.name for file in clip.files] == [f"im{k}.png" for k in range(1, 8)]
    np.testing.assert_array_equal(np.stack(list(clip.read())), moving(2, 7))


def test_lists_by_motion_are_the_benchmark_and_its_groups(vimeo: Path) -> None:
    assert names(find_clips(vimeo)) == names(collect(vimeo).validation)
    groups = trees.by_motion(vimeo)
    found = find_clips(vimeo)
    assert {group: [clip.name for clip in found if clip.group == group] for group in groups} == groups
    assert sum(map(len, groups.values())) == len(found) == 5


@pytest.mark.parametrize("pattern", ["sep_{}_testset.txt", "sep_{}_testlist.txt", "meta_info/{}_testset.txt"])
def test_lists_by_motion_are_found_under_all_their_names(vimeo: Path, pattern: str) -> None:
    (vimeo / "meta_info").mkdir()
    (vimeo / pattern.format("slow")).write_text("00002/0001\r\n")
    assert [(clip.name, clip.group) for clip in find_clips(vimeo)] == [("00002/0001", "slow")]


def test_a_test_set_alone_is_evaluated_but_not_trained_on(vimeo: Path) -> None:
    trees.by_motion(vimeo)
    (vimeo / "sep_trainlist.txt").unlink()
    (vimeo / "sep_testlist.txt").unlink()
    assert len(find_clips(vimeo)) == 5
    with pytest.raises(InputError, match=r"sep_trainlist\.txt: missing"):
        collect(vimeo)


def test_a_missing_frame_of_a_septuplet_is_named(vimeo: Path) -> None:
    (vimeo / "sequences" / "00001" / "0266" / "im5.png").unlink()
    with pytest.raises(InputError, match=r"00001.0266: im5\.png missing; every septuplet"):
        collect(vimeo)


def test_the_first_missing_septuplet_is_named_and_others_are_counted(vimeo: Path) -> None:
    for name in ("0002", "0268"):
        shutil.rmtree(vimeo / "sequences" / "00001" / name)
    with pytest.raises(InputError, match=r"00001.0002: missing; 1 more like it"):
        collect(vimeo)
    shutil.rmtree(vimeo / "sequences" / "00002" / "0001")
    with pytest.raises(InputError, match=r"00002.0001: missing"):
        find_clips(vimeo)


def test_a_septuplet_of_another_size_is_named_by_its_header(vimeo: Path) -> None:
    write_frames(vimeo / "sequences" / "00001" / "0268", moving(0, 7, (48, 60)), [f"im{k}.png" for k in range(1, 8)])
    with pytest.raises(InputError, match="00001/0268: frames of 60x48, but those of the clips before are 64x48"):
        check_headers(collect(vimeo))


def test_one_frame_of_another_size_is_named(vimeo: Path) -> None:
    file = vimeo / "sequences" / "00001" / "0002" / "im4.png"
    Image.new("RGB", (64, 40)).save(file)
    with pytest.raises(InputError, match=r"im4\.png: 64x40, but the frames before it are 64x48"):
        check_headers(collect(vimeo))


def test_headers_are_checked_without_decoding(vimeo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stinet.data.clip.read_image", lambda _: pytest.fail("decoded"))
    check_headers(collect(vimeo))


def test_reds_trains_on_train_sharp_and_measures_val_sharp(reds_tree: Path) -> None:
    found = collect(reds_tree)
    assert names(found.training) == ["000", "001"]
    assert found.training[0].files[99] == reds_tree / "train_sharp" / "000" / "00000099.png"
    assert found.validation[0].files[0] == reds_tree / "val_sharp" / "000" / "00000000.png"
    assert [clip.group for clip in find_clips(reds_tree)] == ["reds"]


def test_reds_as_its_archives_unpack_and_without_val_sharp_holds_out_reds4(reds_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "train_sharp").symlink_to(reds_tree / "train_sharp")
    found = collect(tmp_path)
    assert (names(found.training), names(found.validation)) == (["001"], ["000"])


def test_a_short_clip_of_reds_is_named_with_the_frame_it_lacks(reds_tree: Path, tmp_path: Path) -> None:
    shutil.copytree(reds_tree / "train_sharp" / "001", tmp_path / "train_sharp" / "001")
    (tmp_path / "train_sharp" / "001" / "00000042.png").unlink()
    with pytest.raises(InputError, match=r"001: 99 frames, number 00000042 missing"):
        collect(tmp_path)


def test_adobe240_follows_the_lists_and_halves_its_frames(adobe: Path) -> None:
    found = collect(adobe)
    assert names(found.training) == ["720p_240fps_1", "IMG_0003"]
    assert names(found.validation) == ["GOPR9633"]
    assert {clip.reduced for clip in found.clips} == {2}
    assert [(clip.name, clip.group) for clip in find_clips(adobe)] == [
        ("GOPR9653", "adobe240"),
        ("IMG_0001", "adobe240"),
    ]


def test_adobe240_without_lists_holds_out_some(adobe: Path) -> None:
    for file in adobe.glob("*.txt"):
        file.unlink()
    found = collect(adobe)
    assert len(found.training) == 4
    assert len(found.validation) == 1
    assert len(find_clips(adobe)) == 5


def test_adobe240_is_found_inside_its_folder_of_videos(adobe: Path) -> None:
    assert names(collect(adobe / "original_high_fps_videos").training) == ["720p_240fps_1", "IMG_0003"]


def test_adobe240_as_folders_of_frames(tmp_path: Path) -> None:
    for part, name in (("train", "IMG_0003"), ("valid", "IMG_0004"), ("test", "IMG_0005")):
        write_frames(tmp_path / "frame" / part / name, moving(0, 11, (16, 648)), [f"{k}.png" for k in range(11)])
        (tmp_path / f"adobe240_folder_{part}.txt").write_text(name)
    found = collect(tmp_path)
    assert [file.name for file in found.training[0].files[8:]] == ["8.png", "9.png", "10.png"]
    assert (found.training[0].reduced, names(found.validation)) == (2, ["IMG_0004"])
    (tmp_path / "frame" / "train" / "IMG_0003" / "7.png").unlink()
    with pytest.raises(InputError, match="IMG_0003: frame 7 is missing"):
        collect(tmp_path)


def test_adobe240_frames_that_were_halved_already_are_the_truth(tmp_path: Path) -> None:
    write_frames(tmp_path / "frame" / "test" / "a", moving(0, 2, (16, 640)), ["0.png", "1.png"])
    (tmp_path / "adobe240fps_folder_test.txt").write_text("a")
    assert find_clips(tmp_path)[0].reduced == 1


def test_a_listed_video_that_is_missing_is_named(adobe: Path) -> None:
    (adobe / "original_high_fps_videos" / "GOPR9633.mp4").unlink()
    with pytest.raises(InputError, match="video GOPR9633, which a list names, is missing"):
        collect(adobe)


def test_a_shard_that_the_manifest_names_must_be_there(tmp_path: Path) -> None:
    root = trees.corpus(tmp_path)
    (root / "manifest.tsv").write_text("shard\tfirst_frame\nshard_000.mp4\t0\nshard_001.mp4\t0\n")
    with pytest.raises(InputError, match=r"shard_001\.mp4: missing"):
        collect(root)
    (root / "validation.txt").unlink()
    with pytest.raises(InputError, match=r"validation\.txt: missing"):
        collect(root)


def test_a_folder_holds_out_every_twentieth_clip_at_least_one(tmp_path: Path) -> None:
    for number in range(41):
        write_frames(tmp_path / f"c{number}", moving(0, 3, (8, 8)), ["1.png", "2.png", "3.png"])
    found = collect(tmp_path)
    assert names(found.validation) == ["c19", "c39"]
    assert len(found.training) == 39
    for number in range(2, 41):
        shutil.rmtree(tmp_path / f"c{number}")
    assert (names(collect(tmp_path).training), names(collect(tmp_path).validation)) == (["c0"], ["c1"])


def test_a_folder_with_a_gap_in_its_frames_or_too_few_is_named(tmp_path: Path) -> None:
    write_frames(tmp_path / "gap", moving(0, 3), ["f08.png", "f09.png", "f11.png"])
    for look in (collect, find_clips):
        for place in (tmp_path, tmp_path / "gap"):
            with pytest.raises(InputError, match="gap: frame 10 is missing"):
                look(place)
    shutil.rmtree(tmp_path / "gap")
    write_frames(tmp_path / "two", moving(0, 2), ["1.png", "2.png"])
    with pytest.raises(InputError, match="two: 2 frames are too few"):
        collect(tmp_path)
    (tmp_path / "two" / "2.png").unlink()
    with pytest.raises(InputError, match="two: 1 frame is too few"):
        collect(tmp_path)
    assert names(find_clips(tmp_path)) == ["two"]


def test_a_video_that_cannot_be_read_or_is_too_short_is_named_by_its_header(tmp_path: Path) -> None:
    write_video(tmp_path / "good.mkv", moving(0, 4))
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(64))
    with pytest.raises(InputError, match=r"broken\.mp4"):
        check_headers(collect(tmp_path))


def test_a_list_with_a_byte_order_mark_is_read_and_one_that_is_no_text_is_named(vimeo: Path, adobe: Path) -> None:
    for place, name in ((vimeo, "sep_trainlist.txt"), (adobe, "adobe240fps_folder_train.txt")):
        before = names(collect(place).training)
        file = place / name
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
        assert names(collect(place).training) == before
        file.write_bytes(b"00001/\xff\n")
        with pytest.raises(InputError, match=f"{name}: is no UTF-8 text"):
            collect(place)


def test_adobe240_never_trains_on_videos_of_its_test_list(adobe: Path) -> None:
    (adobe / "adobe240fps_folder_train.txt").unlink()
    found = collect(adobe)
    assert {"GOPR9653", "IMG_0001"}.isdisjoint(names(found.clips))
    assert (names(found.training), names(found.validation)) == (["720p_240fps_1", "IMG_0003"], ["GOPR9633"])


def test_adobe240_without_a_valid_list_holds_out_a_video_to_train_on_and_says_which(adobe: Path) -> None:
    (adobe / "adobe240fps_folder_valid.txt").unlink()
    said: list[str] = []
    found = layouts.collect(adobe, progress=said.append)
    assert (names(found.training), names(found.validation)) == (["720p_240fps_1"], ["IMG_0003"])
    assert said[-1].endswith("not trained on is IMG_0003")


def test_adobe240_is_recognised_by_its_folders_of_frames_alone(tmp_path: Path) -> None:
    for part, name in (("train", "IMG_0003"), ("test", "IMG_0005")):
        write_frames(tmp_path / "frame" / part / name, moving(0, 3, (16, 648)), ["0.png", "1.png", "2.png"])
    assert layouts.recognise(tmp_path) == "adobe240"
    assert [(clip.name, clip.group) for clip in find_clips(tmp_path)] == [("IMG_0005", "adobe240")]
    assert names(collect(tmp_path).training) == ["IMG_0003"]
