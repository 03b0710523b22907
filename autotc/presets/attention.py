"""Published methods that go by attention, or by what stands in for it."""

from __future__ import annotations

from autotc.presets.base import Part, Preset


def _by_attention(share: float, widen: float, front: bool) -> dict[str, float | bool]:
    """Parameters of a stage of BTP that takes a share by attention and the rest by diversity from there."""
    return {"attention": share, "diversity": 0.0, "space": 0.0, "widen": widen, "front": front}


ATTENTION = (
    Preset("fastv", (Part("fastv", "decoder", layer=(2, 32)),), paper="2403.06764", flash_safe=False),
    # Ratio 0.5 at each of three stages, after a quarter, a half and three quarters of the layers.
    Preset(
        "pyramiddrop",
        tuple(Part("pyramiddrop", "decoder", keep=0.5**i, layer=(8 * i, 32)) for i in (1, 2, 3)),
        paper="2410.17247",
    ),
    Preset(
        "visionzip",
        (Part("visionzip", "projector", keep=64 / 576),),
        paper="2412.04467",
        flash_safe=False,
        adaptation="features after the projector for the tower's; received attention where there is no class token",
    ),
    Preset("rep_shift", (Part("rep_shift", "decoder", layer=(2, 32)),), paper="2508.00367"),
    # V2Drop, LLaVA-1.5-7B: the official code keeps 288 of 576 tokens from layer 3 on, 144 from layer 17 on and one from
    # layer 22 on. The paper's settings for 192, 128 and 64 tokens: 50, 28 and 5% at layer 3, then 30, 25, 5% of them.
    Preset(
        "v2drop",
        (
            Part("rep_shift", "decoder", keep=288 / 576, layer=(3, 32)),
            Part("rep_shift", "decoder", keep=144 / 576, layer=(17, 32)),
            Part("rep_shift", "decoder", keep=144 / 576, layer=(22, 32), fixed=1e-6),
        ),
        paper="2509.01552",
    ),
    # LLaVA-1.5-7B at 128 of 576 tokens, before layer 2 (192 and 64 as well).
    Preset(
        "tokencarve",
        (Part("tokencarve", "decoder", keep=128 / 576, layer=(2, 32)),),
        paper="2503.10501",
        flash_safe=False,
        adaptation="tokens of equal mean rank in order of position, where the code's order is that of its sort",
    ),
    # CLSE, LLaVA-1.5-7B at "192 tokens", the mean over layers: by change of spectrum and attention before layer 1, then
    # by attention alone. Video-LLaVA-7B: 194 of 2,048 tokens before layer 3.
    Preset(
        "clse",
        (
            Part("clse", "decoder", keep=330 / 576, layer=(1, 32), modalities=("image",)),
            Part("fastv", "decoder", keep=210 / 576, layer=(11, 32), modalities=("image",)),
            Part("fastv", "decoder", keep=62 / 576, layer=(21, 32), modalities=("image",)),
            Part("clse", "decoder", keep=194 / 2048, layer=(3, 32), modalities=("video",)),
        ),
        paper="2606.24165",
        flash_safe=False,
    ),
    # drop_loc = (3, 6, 9) of 12 blocks, keep rate 0.7 of what is left at each.
    Preset(
        "top_k_audio",
        parts=(
            Part("received_attention", "encoder", keep=0.7, layer=3 / 11),
            Part("received_attention", "encoder", keep=0.49, layer=6 / 11),
            Part("received_attention", "encoder", keep=0.343, layer=9 / 11),
        ),
        paper="2504.01690",
        flash_safe=False,
        adaptation="without fine-tuning; output units leave after the block instead of between its attention and MLP",
        modalities=("audio",),
    ),
    # LLaVA-1.5-7B at "128 tokens", the mean over layers: 288, 144 and 48 of 576 from the layers (counted from 0) 3, 6
    # and 14 on, and none from layer 22 on.
    # Qwen2.5-VL-7B (28 layers): a half, a quarter, an eighth and none from the layers 3, 6, 15 and 22 on; the most
    # attended, without preference for the front (0.1 x 1.2 of the survivors, then 0.4), and
    # diversity from these; then by attention as on LLaVA.
    Preset(
        "btp",
        parts=(
            Part(
                "btp",
                "decoder",
                keep=288 / 576,
                layer=(3, 32),
                params={"attention": 0.3, "diversity": 0.3, "space": 0.5, "widen": 3.7},
            ),
            Part(
                "btp",
                "decoder",
                keep=144 / 576,
                layer=(6, 32),
                params={"attention": 0.9, "diversity": 0.1, "space": 0.0, "widen": 1.5},
            ),
            Part(
                "btp",
                "decoder",
                keep=48 / 576,
                layer=(14, 32),
                params={"attention": 1.0, "diversity": 0.0, "space": 0.0, "widen": 1.2},
            ),
            Part("withdraw", "decoder", keep=48 / 576, layer=(22, 32), fixed=1e-6),
        ),
        paper="2505.22038",
        flash_safe=False,
        adaptation="LLaVA's stages, on Qwen2.5-VL its own, without calibration; the last token of each item stays",
        modalities=("image", "video", "audio"),
        own={
            "qwen2_5_vl": (
                Part("btp", "decoder", keep=1 / 2, layer=(3, 28), params=_by_attention(0.1, 1.2, False)),
                Part("btp", "decoder", keep=1 / 4, layer=(6, 28), params=_by_attention(0.4, 1.0, False)),
                Part("btp", "decoder", keep=1 / 8, layer=(15, 28), params=_by_attention(1.0, 1.2, True)),
                Part("withdraw", "decoder", keep=1 / 8, layer=(22, 28), fixed=1e-6),
            )
        },
    ),
    # VTW: all visual tokens leave at one layer; K = 15 or 16 of 32 for LLaVA-1.5-7B (official README: --k=15). The
    # knob is the layer: N0 tokens before it and about none from it on, so that their mean over layers is layer / depth.
    Preset(
        "vtw",
        (
            Part(
                "withdraw",
                "decoder",
                keep=15 / 32,
                layer=lambda keep, depth: max(1, int(keep * depth + 0.5)),
                fixed=1e-6,
            ),
        ),
        paper="2405.05803",
        adaptation="the last token of each item stays; the layer follows from the keep ratio, not from samples",
    ),
    # FitPrune, LLaVA-1.5-7B at a reduction of 60% (the official code's default): tokens left of 576 before a layer,
    # from the published deletions after each layer, at the layers where 4% or more of what was left have gone.
    Preset(
        "fitprune",
        tuple(
            Part("fitprune", "decoder", keep=count / 576, layer=(layer, 32))
            for layer, count in (
                (1, 562),
                (2, 529),
                (3, 440),
                (4, 404),
                (5, 368),
                (6, 348),
                (7, 293),
                (8, 272),
                (9, 254),
                (11, 243),
                (14, 231),
                (17, 194),
                (19, 178),
                (20, 154),
                (22, 132),
            )
        ),
        paper="2409.10197",
        flash_safe=False,
        adaptation="the schedule of LLaVA-1.5-7B, scaled, unless fitted by --calibrate; text is the query's alone",
    ),
    # VisPruner: 64 of 576 tokens, half by attention, half distinct (README: ratio 0.5).
    Preset(
        "vispruner",
        (Part("vispruner", "projector", keep=64 / 576),),
        paper="2412.01818",
        flash_safe=False,
        adaptation="features after the projector for the tower's; received attention where there is no class token",
    ),
    # FasterVLM (the first version of the same paper): 95% of 576 tokens pruned at most; 64 for comparison.
    Preset(
        "fastervlm",
        (Part("cls_attention", "projector", keep=64 / 576),),
        paper="2412.01818",
        flash_safe=False,
        adaptation="received attention where there is no class token",
    ),
    # PruMerge: outliers set about 5.5% (32 of 576) of the tokens; PruMerge+ about 25% (144).
    Preset(
        "prumerge",
        (Part("prumerge", "projector", keep=32 / 576),),
        paper="2403.15388",
        flash_safe=False,
        adaptation="a given count in place of the outliers' (adaptive: true restores it); features after the projector",
    ),
    Preset(
        "prumerge_plus",
        (Part("prumerge", "projector", keep=144 / 576, params={"spatial_share": 0.75}),),
        paper="2403.15388",
        flash_safe=False,
        adaptation="a given count in place of the outliers' (adaptive: true restores it); features after the projector",
    ),
    # HiRED: 20% of the tokens of thumbnail and crops, alpha = 0.5.
    Preset(
        "hired",
        (Part("hired", "projector", keep=0.2),),
        paper="2408.10945",
        flash_safe=False,
        adaptation="crops of the item's own grid, without a thumbnail; budgets by the next-to-last block's attention",
    ),
    # HiPrune: 192, 128 or 64 of 576 tokens, alpha = 0.1.
    Preset(
        "hiprune",
        (Part("hiprune", "projector", keep=64 / 576),),
        paper="2508.00553",
        flash_safe=False,
        adaptation="the published 9 of 24 on LLaVA, elsewhere the block in the middle; neighbours in the grid",
    ),
    # HoloV: 64 of 576 tokens, then 16 crops.
    Preset(
        "holov",
        (Part("holov", "projector", keep=64 / 576),),
        paper="2510.02912",
        flash_safe=False,
        adaptation="what full crops cannot take goes to the others; received attention where there is no class token",
    ),
    # LLaVA-1.5-7B at "64 tokens", the mean over layers: 96 of 576 after the tower, 32 from layer 16 of 32 on (README).
    # Qwen2.5-VL-7B: 16.7%, then a third of that from layer 14 of 28 on, windows of 4.
    Preset(
        "vscan",
        parts=(
            Part("vscan", "projector", keep=96 / 576),
            Part("pyramiddrop", "decoder", keep=32 / 576, layer=(16, 32)),
        ),
        paper="2505.22654",
        flash_safe=False,
        adaptation="windows by the middle block's received attention in place of a shallow one's; averages by mass",
        modalities=("image", "video"),
    ),
    # LLaVA-OneVision-7B: 92 of 729 tokens merged in each of the blocks 5 to 8 of 27 (3 to 6 for video), then 30% before
    # layer 8 of 28 (README).
    Preset(
        "illava",
        parts=(
            *(Part("illava", "encoder", keep=(729 - 92 * (i + 1)) / 729, layer=(5 + i) / 26) for i in range(4)),
            Part("fastv", "decoder", keep=0.7 * 361 / 729, layer=(8, 28)),
        ),
        paper="2412.06263",
        flash_safe=False,
        adaptation="the decoder drops what the published form merges into one token; merging after the block",
        modalities=("image", "video"),
    ),
    # LLaVA-NeXT-7B, retention ratio 0.25 (the official code's default), temperature 10.
    Preset(
        "globalcom2",
        (Part("globalcom2", "projector", keep=0.25),),
        paper="2501.05179",
        flash_safe=False,
        adaptation="an image of one view is thumbnail and crops at once, as its own 2 x 2 parts; near-equal crops",
    ),
    # LLaVA-1.5-7B at 16 tokens, of which the abstract tells.
    Preset(
        "id_selection",
        (Part("id_selection", "projector", keep=16 / 576),),
        paper="2604.05601",
        flash_safe=False,
        adaptation="no official code found: suppression as in a public reimplementation; importance by the tower alone",
    ),
    # LLaVA-1.5-7B at 64 tokens.
    Preset(
        "prunesid",
        (Part("prunesid", "projector", keep=64 / 576),),
        paper="2603.09480",
        flash_safe=False,
        adaptation="components of features after the projector, not started at random; equal frames keep equally many",
    ),
)
