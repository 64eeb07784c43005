"""The words of a domain (`Domain`): noun, verb, answers, language. A prompt template contains none of its own."""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Words of other languages than that of the fields' defaults.
_WORDS: Final[dict[str, dict[str, str]]] = {
    "de": {
        "noun": "Artikel",
        "noun_plural": "Artikel",
        "verb": "mögen",
        "past": "gemocht",
        "consumed": "gewählte",
        "yes": "Ja.",
        "no": "Nein.",
    },
}
_KNOWN_NOUNS: Final[dict[str, dict[str, str]]] = {
    "movie": {"noun_plural": "movies", "consumed": "watched"},
    "book": {"noun_plural": "books", "consumed": "read"},
}


class Domain(BaseModel):
    """What a domain's items and answers are called. All values are plain text that templates insert.

    Words that are not given come from the language (German: "Artikel", "mögen", "Ja.", "Nein.") and, for the plural,
    from an English noun (``noun="shoe"`` has the plural "shoes"). The fields describe themselves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_min_length=1)

    language: str = Field("en", pattern=r"^[a-zA-Z]{2,3}(-[a-zA-Z0-9]+)*$", description="Tag, such as en or de-AT.")
    noun: str = Field(default="item", description="What one item is called.")
    noun_plural: str = Field(default="items", description="What several items are called.")
    verb: str = Field(default="like", description="What the question asks about the target.")
    past: str = Field(default="liked", description="Past participle of the verb: liked, bought, chosen.")
    consumed: str = Field(default="chosen", description="What the user has done with an item: watched, read, seen.")
    yes: str = Field(default="Yes.", description="The positive answer, as the model must say it.")
    no: str = Field(default="No.", description="The negative answer; it differs from `yes` at the first token.")

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        words = _WORDS.get(str(values.get("language")).split("-")[0].lower(), {})
        noun = values.get("noun")
        if isinstance(noun, str) and noun and not words:
            words = _KNOWN_NOUNS.get(noun, {"noun_plural": _plural(noun)})
        return {**words, **values}

    @model_validator(mode="after")
    def _one_line(self) -> Domain:
        for name in type(self).model_fields:
            value = str(getattr(self, name))
            if len(value.splitlines()) != 1 or value != value.strip():
                raise ValueError(f"{name} must be one line without spaces around it, found {value!r}")
        if self.yes == self.no:
            raise ValueError(f"yes and no must differ, found {self.yes!r} twice")
        return self

    @property
    def primary_language(self) -> str:
        """The language without region or script: "de" for "de-AT"."""
        return self.language.split("-")[0].lower()


def _plural(noun: str) -> str:
    """The regular English plural: shoes, boxes, categories, toys."""
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "z", "ch", "sh")) else f"{noun}s"
