"""Published methods that go by the query."""

from __future__ import annotations

from autotc.presets.base import Part, Preset

QUERY = (
    Preset(
        "cdpruner",
        (Part("cdpruner", "projector", keep=64 / 576),),
        paper="2506.10967",
        adaptation="relevance by the model's own text embeddings for CLIP's, scaled over the item for the batch",
    ),
    # LLaVA-1.5-7B at 64 tokens.
    Preset(
        "mmtok",
        (Part("mmtok", "projector", keep=64 / 576),),
        paper="2508.18264",
        adaptation="all words of the query, stop words too; features after the projector for the item's own coverage",
    ),
    # Qwen2.5-VL-7B (28 layers): half of the tokens before layer 16, a tenth by cosine, a tenth by sine, 1% seeds.
    Preset(
        "ivc_prune",
        (Part("ivc_prune", "decoder", keep=0.5, layer=(16, 28)),),
        paper="2602.03060",
        adaptation="text is the query span; coordinates by the rotation applied; earlier layers' cache stays whole",
    ),
    # Qwen2.5-VL-7B, 128 tokens of 1,296.
    Preset(
        "anchorprune",
        (Part("anchorprune", "projector", keep=128 / 1296),),
        paper="2607.07033",
        flash_safe=False,
        adaptation="relevance as for Qwen2.5-VL on every model; the least anchor as a share of the budget",
    ),
    # LLaVA-1.5-7B at 64 tokens.
    Preset(
        "eadp",
        (Part("eadp", "projector", keep=64 / 576),),
        paper="2607.02484",
        adaptation="words as for Qwen2.5-VL on every model; one share for all crops of a picture",
    ),
    Preset(
        "text_similarity",
        (Part("text_similarity", "projector"),),
        paper="2410.17434",
        adaptation="tokens of the item in place of whole frames",
    ),
    # BLIP-2: 32 queries for 257 tokens of the tower.
    Preset(
        "pooled_query",
        parts=(Part("pooled_query", "projector", keep=32 / 257),),
        paper="2301.12597",
        adaptation="k-means weighted by the cosine to the query, in place of a trained query transformer",
        modalities=("image", "video", "audio"),
    ),
    # LLaVA-1.5-7B at "192 tokens": 300, 200 and 110 kept of 576, plus clusters of 276, 109 and 94 dropped: 9, 4 and 3.
    # The official pruning_loc (2, 6, 15) cuts what layers 2, 6 and 15 put out, that is before layers 3, 7 and 16.
    Preset(
        "sparsevlm",
        parts=(
            Part("sparsevlm", "decoder", keep=309 / 576, layer=(3, 32)),
            Part("sparsevlm", "decoder", keep=204 / 576, layer=(7, 32)),
            Part("sparsevlm", "decoder", keep=113 / 576, layer=(16, 32)),
        ),
        paper="2410.04417",
        flash_safe=False,
        adaptation="raters are words of the query span, chosen at each stage; clusters stand at their centres;"
        " density without noise (noise_seed restores it)",
        modalities=("image", "video", "audio"),
    ),
    # LLaVA-1.5-7B with the outlier rule: about 21% of 576 tokens are left on average.
    Preset(
        "trim",
        parts=(Part("trim", "projector", keep=0.21),),
        paper="2409.10994",
        adaptation="fixed count; cosine to the query in the language model's space, not by a contrastive encoder",
        modalities=("image", "video", "audio"),
    ),
    # LLaVA-NeXT with 10% of 2,880 tokens left.
    Preset(
        "adafv",
        parts=(Part("adafv", "projector", keep=0.1),),
        paper="2501.09532",
        flash_safe=False,
        adaptation="split by the largest product of both attention sums; cosine to the query in the model's own space",
        modalities=("image", "video", "audio"),
    ),
    # Qwen2-Audio on 87.9 s (2197 tokens): 750 after the first phase, 0.8 of these after the second (pruning rate 0.2).
    Preset(
        "speechprune",
        parts=(
            Part("speechprune", "projector", keep=750 / 2197),
            Part("received_attention", "decoder", keep=600 / 2197, layer=(1, 32)),
        ),
        paper="2412.12009",
        adaptation="the second phase reads the first layer's attention itself in place of its estimate from signs",
        modalities=("audio",),
    ),
    # The official evaluation: audio_prune_ratio 0.25, visual_prune_ratio 0.6.
    Preset(
        "omniscope",
        parts=(
            Part("omniscope_audio", "projector", keep=0.75, modalities=("audio",)),
            Part("omniscope_video", "projector", keep=0.4, modalities=("video",)),
        ),
        paper="2607.23193",
        adaptation="frames' relevance by the model's own text embeddings for CLIP's; counts are met exactly",
    ),
)
