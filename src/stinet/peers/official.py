r"""Names of weights in the authors' files, and what they are called here.

The layouts are those of the authors' public code. A translation gives our name, or None for what a file carries and
no network of ours needs (tables that can be computed). Names that it does not know come out as they are and are then
refused as unknown.

    L3_offset_conv1_2     level 3 of 3 (the coarsest), the way back          difference.2
    offset_conv2          at the coarsest level the last convolution         guide.2, elsewhere coarser
    dcnpack.conv_offset_mask                                                 deform.N.offsets
"""

import re
from collections.abc import Callable, Sequence

__all__ = ["Translation", "from_rstt", "from_tmnet", "from_zooming"]

Translation = Callable[[str], str | None]

Rules = Sequence[tuple[str, str]]

_ENTRY_AND_EXIT: Rules = (
    (r"^conv_first\.", "extract.entry."),
    (r"^feature_extraction\.", "extract.blocks."),
    (r"^recon_trunk\.", "trunk."),
    (r"^(extract\.blocks|trunk)\.(\d+)\.conv1\.", r"\1.\2.first."),
    (r"^(extract\.blocks|trunk)\.(\d+)\.conv2\.", r"\1.\2.second."),
    (r"^upconv1\.", "enlarge.first."),
    (r"^upconv2\.", "enlarge.second."),
    (r"^HRconv\.", "enlarge.mix."),
    (r"^conv_last\.", "enlarge.last."),
)

_LSTM: Rules = (
    (r"^ConvBLSTM\.forward_net\.pcd_h\.", "lstm.hidden."),
    (r"^ConvBLSTM\.forward_net\.pcd_c\.", "lstm.cell."),
    (r"^ConvBLSTM\.forward_net\.cell_list\.0\.conv\.", "lstm.gates."),
    (r"^ConvBLSTM\.conv_1x1\.", "lstm.fuse."),
)

_COMPARE: Rules = (
    (r"^layersAtBOffset\.0\.", "low.compare.previous.joint."),
    (r"^layersAtBOffset\.2\.", "low.compare.previous.guide."),
    (r"^layersAtB\.conv_offset_mask\.", "low.compare.previous.deform.offsets."),
    (r"^layersAtB\.", "low.compare.previous.deform.weights."),
    (r"^layersCtBOffset\.0\.", "low.compare.following.joint."),
    (r"^layersCtBOffset\.2\.", "low.compare.following.guide."),
    (r"^layersCtB\.conv_offset_mask\.", "low.compare.following.deform.offsets."),
    (r"^layersCtB\.", "low.compare.following.deform.weights."),
    (r"^layersFusion\.0\.", "low.compare.fuse.0."),
    (r"^layersFusion\.2\.", "low.compare.fuse.1."),
    (r"^layersFusion\.4\.", "low.compare.fuse.2."),
    (r"^layersFusion\.6\.", "low.compare.fuse.3."),
)

_ATTENTION: Rules = (
    (r"^input_proj\.proj\.0\.", "entry."),
    (r"^downsample\.(\d)\.conv\.0\.", r"shrink.\1."),
    (r"^upsample\.(\d)\.deconv\.0\.", r"grow.\1."),
    (r"^encoder_layers\.(\d)\.blocks\.(\d)\.norm1\.", r"encoders.\1.\2.before_attention."),
    (r"^encoder_layers\.(\d)\.blocks\.(\d)\.norm2\.", r"encoders.\1.\2.before_layers."),
    (r"^encoder_layers\.(\d)\.blocks\.(\d)\.attn\.", r"encoders.\1.\2.attention."),
    (r"^decoder_layers\.(\d)\.blocks\.(\d)\.norm1\.", r"decoders.\1.\2.before_self."),
    (r"^decoder_layers\.(\d)\.blocks\.(\d)\.norm2\.", r"decoders.\1.\2.before_cross."),
    (r"^decoder_layers\.(\d)\.blocks\.(\d)\.norm3\.", r"decoders.\1.\2.before_layers."),
    (r"^decoder_layers\.(\d)\.blocks\.(\d)\.norm_kv\.", r"decoders.\1.\2.of_keys."),
    (r"^decoder_layers\.(\d)\.blocks\.(\d)\.attn1\.", r"decoders.\1.\2.self_attention."),
    (r"^decoder_layers\.(\d)\.blocks\.(\d)\.attn2\.", r"decoders.\1.\2.cross_attention."),
    (r"^(en|de)coder_layers\.(\d)\.blocks\.(\d)\.mlp\.fc1\.", r"\1coders.\2.\3.layers.0."),
    (r"^(en|de)coder_layers\.(\d)\.blocks\.(\d)\.mlp\.fc2\.", r"\1coders.\2.\3.layers.2."),
    (r"ttention\.relative_position_bias_table$", "ttention.bias"),
    (r"ttention\.q\.", "ttention.query."),
    (r"ttention\.kv\.", "ttention.key_value."),
    (r"ttention\.proj\.", "ttention.out."),
)


def from_zooming(name: str) -> str | None:
    """Zooming Slow-Mo's names."""
    name = _by_rules(_by_rules(name, _LSTM), _ENTRY_AND_EXIT)
    name = re.sub(r"(^|\.)fea_L([23])_conv([12])\.", _level_of_pyramid, name)
    name = re.sub(r"(^|\.)fusion\.", r"\1pair.fuse.", name)
    return re.sub(r"pcd_align\.L([123])_(\w+?)_([12])\.(conv_offset_mask\.)?", _part_of_alignment, name)


def from_tmnet(name: str) -> str | None:
    """TMNet's names; what it shares with Zooming Slow-Mo lies in its branch L."""
    name = re.sub(r"^pcd_align\.TMB_([AB])_l([123])\.([tf])_process\.(\d)\.", _part_of_modulation, name)
    name = from_zooming(_by_rules(name, _COMPARE)) or ""
    return re.sub(r"^lstm\.", "relate.low.", re.sub(r"^(pyramid|pair)\.", r"low.\1.", name))


def from_rstt(name: str) -> str | None:
    """RSTT's names; its tables of positions are computed."""
    return None if name.endswith("relative_position_index") else _by_rules(_by_rules(name, _ATTENTION), _ENTRY_AND_EXIT)


def _by_rules(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _level_of_pyramid(found: re.Match[str]) -> str:
    step = {"1": "halve", "2": "smooth"}[found[3]]
    return f"{found[1]}pyramid.{step}.{int(found[2]) - 2}."


def _part_of_alignment(found: re.Match[str]) -> str:
    level, part, way, of_offsets = int(found[1]), found[2], {"1": "ahead", "2": "back"}[found[3]], found[4]
    names = {
        "offset_conv1": "difference",
        "offset_conv2": "guide" if level == 3 else "coarser",
        "offset_conv3": "guide",
        "dcnpack": "deform",
        "fea_conv": "merge",
    }
    if part not in names:
        return found[0]
    inner = "" if part != "dcnpack" else "offsets." if of_offsets else "weights."
    return f"pair.{way}.{names[part]}.{level - 1}.{inner}"


def _part_of_modulation(found: re.Match[str]) -> str:
    way, level, index = {"A": "ahead", "B": "back"}[found[1]], int(found[2]) - 1, int(found[4]) // 2
    part = f"time.{index}" if found[3] == "t" else ("first", "second")[min(index, 1)]
    return f"pair.{way}.modulators.{level}.{part}."
