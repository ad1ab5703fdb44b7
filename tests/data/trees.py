"""Small data sets in the official layouts, and videos to put into them."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image


def moving(seed: int, count: int, size: tuple[int, int] = (48, 64), step: int = 1) -> np.ndarray:
    """Smooth noise that slides `step` pixels a frame to the left; t h w 3."""
    height, width = size
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.random((1, 3, 2 + height // 5, 4 + width // 3), dtype=np.float32))
    shape = (height, width + step * count)
    wide = torch.nn.functional.interpolate(coarse, shape, mode="bicubic").clamp(0, 1)
    picture = (wide[0].permute(1, 2, 0) * 255).byte().numpy()
    return np.stack([picture[:, step * index : step * index + width] for index in range(count)])


def write_video(path: Path, frames: np.ndarray) -> Path:
    """Write a lossless video, whatever the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path.with_suffix(".mkv")), "w") as file:
        stream = file.add_stream("ffv1", rate=25, options={"level": "3"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        file.mux(stream.encode())
    return path.with_suffix(".mkv").rename(path)


def write_frames(folder: Path, frames: np.ndarray, names: Iterable[str]) -> Path:
    """Write frames as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame, name in zip(frames, names, strict=True):
        Image.fromarray(frame).save(folder / name)
    return folder


def corpus(root: Path, runs: int = 2) -> Path:
    """One shard to train on, one of which the second run is measured."""
    for name, seed in (("shard_000.mp4", 0), ("shard_val.mp4", 9)):
        write_video(root / name, np.concatenate([moving(seed + k, 15) for k in range(runs)]))
    (root / "validation.txt").write_text("shard_val.mp4\t15\t15\n")
    return root


def septuplets(root: Path, size: tuple[int, int] = (48, 64)) -> Path:
    """Vimeo-90K in small: four septuplets to train on, six to test."""
    names = [f"{k:05d}/{n:04d}" for k in (1, 2) for n in (1, 2, 266, 268, 1000)]
    for seed, name in enumerate(names):
        write_frames(root / "sequences" / name, moving(seed, 7, size), [f"im{k}.png" for k in range(1, 8)])
    (root / "sep_trainlist.txt").write_text("\n".join(names[:4]) + "\n")
    (root / "sep_testlist.txt").write_text("\n".join(names[4:]) + "\n\n")
    return root


def by_motion(root: Path) -> dict[str, list[str]]:
    """Lists fast, medium and slow of the septuplets' test list, which leaves one out."""
    names = (root / "sep_testlist.txt").read_text().split()
    groups = {"fast": names[:1], "medium": names[1:3], "slow": names[3:5]}
    for group, listed in groups.items():
        (root / f"{group}_testset.txt").write_text("\n".join(listed) + "\n")
    return groups


def reds(root: Path, parts: tuple[str, ...] = ("train", "val")) -> Path:
    """REDS in small frames: clips of 100."""
    clips = {"train": ("000", "001"), "val": ("000",)}
    for part in parts:
        for seed, name in enumerate(clips[part]):
            frames = moving(seed, 100, (32, 40))
            write_frames(root / f"{part}_sharp" / name, frames, [f"{k:08d}.png" for k in range(100)])
    return root


def adobe240(root: Path, size: tuple[int, int] = (96, 128), count: int = 10) -> Path:
    """Adobe240 as its archive unpacks, beside the lists of TMNet."""
    names = {"train": ["720p_240fps_1", "IMG_0003"], "valid": ["GOPR9633"], "test": ["GOPR9653", "IMG_0001"]}
    suffixes = {"720p_240fps_1": "mov", "IMG_0003": "m4v"}
    for part, listed in names.items():
        for seed, name in enumerate(listed):
            video = root / "original_high_fps_videos" / f"{name}.{suffixes.get(name, 'mp4')}"
            write_video(video, moving(seed, count, size, step=2))
        (root / f"adobe240fps_folder_{part}.txt").write_text("\n".join(listed))
    return root
