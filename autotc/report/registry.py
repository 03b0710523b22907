"""What `autotc registry` prints."""

from __future__ import annotations

from autotc.records.registry import RegistryListing
from autotc.report.tables import table


def registry_text(listing: RegistryListing) -> str:
    """What was changed, then one line for each version."""
    rows = [[one.name, str(one.version), ", ".join(one.aliases) or "-", one.description] for one in listing.versions]
    shown = table(["name", "version", "aliases", "policy"], rows) if rows else "no policy is registered"
    return f"{listing.done}\n\n{shown}" if listing.done else shown
