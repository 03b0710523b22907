"""`smol-vl`: a LLaVA whose language model is pretrained, its scenes and its training recipe."""
