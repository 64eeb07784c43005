"""How a language model is asked: endpoint, limits, retries, budget. Each parameter is declared here and only here."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

OPENAI_URL: Final = "https://api.openai.com/v1"
Temperature: TypeAlias = Annotated[float, Field(ge=0, le=2, description="Sampling temperature; 0 is greedy.")]


def plain_address(value: str) -> str:
    """An address as it is recorded and shown, so it must hold no password. Raises ValueError for others."""
    parts = urlsplit(value)
    plain = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    if not plain or parts.query or parts.fragment or not value.isprintable() or " " in value:
        raise ValueError("must be http(s)://host/path without user, password or query")
    return value.rstrip("/")


class ClientConfig(BaseModel):
    """Whatever any question to a language model needs, whatever it is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: Temperature = 0.0
    max_tokens: int = Field(512, ge=1, description="Longest answer, in tokens.")
    base_url: str | None = Field(None, description=f"Address of the endpoint; {OPENAI_URL} if not given.")
    key_env: str = Field(
        "OPENAI_API_KEY", pattern=r"^\w+$", description="Name of the environment variable that holds the API key."
    )
    length_parameter: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="What the endpoint calls the length limit; reasoning models want the second."
    )
    concurrency: int = Field(8, ge=1, le=1024, description="Most calls in flight.")
    deadline: float = Field(120.0, gt=0, description="Seconds for one call, from connecting to the last byte.")
    attempts: int = Field(6, ge=1, description="Calls made for one answer before it is given up.")
    longest_wait: float = Field(
        120.0, ge=0, description="Longest wait between attempts, in seconds; a server that asks for more stops the run."
    )
    failures: int = Field(10, ge=1, description="Answers given up in a row after which the run stops.")
    max_tokens_total: int | None = Field(None, ge=1, description="Most tokens spent, prompts and answers together.")
    max_cost: float | None = Field(None, gt=0, description="Most money spent; needs both prices.")
    price_in: float | None = Field(None, ge=0, description="Price of a million prompt tokens.")
    price_out: float | None = Field(None, ge=0, description="Price of a million answer tokens.")

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, value: str | None) -> str | None:
        return None if value is None else plain_address(value)

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.max_cost is not None and (self.price_in is None or self.price_out is None):
            raise ValueError("max_cost needs price_in and price_out")
        return self
