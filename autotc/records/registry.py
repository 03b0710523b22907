"""What the model registry holds of policies."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from autotc.tabular import html_table


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered policy.

    Attributes:
        name: of the registered model.
        version: its number.
        aliases: that it has.
        description: of it.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class RegistryListing:
    """Registered policies, newest version of each name first.

    Attributes:
        versions: of all names that were asked for.
        done: what was changed, in a sentence; empty where nothing was.
    """

    versions: tuple[RegisteredVersion, ...]
    done: str = ""

    def to_json(self) -> dict[str, object]:
        """The ``--json`` document."""
        return {"done": self.done, "versions": [asdict(version) for version in self.versions]}

    def _repr_html_(self) -> str:
        return html_table([asdict(version) for version in self.versions], self.done or "registered policies")
