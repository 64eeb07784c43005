"""Where the files of prompt templates are: shipped ones in ``templates/``, those of other packages by entry point.

A template is one TOML file, so a shipped one needs no module. Another package names its file through an entry point
``recalign.templates`` whose value is a `TemplatePlugin` (``my_package:TEMPLATE``).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from recalign.plugins import PluginGroup


@dataclass(frozen=True)
class TemplatePlugin:
    """A prompt template.

    Attributes:
        file: Its TOML file (`recalign.prompting.template` says what stands in it), such as
            ``importlib.resources.files("my_package") / "shop.toml"``.
    """

    file: Traversable


class _TemplateFiles(PluginGroup[TemplatePlugin]):
    """Built-in templates are the TOML files of the package's folder."""

    def _built_in(self) -> dict[str, str]:
        folder = resources.files(self.package)
        return {file.name.removesuffix(".toml"): file.name for file in folder.iterdir() if file.name.endswith(".toml")}

    def _load_built_in(self, module: str) -> object:
        return TemplatePlugin(resources.files(self.package) / module)


TEMPLATES: Final = _TemplateFiles("templates", "prompt template", "recalign.prompting.templates", TemplatePlugin)
