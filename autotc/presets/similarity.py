"""Published methods that go by the similarity of tokens."""

from __future__ import annotations

from autotc.presets import schedules
from autotc.presets.base import Part, Preset, middle

SIMILARITY = (
    Preset(
        "tome",
        (Part("tome", "encoder", layer=middle),),
        paper="2210.09461",
        adaptation="one stage in the middle of the tower, in rounds, in place of a few tokens after every block;"
        " evens and odds without the class token",
    ),
    Preset("divprune", (Part("divprune", "projector", keep=0.098),), paper="2503.02175"),
    Preset(
        "a_tome",
        (Part("a_tome", "encoder", layer=middle),),
        paper="2306.16009",
        adaptation="training-free; one stage in the middle of the tower, its threshold set to leave the budget",
    ),
    # Qwen2-Audio (32 layers), the more aggressive setting: thresholds 0.8 and 0.7 at the input and layer 29, lookback 1
    # and 3. The first leaves about 74% of the tokens of clean speech; 14.9% are left in the end.
    Preset(
        "affinity_pooling",
        parts=(
            Part("affinity_pooling", "projector", keep=0.743),
            Part("affinity_pooling", "decoder", keep=0.149, layer=(29, 32), params={"lookback": 3}),
        ),
        paper="2604.06871",
        adaptation="counts in place of thresholds; how a lookback of several tokens decides is not confirmed",
        modalities=("audio",),
    ),
    # LTBM: ToMe's matching between tokens near in time, in the encoder's space. Keep ratio and window are choices made
    # here.
    Preset(
        "ltbm",
        (Part("tome", "encoder", layer=-1, params={"window": 8}, modalities=("audio",)),),
        paper="2605.25179",
        adaptation="matched on the last block's keys, in rounds; window, features and ratio not confirmed",
    ),
    Preset(
        "dyn_ttm",
        (Part("dyn_ttm", "projector"),),
        paper="2411.15024",
        adaptation="the merging before the language model, without the pruning of the KV cache while decoding",
    ),
    Preset("evs", (Part("evs", "projector", keep=0.25),), paper="2510.14624"),
    # LLaVA-1.5-7B at "128 tokens" (reduction 0.778), 4 + 4 pivots; the code cuts before layer 2 and keeps 132.
    Preset(
        "dart",
        parts=(Part("dart", "decoder", keep=128 / 576, layer=(2, 32)),),
        paper="2502.11494",
        adaptation="text pivots from the query span, norms of mean keys over heads, cosines before the final norm",
        modalities=("image", "video", "audio"),
    ),
    # LLaVA-NeXT-8B, the official code's keep_ratio 0.5 (threshold 0.5, temperature 0.03, 5 steps).
    Preset(
        "g_prune",
        parts=(Part("g_prune", "projector", keep=0.5),),
        paper="2501.02268",
        adaptation="one graph over the item in place of one for the thumbnail and one for the crops",
        modalities=("image", "video", "audio"),
    ),
    # LLaVA-1.5-7B: r = 16 a layer x 24 layers = 384 of 576 tokens merged at once in the last block but one; alpha 5.
    Preset(
        "folder",
        parts=(Part("folder", "encoder", keep=192 / 576, layer=-2),),
        paper="2501.02430",
        flash_safe=False,
        adaptation="received attention for the class token's, which evens and odds leave out; merging after the block;"
        " no scaling by 1 + log size",
        modalities=("image", "video", "audio"),
    ),
    # LLaVA-OneVision-7B (28 layers): layer 4, bound 0.21, 0.55 left by pruning, alpha 1.5; 71.3% of the tokens removed.
    Preset(
        "pact_dbdpc",
        parts=(Part("pact_dbdpc", "decoder", keep=0.287, layer=(4, 28)),),
        paper="2504.08966",
        adaptation="the distance bound follows from the count; mean keys before rotation; attention without sizes",
        modalities=("image", "video", "audio"),
    ),
    # LLaVA-1.5-7B at 128 tokens without the coupling prior: 48 for the prompt, 6 candidates a prompt token; layer 2.
    Preset(
        "mob",
        parts=(Part("mob", "decoder", keep=128 / 576, layer=(2, 32)),),
        paper="2505.10118",
        adaptation="the share of the prompt and the candidates scale with the budget in place of a table",
        modalities=("image", "video", "audio"),
    ),
    # PLLaVA-7B with the official scripts' settings: tau 0.8, segments for a quarter of the frames, clusters for half of
    # the tokens, then alpha 0.4 after layer 10 of 32 (before layer 11). 16.2% of the tokens are left in the end.
    Preset(
        "prunevid",
        parts=(
            Part("prunevid", "projector", keep=0.405),
            Part("text_attention", "decoder", keep=0.162, layer=(11, 32), params={"per_frame": True}),
        ),
        paper="2412.16117",
        flash_safe=False,
        adaptation="fixed count: clusters share the budget by size; the decoder's share is per frame, not per segment;"
        " density without noise (noise_seed restores it)",
        modalities=("video",),
    ),
    # LLaVA-OneVision-7B at 15%: threshold 0.8, then half of the tokens before layer 18 of 28.
    Preset(
        "holitom",
        parts=(
            Part("holitom", "projector", keep=0.15, params={"static_threshold": 0.8}),
            Part("fastv", "decoder", keep=0.075, layer=(18, 28), params={"recycle": True}),
        ),
        paper="2505.21334",
        flash_safe=False,
        adaptation="shares by largest remainders; fewer static places merge where all would leave less than the budget;"
        " density without noise (noise_seed restores it)",
        modalities=("video",),
    ),
    # Cost 0.3 (70% fewer tokens over 28 layers): content sets how much merges in the first layers (threshold 0.6); with
    # half merged before layer 0, the prune before layer 2 leaves 0.285, since (2 x 0.5 + 26 x 0.285) / 28 = 0.3.
    Preset(
        "framefusion",
        parts=(
            Part("framefusion", "decoder", keep=0.5, layer=lambda keep, depth: 0),
            Part("fastv", "decoder", keep=0.285, layer=(2, 28)),
        ),
        paper="2501.01986",
        adaptation="one merge of a fixed count before layer 0, where the code goes on until few tokens are alike, and"
        " pruning between two layers, where it is inside one, between attention and MLP",
        modalities=("video",),
    ),
    # The decaying schedule of the official code from layer 2 of 32: at layer i the share 0.0455 x (1 - (i - 2) / 29) of
    # what is left is merged, so that a half is left in the end. Four stages take what the schedule has taken by then.
    # (After the layer before: 2 -> 0.955, 8 -> 0.747, 17 -> 0.577, 31 -> 0.5.) Other forms: constant,
    # 1 - 0.5 ** (1 / 30) at every layer; one layer (sparse tasks), keep 0.5 at once.
    Preset(
        "fastadasp",
        parts=(
            Part("fastadasp", "decoder", keep=0.955, layer=(3, 32)),
            Part("fastadasp", "decoder", keep=0.747, layer=(9, 32)),
            Part("fastadasp", "decoder", keep=0.577, layer=(18, 32)),
            Part("fastadasp", "decoder", keep=0.5, layer=(30, 32)),
        ),
        paper="2410.03007",
        flash_safe=False,
        adaptation="the decaying schedule in four steps; merging before a layer, weighted by attention within the item",
        modalities=("audio",),
    ),
    # Video, LLaVA-OneVision-7B: 25% of each frame by two rounds of merging, then an eighth less after each layer from
    # 14 of 28 on, so that none is left from layer 22 on. Images, LLaVA-1.5-7B: 43.75% by two rounds on the keys of the
    # tower's last block, then an eighth less after each layer from 13 of 32 on, so that none is left from 21 on.
    Preset(
        "aim",
        parts=(*schedules.aim("video", "aim", 0.25, 15, 28), *schedules.aim("image", "tome", 0.4375, 14, 32)),
        paper="2412.03248",
        flash_safe=False,
        adaptation="the last token of each item stays; averages by mass; images merge after the projector, by the mean"
        " keys of the block next to last",
        modalities=("image", "video"),
    ),
    # LLaVA-1.5-7B at "192 tokens" (thresholds 0.001 and 0.001, 3 x 3 windows at 0.8, 8% key tokens), filters after
    # layers 2, 6, 10 and 14 of 32. Content sets the counts; these average to 192 of 576 over the layers:
    # (3 x 0.8 + 4 x 0.5 + 4 x 0.35 + 4 x 0.25 + 17 x 0.225) / 32 = 0.332.
    Preset(
        "mustdrop",
        parts=(
            Part("mustdrop", "projector", keep=0.8),
            Part("dual_attention", "decoder", keep=0.5, layer=(3, 32)),
            Part("dual_attention", "decoder", keep=0.35, layer=(7, 32)),
            Part("dual_attention", "decoder", keep=0.25, layer=(11, 32)),
            Part("dual_attention", "decoder", keep=0.225, layer=(15, 32)),
        ),
        paper="2411.10803",
        flash_safe=False,
        adaptation="merged after the projector, key tokens unknown to the decoder's filter; no cache policy",
        modalities=("image", "video"),
    ),
    # The evaluation setting of the official README: rho_audio 0.3, rho_video 0.6, contextual_ratio 0.05, G = 3. The
    # anchors come on top of the 1 - rho_audio salient tokens.
    Preset(
        "omnizip",
        parts=(
            Part("omnizip_audio", "projector", keep=0.75, modalities=("audio",)),
            Part("omnizip_video", "projector", keep=0.4, modalities=("video",)),
        ),
        paper="2511.14582",
        flash_safe=False,
        adaptation="anchors are chosen without the video; windows' budgets in proportion, so that the count is met",
    ),
    # The official eval.sh: rho_audio 0.45, rho_video 0.76, contextual_ratio 0.05, G = 3; anchors come on top.
    Preset(
        "dash",
        parts=(
            Part("dash_audio", "projector", keep=0.6, modalities=("audio",)),
            Part("dash_video", "projector", keep=0.24, modalities=("video",)),
        ),
        paper="2603.15685",
        flash_safe=False,
        adaptation="segments begin with a frame; anchors are chosen without the video; counts are met exactly",
    ),
    # Qwen2.5-Omni-7B (28 layers) at R = 25%, the means over the layers being 0.2 of the video and 0.55 of the audio:
    # 1.4 times these before the language model, fewer before layers 16, 18 and 20 by the official
    # `block_wise_ratio_decay_schedule`, and none from layer 23 on.
    Preset(
        "seats",
        parts=(
            *schedules.seats("video", 0.2, 2),
            *schedules.seats("audio", 0.55, 50),
        ),
        paper="2605.20035",
        flash_safe=False,
        adaptation="windows share each modality's budget by its own attention; the last token of each item stays",
    ),
    # R = 25% of the tokens (LLaVA-OneVision, LLaVA-Video, Qwen2-VL; R_RATIO=0.25 in the official code).
    Preset(
        "vidcom2",
        parts=(Part("vidcom2", "projector", keep=0.25),),
        paper="2505.14454",
        adaptation="counts topped up or cut by score, so that the budget is met exactly",
        modalities=("video",),
    ),
    # The official `feature` method at cosine 0.5 (README and scripts), whose count depends on the video (adaptive:
    # true); the abstract gives a reduction of 82.8% on StreamingBench.
    Preset(
        "dtd",
        parts=(Part("dtd", "projector", keep=0.172),),
        paper="2504.17343",
        adaptation="the relative form: every frame after the first keeps the same share, in place of a threshold",
        modalities=("video",),
    ),
    # LLaVA-OneVision: retention 0.10, c = 8, tau = 0.9, d = 0.4, p = 4, beta = 0.6.
    Preset(
        "fastvid",
        parts=(Part("fastvid", "projector", keep=0.1),),
        paper="2503.11187",
        adaptation="frames compared by the mean of their tokens; survivors are not gathered by other anchors as well;"
        " density without noise (noise_seed restores it)",
        modalities=("video",),
    ),
    # LLaVA-OneVision-7B at 10%: expansion 1.25, then 30% of what is left before layer 20 of 28.
    Preset(
        "flashvid",
        parts=(
            Part("flashvid", "projector", keep=0.125),
            Part("fastv", "decoder", keep=0.0375, layer=(20, 28)),
        ),
        paper="2602.08024",
        flash_safe=False,
        adaptation="averages by mass; shares by largest remainders, where the code rounds each up;"
        " density without noise (noise_seed restores it)",
        modalities=("video",),
    ),
    # Qwen2.5-VL-7B on MVBench at 10%: frames keep 0.1 ** 0.7 = 20%, all temperatures and the largest cost are 0.3.
    Preset(
        "ott_vid",
        parts=(Part("ott_vid", "projector", keep=0.1),),
        paper="2605.11803",
        flash_safe=False,
        adaptation="a keep ratio below one token a frame empties frames; averages by mass",
        modalities=("video",),
    ),
    # LLaVA-Video-7B, 10% on average over 28 layers: 12.2% before the language model, half of them from layer 18 on.
    Preset(
        "tango",
        parts=(
            Part("tango", "projector", keep=0.122),
            Part("fastv", "decoder", keep=0.061, layer=(18, 28)),
        ),
        paper="2604.09547",
        flash_safe=False,
        adaptation="sinks of attention are not left out; fewer static places merge where all would leave too few",
        modalities=("video",),
    ),
    # LLaVA-OneVision-7B at 2%, half of it from layer 18 of 28 on.
    Preset(
        "unified_st",
        parts=(
            Part("unified_st", "projector", keep=0.02),
            Part("text_aware", "decoder", keep=0.01, layer=(18, 28)),
        ),
        paper="2603.21957",
        flash_safe=False,
        adaptation="no official code: the share of clusters, the density's k and how scores are scaled not confirmed",
        modalities=("video",),
    ),
    # The published threshold of 0.6 leaves 44.4% of the tokens (adaptive: true).
    Preset(
        "dyntok",
        parts=(Part("dyntok", "projector", keep=0.444),),
        paper="2506.03990",
        adaptation="the relative form, in place of a threshold; which features are compared is not confirmed",
        modalities=("video",),
    ),
    # LLaVA-OneVision-7B on Video-MME at 10%: frames merge after blocks 10, 21 and 23 of 26 (threshold 0.3), half of
    # the tokens go before layer 18 of 28. How many frames are left in the tower depends on the video: a choice made
    # here.
    Preset(
        "earlytom",
        parts=(
            Part("earlytom_frames", "encoder", keep=0.8, layer=(10, 26), params={"threshold": 0.3}),
            Part("earlytom_frames", "encoder", keep=0.65, layer=(21, 26), params={"threshold": 0.3}),
            Part("earlytom_frames", "encoder", keep=0.5, layer=(23, 26), params={"threshold": 0.3}),
            Part("earlytom", "projector", keep=0.1, params={"threshold": 0.3}),
            Part("fastv", "decoder", keep=0.05, layer=(18, 28), params={"recycle": True}),
        ),
        paper="2605.30010",
        flash_safe=False,
        adaptation="fixed counts in the tower: the most alike frames merge; windows anew on the projected features",
        modalities=("video",),
    ),
    # LLaVA-Video-7B (28 layers), before layer 2, trees from root level 1, thresholds 0.85 in space and 0.55 in time on
    # Video-MME for 50% of the tokens (0.80 and 0.50 for 30%).
    Preset(
        "sttm",
        parts=(Part("sttm", "decoder", keep=0.5, layer=(2, 28), params={"space_threshold": 0.85}),),
        paper="2507.07990",
        adaptation="the published threshold in space, in time as many merges as meet the budget; averages by mass;"
        " missing parts of odd sides are not compared",
        modalities=("image", "video"),
    ),
    # tau = 0.9 and epsilon = 0.05 are the defaults of the official README; the count depends on the video (adaptive:
    # true), so the keep ratio is a choice made here.
    Preset(
        "scissor",
        parts=(Part("scissor", "projector", keep=0.35),),
        paper="2506.21862",
        adaptation="exact components; the most alike join first until the budget is met, in equal shares",
        modalities=("image", "video"),
    ),
    # LLaVA-1.5-7B at 64 tokens.
    Preset(
        "scope",
        parts=(Part("scope", "projector", keep=64 / 576),),
        paper="2510.24214",
        flash_safe=False,
        adaptation="features after the projector in place of the tower's",
        modalities=("image", "video", "audio"),
    ),
    # LLaVA-1.5-7B with the official README's SUBSET_RATIO.
    Preset("otprune", (Part("otprune", "projector", keep=0.098),), paper="2602.20205"),
    # LLaVA-1.5-7B at 64 tokens on average; 10 basis tokens.
    Preset(
        "apet",
        (Part("apet", "projector", keep=64 / 576),),
        paper="2602.19870",
        adaptation="one stage, as for Qwen2.5-VL, where LLaVA has 96 tokens, then 32 after 16 of 32 layers",
    ),
    # The keep ratio is a choice made here.
    Preset(
        "floc",
        parts=(Part("floc", "projector", keep=0.25),),
        paper="2511.00141",
        adaptation="over the whole item at once; features, clips and ratio of the published form not confirmed",
        modalities=("image", "video", "audio"),
    ),
    # FiCoCo-V on LLaVA-1.5-7B as the official code is set: 42 tokens a layer in the blocks 12 to 22 of 24, which leaves
    # 114 of 576. Four stages take what the layers have taken by then.
    Preset(
        "ficoco",
        parts=(
            Part("ficoco", "encoder", keep=492 / 576, layer=13 / 23),
            Part("ficoco", "encoder", keep=366 / 576, layer=16 / 23),
            Part("ficoco", "encoder", keep=240 / 576, layer=19 / 23),
            Part("ficoco", "encoder", keep=114 / 576, layer=22 / 23),
        ),
        paper="2411.17686",
        flash_safe=False,
        adaptation="cosines of keys for the attention between patches; four stages for eleven; targets are survivors",
    ),
    # LLaVA-1.5-7B: 16 tokens a block in all 24 blocks (r_total 384) leave 192 of 576 on average. Four stages take what
    # the blocks have taken by then. Thresholds by block come with the official checkpoints; `adaptive: true` takes one.
    Preset(
        "dymu",
        parts=tuple(Part("dymu", "encoder", keep=(576 - 96 * i) / 576, layer=(6 * i - 1) / 23) for i in (1, 2, 3, 4)),
        paper="2504.17040",
        adaptation="a given count for one set by thresholds (adaptive: true); four stages; no virtual unmerging",
    ),
    # Content sets the count (threshold 0 on Qwen3-VL, documents and screens; adaptive: true), so the ratio is a choice
    # made here.
    Preset(
        "pixelprune",
        (Part("pixelprune", "encoder", keep=0.5, layer=0.0),),
        paper="2604.00886",
        adaptation="behind the tower's first block, by patch embeddings; a given count in place of a threshold",
    ),
)
