"""Figures and tables of what a search found."""
