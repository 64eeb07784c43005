"""One file per dataset; its record (`recalign.data.reader`) says what is known of the dataset and how it is read."""

from __future__ import annotations

from typing import Final

from recalign.data.reader import Reader
from recalign.plugins import PluginGroup

READERS: Final = PluginGroup("readers", "dataset", "recalign.data.readers", Reader)
