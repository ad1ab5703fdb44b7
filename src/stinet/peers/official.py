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

__all__ = [
    "Translation",
    "from_edvr",
    "from_rcan",
    "from_rstt",
    "from_sepconv",
    "from_tmnet",
    "from_videoinr",
    "from_zooming",
]

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

_REPRESENTATIONS: Rules = (
    (r"^feat_imnet\.net\.(\d)\.(linear\.)?", r"feature.layers.\1."),
    (r"^flow_imnet\.net\.(\d)\.(linear\.)?", r"flow.layers.\1."),
    (r"^encode_imnet\.net\.(\d)\.(linear\.)?", r"color.layers.\1."),
)

_RCAN: Rules = (
    (r"^sub_mean\.bias$", "mean_off"),
    (r"^add_mean\.bias$", "mean_on"),
    (r"^head\.0\.", "entry."),
    (r"^tail\.0\.0\.", "grow.0."),
    (r"^tail\.0\.2\.", "grow.1."),
    (r"^tail\.1\.", "last."),
    (r"^body\.(\d+)\.body\.(\d+)\.body\.0\.", r"groups.\1.blocks.\2.first."),
    (r"^body\.(\d+)\.body\.(\d+)\.body\.2\.", r"groups.\1.blocks.\2.second."),
    (r"^body\.(\d+)\.body\.(\d+)\.body\.3\.conv_du\.0\.", r"groups.\1.blocks.\2.squeeze."),
    (r"^body\.(\d+)\.body\.(\d+)\.body\.3\.conv_du\.2\.", r"groups.\1.blocks.\2.excite."),
    (r"^body\.(\d+)\.body\.20\.", r"groups.\1.last."),
    (r"^body\.10\.", "joint."),
)

_EDVR: Rules = (
    (r"^reconstruction\.", "recon_trunk."),
    (r"^conv_hr\.", "HRconv."),
    (r"^conv_l([23])_([12])\.", r"fea_L\1_conv\2."),
    (r"^pcd_align\.(offset_conv\d)\.l([123])\.", r"pcd_align.L\2_\1."),
    (r"^pcd_align\.dcn_pack\.l([123])\.", r"pcd_align.L\1_dcnpack."),
    (r"^pcd_align\.feat_conv\.l([123])\.", r"pcd_align.L\1_fea_conv."),
    (r"(dcnpack)\.conv_offset\.", r"\1.conv_offset_mask."),
    (r"^pcd_align\.cas_offset_conv1\.", "cascade.joint."),
    (r"^pcd_align\.cas_offset_conv2\.", "cascade.guide."),
    (r"^pcd_align\.cas_dcnpack\.conv_offset_mask\.", "deform.offsets."),
    (r"^pcd_align\.cas_dcnpack\.", "deform.weights."),
    # the later project calls the middle frame's convolution 1, the first one called it 2
    (r"^fusion\.temporal_attn1\.", "tsa_fusion.tAtt_2."),
    (r"^fusion\.temporal_attn2\.", "tsa_fusion.tAtt_1."),
    (r"^fusion\.feat_fusion\.", "tsa_fusion.fea_fusion."),
    (r"^fusion\.spatial_attn_l([123])\.", r"tsa_fusion.sAtt_L\1."),
    (r"^fusion\.spatial_attn_add([12])\.", r"tsa_fusion.sAtt_add_\1."),
    (r"^fusion\.spatial_attn([1-5])\.", r"tsa_fusion.sAtt_\1."),
    (r"^tsa_fusion\.tAtt_1\.", "fuse.of_each."),
    (r"^tsa_fusion\.tAtt_2\.", "fuse.of_middle."),
    (r"^tsa_fusion\.fea_fusion\.", "fuse.fuse."),
    (r"^tsa_fusion\.sAtt_1\.", "fuse.attend."),
    (r"^tsa_fusion\.sAtt_2\.", "fuse.pooled."),
    (r"^tsa_fusion\.sAtt_3\.", "fuse.halved.0."),
    (r"^tsa_fusion\.sAtt_4\.", "fuse.halved.1."),
    (r"^tsa_fusion\.sAtt_5\.", "fuse.weigh."),
    (r"^tsa_fusion\.sAtt_L1\.", "fuse.quartered.0."),
    (r"^tsa_fusion\.sAtt_L2\.", "fuse.quartered.1."),
    (r"^tsa_fusion\.sAtt_L3\.", "fuse.quartered.2."),
    (r"^tsa_fusion\.sAtt_add_1\.", "fuse.add.0."),
    (r"^tsa_fusion\.sAtt_add_2\.", "fuse.add.1."),
)


def from_rcan(name: str) -> str | None:
    """RCAN's names; the 1x1 convolutions around its means are identities."""
    return None if name in ("sub_mean.weight", "add_mean.weight") else _by_rules(name, _RCAN)


def from_edvr(name: str) -> str | None:
    """EDVR's names, those of its first project and those of BasicSR."""
    name = re.sub(r"^pcd_align\.L([123])_(\w+?)\.", r"pcd_align.L\1_\2_1.", _by_rules(name, _EDVR))
    translated = from_zooming(name) or ""
    return translated.replace("pair.ahead.", "align.", 1) if translated.startswith("pair.ahead.") else translated


def from_sepconv(name: str) -> str | None:
    """SepConv's names; layers stand two apart, with a ReLU between."""
    name = re.sub(r"^moduleConv(\d)\.(\d)\.", lambda m: f"down.{int(m[1]) - 1}.layers.{int(m[2]) // 2}.", name)
    name = re.sub(r"^moduleDeconv(\d)\.(\d)\.", lambda m: f"up.{5 - int(m[1])}.layers.{int(m[2]) // 2}.", name)
    name = re.sub(r"^moduleUpsample(\d)\.1\.", lambda m: f"grow.{5 - int(m[1])}.", name)
    return re.sub(r"^module(Vertical|Horizontal)([12])\.(\d)\.", _part_of_kernel, name)


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


def from_videoinr(name: str) -> str | None:
    """VideoINR's names; what it shares with Zooming Slow-Mo is called alike, but its exit is not used."""
    return re.sub(r"^enlarge\.", "unused.", from_zooming(_by_rules(name, _REPRESENTATIONS)) or "")


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


def _part_of_kernel(found: re.Match[str]) -> str:
    number = 2 * (found[1] == "Horizontal") + int(found[2]) - 1
    layer = int(found[3])
    return f"kernels.{number}.last." if layer == 7 else f"kernels.{number}.layers.{layer // 2}."
