"""`import stinet`: light until a name is used, and the two calls that it offers."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import stinet


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three 12x8 images."""
    (tmp_path / "pictures").mkdir()
    for level in range(3):
        Image.fromarray(np.full((8, 12, 3), 60 * level, dtype=np.uint8)).save(tmp_path / "pictures" / f"{level}.png")
    return tmp_path / "pictures"


def test_importing_the_package_loads_nothing_heavy() -> None:
    probe = "import stinet, sys; stinet.StinetError; print({'torch', 'av', 'numpy', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True).stdout == "set()\n"


def test_upscaling_a_film_loads_no_compiler_and_no_plots(tmp_path: Path, pictures: Path) -> None:
    probe = f"""
import stinet, sys
stinet.upscale_video({str(pictures)!r}, {str(tmp_path / "large.mp4")!r}, model="stinet-xs", engine="torch")
heavy = ("torch._dynamo", "torch._inductor", "sympy", "matplotlib", "openvino", "pydantic", "rich")
print([name for name in heavy if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize("call", ["load_model('nonesuch')", "upscale_video('gone.mp4')"])
def test_waiting_threads_sleep_from_the_first_call_on(call: str) -> None:
    probe = f"""
import os, stinet
try:
    stinet.{call}
except stinet.StinetError:
    print(os.environ["OMP_WAIT_POLICY"])
"""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    ran = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True, env=bare)
    assert ran.stdout == "passive\n"


def test_every_error_is_a_stinet_error_with_its_own_exit_code() -> None:
    errors = [getattr(stinet, name) for name in stinet.__all__ if name.endswith("Error")]
    assert len(errors) == 9
    assert all(issubclass(error, stinet.StinetError) for error in errors)
    assert {error.exit_code for error in errors} == {1, 2, 3, 4, 6, 7}


def test_a_saved_network_comes_back_as_it_was(tmp_path: Path) -> None:
    from stinet.checkpoint import save_model

    config = stinet.ModelConfig(channels=8, features="compact", high="folded", upsampler="direct", offset_channels=8)
    net = stinet.STINet(config).eval()
    save_model(tmp_path / "net.safetensors", net, net.state_dict(), {})
    again = stinet.load_model(str(tmp_path / "net.safetensors"))
    video = torch.rand(1, 2, 3, 16, 16)
    with torch.no_grad():
        out = again(video, times=(0.25, 0.5, 0.75)).final
        torch.testing.assert_close(out, net(video, times=(0.25, 0.5, 0.75)).final)
    assert again.config == config
    assert out.shape == (1, 5, 3, 64, 64)


def test_load_model_names_what_there_is() -> None:
    with pytest.raises(stinet.ModelError, match="stinet-s"):
        stinet.load_model("nonesuch")


def test_a_folder_of_pictures_becomes_a_folder_of_larger_ones(pictures: Path) -> None:
    summary = stinet.upscale_video(pictures, model="blend+bicubic")
    made = sorted(summary.output.glob("*.png"))
    assert summary.output.parent == pictures.parent
    assert len(made) == summary.frames_out == 6
    with Image.open(made[0]) as first:
        assert first.size == (48, 32)


@pytest.mark.parametrize("fps", ["x2", 50, 50.0, Fraction(50)])
def test_a_rate_may_be_text_or_a_number(pictures: Path, fps: str | float | Fraction) -> None:
    summary = stinet.upscale_video(pictures, pictures.parent / "out.mp4", fps=fps, size="x1", model="blend+bicubic")
    assert (summary.rate, summary.size, summary.frames_out) == (50, (12, 8), 6)


def test_an_output_is_neither_overwritten_nor_the_input(pictures: Path) -> None:
    with pytest.raises(stinet.OutputError, match="exists"):
        stinet.upscale_video(pictures, pictures.parent, model="blend+bicubic")
    with pytest.raises(stinet.OutputError, match="itself"):
        stinet.upscale_video(pictures, pictures, model="blend+bicubic")
    with pytest.raises(stinet.InputError, match=r"gone\.mp4"):
        stinet.upscale_video("gone.mp4")


def test_progress_counts_up_to_the_last_frame(pictures: Path) -> None:
    seen: list[int] = []
    summary = stinet.upscale_video(pictures, model="blend+bicubic", progress=lambda now: seen.append(now.frames_out))
    assert seen == sorted(set(seen))
    assert seen[-1] == summary.frames_out
