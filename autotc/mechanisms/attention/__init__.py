"""Attention mechanisms: importance by attention, and by what attention-free proxies see."""
