"""Query mechanisms: relevance to the instruction."""
