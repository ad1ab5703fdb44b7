"""Names and shapes of the weights in the authors' files, written down from their public code."""

from collections.abc import Iterator
from itertools import pairwise

Layout = dict[str, tuple[int, ...]]


def conv(name: str, outputs: int, inputs: int, kernel: int = 3, *, bias: bool = True) -> Iterator[tuple[str, tuple]]:
    yield f"{name}.weight", (outputs, inputs, kernel, kernel)
    if bias:
        yield f"{name}.bias", (outputs,)


def linear(name: str, outputs: int, inputs: int) -> Iterator[tuple[str, tuple]]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def deformable(name: str, c: int = 64) -> Iterator[tuple[str, tuple]]:
    yield from conv(name, c, c)
    yield from conv(f"{name}.conv_offset_mask", 216, c)


def pcd(prefix: str, c: int = 64) -> Iterator[tuple[str, tuple]]:
    for way in (1, 2):
        yield from conv(f"{prefix}L3_offset_conv1_{way}", c, 2 * c)
        yield from conv(f"{prefix}L3_offset_conv2_{way}", c, c)
        yield from deformable(f"{prefix}L3_dcnpack_{way}")
        for level in (2, 1):
            yield from conv(f"{prefix}L{level}_offset_conv1_{way}", c, 2 * c)
            yield from conv(f"{prefix}L{level}_offset_conv2_{way}", c, 2 * c)
            yield from conv(f"{prefix}L{level}_offset_conv3_{way}", c, c)
            yield from deformable(f"{prefix}L{level}_dcnpack_{way}")
            yield from conv(f"{prefix}L{level}_fea_conv_{way}", c, 2 * c)


def pyramid(prefix: str, c: int = 64) -> Iterator[tuple[str, tuple]]:
    for level in (2, 3):
        for step in (1, 2):
            yield from conv(f"{prefix}fea_L{level}_conv{step}", c, c)


def exit_of(c: int) -> Iterator[tuple[str, tuple]]:
    yield from conv("upconv1", 4 * c, c)
    yield from conv("upconv2", 256, c)
    yield from conv("HRconv", 64, 64)
    yield from conv("conv_last", 3, 64)


def zooming() -> Layout:
    return dict(_zooming())


def _zooming() -> Iterator[tuple[str, tuple]]:
    yield from conv("conv_first", 64, 3)
    for trunk, count in (("feature_extraction", 5), ("recon_trunk", 40)):
        for index in range(count):
            yield from conv(f"{trunk}.{index}.conv1", 64, 64)
            yield from conv(f"{trunk}.{index}.conv2", 64, 64)
    yield from pyramid("")
    yield from pcd("pcd_align.")
    yield from conv("fusion", 64, 128, 1)
    for state in ("h", "c"):
        yield from pyramid(f"ConvBLSTM.forward_net.pcd_{state}.")
        yield from pcd(f"ConvBLSTM.forward_net.pcd_{state}.pcd_align.")
        yield from conv(f"ConvBLSTM.forward_net.pcd_{state}.fusion", 64, 128, 1)
    yield from conv("ConvBLSTM.forward_net.cell_list.0.conv", 256, 128)
    yield from conv("ConvBLSTM.conv_1x1", 64, 128, 1)
    yield from exit_of(64)


def videoinr() -> Layout:
    return dict(_videoinr())


def _videoinr() -> Iterator[tuple[str, tuple]]:
    yield from _zooming()
    for name, widths in (
        ("feat_imnet", (201, 64, 64, 256, 64)),
        ("flow_imnet", (263, 64, 64, 256, 4)),
        ("encode_imnet", (525, 64, 64, 256, 256, 3)),
    ):
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            is_last = index == len(widths) - 2
            yield from linear(f"{name}.net.{index}" + ("" if is_last else ".linear"), outputs, inputs)


def tmnet(*, modulated: bool = True) -> Layout:
    return dict(_tmnet(modulated=modulated))


def _tmnet(*, modulated: bool) -> Iterator[tuple[str, tuple]]:
    yield from _zooming()
    for way in "AB" if modulated else "":
        for level in (1, 2, 3):
            block = f"pcd_align.TMB_{way}_l{level}"
            for layer, inputs in ((0, 1), (2, 64), (4, 64)):
                yield from conv(f"{block}.t_process.{layer}", 64, inputs, 1, bias=False)
            for layer in (0, 2):
                yield from conv(f"{block}.f_process.{layer}", 64, 64)
    for side in "AC":
        yield from conv(f"layers{side}tBOffset.0", 64, 128)
        yield from conv(f"layers{side}tBOffset.2", 64, 64)
        yield from deformable(f"layers{side}tB")
    for layer, outputs in ((0, 192), (2, 192), (4, 192), (6, 64)):
        yield from conv(f"layersFusion.{layer}", outputs, 192, 1)


def rstt(depth: int) -> Layout:
    return dict(_rstt(depth))


def _rstt(depth: int) -> Iterator[tuple[str, tuple]]:
    c = 96
    yield from conv("input_proj.proj.0", c, 3)
    for stage, heads in enumerate((2, 4, 8, 16)):
        for index in range(depth):
            block = f"encoder_layers.{stage}.blocks.{index}"
            yield from attention(f"{block}.attn", heads, 7, 64, 64)
            yield from layers(block, ("norm1", "norm2"))
        yield from conv(f"downsample.{stage}.conv.0", c, c, 4)
    for stage, heads in enumerate((16, 8, 4, 2)):
        for index in range(depth):
            block = f"decoder_layers.{stage}.blocks.{index}"
            yield from attention(f"{block}.attn1", heads, 13, 112, 112)
            yield from attention(f"{block}.attn2", heads, 13, 112, 64)
            yield from layers(block, ("norm1", "norm2", "norm3", "norm_kv"))
        if stage < 3:
            yield from conv(f"upsample.{stage}.deconv.0", c, c, 2)
    yield from exit_of(c)


def rcan() -> Layout:
    return dict(_rcan())


def _rcan() -> Iterator[tuple[str, tuple]]:
    for name in ("sub_mean", "add_mean"):
        yield from conv(name, 3, 3, 1)
    yield from conv("head.0", 64, 3)
    for group in range(10):
        for block in range(20):
            name = f"body.{group}.body.{block}.body"
            yield from conv(f"{name}.0", 64, 64)
            yield from conv(f"{name}.2", 64, 64)
            yield from conv(f"{name}.3.conv_du.0", 4, 64, 1)
            yield from conv(f"{name}.3.conv_du.2", 64, 4, 1)
        yield from conv(f"body.{group}.body.20", 64, 64)
    yield from conv("body.10", 64, 64)
    yield from conv("tail.0.0", 256, 64)
    yield from conv("tail.0.2", 256, 64)
    yield from conv("tail.1", 3, 64)


def sepconv() -> Layout:
    return dict(_sepconv())


def _sepconv() -> Iterator[tuple[str, tuple]]:
    for number, (inputs, outputs) in enumerate(((6, 32), (32, 64), (64, 128), (128, 256), (256, 512)), 1):
        yield from three(f"moduleConv{number}", inputs, outputs)
    for number, (inputs, outputs) in ((5, (512, 512)), (4, (512, 256)), (3, (256, 128)), (2, (128, 64))):
        yield from three(f"moduleDeconv{number}", inputs, outputs)
        yield from conv(f"moduleUpsample{number}.1", outputs, outputs)
    for kernel in ("Vertical1", "Vertical2", "Horizontal1", "Horizontal2"):
        yield from conv(f"module{kernel}.0", 64, 64)
        yield from conv(f"module{kernel}.2", 64, 64)
        yield from conv(f"module{kernel}.4", 51, 64)
        yield from conv(f"module{kernel}.7", 51, 51)


def three(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple]]:
    yield from conv(f"{name}.0", outputs, inputs)
    yield from conv(f"{name}.2", outputs, outputs)
    yield from conv(f"{name}.4", outputs, outputs)


def edvr(frames: int) -> Layout:
    """As BasicSR names them."""
    return dict(_edvr(frames))


def _edvr(frames: int, c: int = 128) -> Iterator[tuple[str, tuple]]:
    yield from conv("conv_first", c, 3)
    for trunk, count in (("feature_extraction", 5), ("reconstruction", 40)):
        for index in range(count):
            yield from conv(f"{trunk}.{index}.conv1", c, c)
            yield from conv(f"{trunk}.{index}.conv2", c, c)
    for level in (2, 3):
        for step in (1, 2):
            yield from conv(f"conv_l{level}_{step}", c, c)
    for level in (3, 2, 1):
        yield from conv(f"pcd_align.offset_conv1.l{level}", c, 2 * c)
        yield from conv(f"pcd_align.offset_conv2.l{level}", c, c if level == 3 else 2 * c)
        yield from conv(f"pcd_align.dcn_pack.l{level}", c, c)
        yield from conv(f"pcd_align.dcn_pack.l{level}.conv_offset", 216, c)
        if level < 3:
            yield from conv(f"pcd_align.offset_conv3.l{level}", c, c)
            yield from conv(f"pcd_align.feat_conv.l{level}", c, 2 * c)
    yield from conv("pcd_align.cas_offset_conv1", c, 2 * c)
    yield from conv("pcd_align.cas_offset_conv2", c, c)
    yield from conv("pcd_align.cas_dcnpack", c, c)
    yield from conv("pcd_align.cas_dcnpack.conv_offset", 216, c)
    for name in ("temporal_attn1", "temporal_attn2", "spatial_attn3", "spatial_attn5", "spatial_attn_l3"):
        yield from conv(f"fusion.{name}", c, c)
    for name in ("feat_fusion", "spatial_attn1"):
        yield from conv(f"fusion.{name}", c, frames * c, 1)
    for name in ("spatial_attn4", "spatial_attn_l1", "spatial_attn_add1", "spatial_attn_add2"):
        yield from conv(f"fusion.{name}", c, c, 1)
    yield from conv("fusion.spatial_attn2", c, 2 * c, 1)
    yield from conv("fusion.spatial_attn_l2", c, 2 * c)
    yield from conv("upconv1", 4 * c, c)
    yield from conv("upconv2", 256, c)
    yield from conv("conv_hr", 64, 64)
    yield from conv("conv_last", 3, 64)


def attention(name: str, heads: int, offsets: int, queries: int, keys: int) -> Iterator[tuple[str, tuple]]:
    yield f"{name}.relative_position_bias_table", (offsets * 49, heads)
    yield f"{name}.relative_position_index", (queries, keys)
    yield from linear(f"{name}.q", 96, 96)
    yield from linear(f"{name}.kv", 192, 96)
    yield from linear(f"{name}.proj", 96, 96)


def layers(block: str, norms: tuple[str, ...]) -> Iterator[tuple[str, tuple]]:
    for norm in norms:
        yield f"{block}.{norm}.weight", (96,)
        yield f"{block}.{norm}.bias", (96,)
    yield from linear(f"{block}.mlp.fc1", 192, 96)
    yield from linear(f"{block}.mlp.fc2", 96, 192)
