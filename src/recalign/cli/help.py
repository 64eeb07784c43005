"""What `--help` shows: paragraphs that flow."""

from __future__ import annotations

import inspect
import re
from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """A verb. Its docstring is its help; typer would keep the ends of the docstring's lines."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.help = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(self.help or ""))
