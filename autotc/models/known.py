"""How deep the models are that are known by fingerprint, so that policies for them are checked without transformers."""

from __future__ import annotations

from autotc.depths import Depths

_CLIP = {"image": 23}

DEPTHS: dict[str, Depths] = {
    # the embedded model
    "sha256:5d2f2bd55710a2e2817f6304ce899ea2": Depths(
        decoder=6, encoder={"image": 3, "video": 3, "audio": 3}, family="qwen2_5_omni"
    ),
    # the names of `published`, in its order
    "sha256:44425fa21be214fb1b967ba95e5b9d72": Depths(decoder=32, encoder=_CLIP, unread={"image": 1}, family="llava"),
    "sha256:0a3b30d68d027466c4013622d197aa8d": Depths(
        decoder=28, encoder={"image": 32, "video": 32}, family="qwen2_5_vl"
    ),
    "sha256:28821a161e82c1a239eb60979608fb78": Depths(
        decoder=32, encoder=_CLIP, unread={"image": 1}, family="llava_next"
    ),
    "sha256:7d5b667dcefab2fd27ef176cc1c49c23": Depths(
        decoder=28, encoder={"image": 26, "video": 26}, family="llava_onevision"
    ),
    "sha256:e57e6bc17c70eff1f33d94b2020fba73": Depths(
        decoder=36, encoder={"image": 27, "video": 27}, family="qwen3_vl"
    ),
    "sha256:e92a46102bf628d72576ff8f2a60f581": Depths(
        decoder=32,
        encoder={"image": 27, "video": 27},
        recurrent=tuple(layer for layer in range(32) if layer % 4 != 3),
        family="qwen3_5",
    ),
    "sha256:a660439e1acf385f312b306cf246da91": Depths(decoder=40, encoder={"image": 24, "video": 24}, family="glm4v"),
    "sha256:30ef6f934e59f43183ba1cf98015a219": Depths(decoder=40, encoder={"image": 24}, family="mistral3"),
    "sha256:485c67c8036d5ff75a645864fa678745": Depths(
        decoder=28, encoder={"image": 27, "video": 27}, family="video_llama_3"
    ),
    "sha256:481318d4c54f71e5e2fc506190190d82": Depths(decoder=28, encoder={"image": 24}, family="internvl"),
    "sha256:07c0740112f8d6d053278dfdbdd0edcd": Depths(decoder=32, encoder={"audio": 32}, family="qwen2_audio"),
    "sha256:ab22bb7effcec37445d59d8d3badeaf5": Depths(decoder=34, encoder={"image": 27}, family="gemma3"),
    "sha256:5b434dc62e6195a76e7f9711ae4b2119": Depths(decoder=24, encoder={"image": 27}, family="smolvlm"),
}
"""Fingerprint -> depths; a test holds it against the configurations."""
