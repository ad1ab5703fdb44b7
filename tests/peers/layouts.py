"""Names and shapes of the weights in the authors' files, written down from their public code."""

from collections.abc import Iterator

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
