"""The scorer around a language model that a server holds: vLLM or SGLang (`recalign.scoring.servers`).

Prompts are encoded here, as everywhere, and go out as token ids: a server that got text would tokenise history and item
apart. A prompt that is longer than the server takes is refused here, because vLLM cuts it at the right end, where the
answer position is.

The key comes from an environment variable and goes into the request's header, nowhere else: it is taken out of whatever
a server says, and errors of the client library are not chained, because they hold the request.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Final

import numpy as np
import openai
from numpy.typing import NDArray
from pydantic import ValidationError

from recalign.data.catalog import ItemCatalog
from recalign.data.facts import FactFinder
from recalign.errors import ModelError
from recalign.llm.asking import run_to_end
from recalign.llm.endpoint import read_key
from recalign.prompting.encoding import EncodedPrompt, PromptEncoder
from recalign.prompting.tokens import common_prefix
from recalign.scoring.prompted import PromptScorer, ScoreKind
from recalign.scoring.servers import MODELS_PATH, Ask, Endpoint, ModelList, Prompts

KEY_VARIABLE: Final = "RECALIGN_ENDPOINT_KEY"
_MESSAGE: Final = 300  # characters of a server's message that are shown
_HINTS: Final = {
    401: f"Put the server's key into the environment variable {KEY_VARIABLE}.",
    403: f"Put the server's key into the environment variable {KEY_VARIABLE}.",
    404: "Check the kind of server, its version, and the address, which does not end in /v1.",
}


@dataclass(frozen=True, slots=True)
class RemoteLimits:
    """How a server is asked.

    Attributes:
        batch: Most prompts in one request.
        concurrency: Most requests at a time.
        attempts: Times that one request is sent, with waits between them that grow, or are as long as the server asks.
            Only refusals for load (429), errors of the server (5xx) and lost or silent connections are tried again.
        timeout: Seconds without a byte after which an attempt is given up.
        deadline: Seconds for one request, all attempts together.
    """

    batch: int = 64
    concurrency: int = 4
    attempts: int = 6
    timeout: float = 60.0
    deadline: float = 180.0


class RemoteScorer(PromptScorer):
    """A `Scorer` around a model that a server holds. Its scores are those of the model there, in its arithmetic."""

    def __init__(
        self,
        endpoint: Endpoint,
        encoder: PromptEncoder,
        catalog: ItemCatalog,
        *,
        name: str = "remote",
        kind: ScoreKind = "log-odds",
        finder: FactFinder | None = None,
        limits: RemoteLimits = RemoteLimits(),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Ask the server which models it has, and how long prompts may be.

        Args:
            endpoint: Where the model is served. That it is the right one cannot be told from here.
            encoder, catalog, name, kind, finder: See `PromptScorer`.
            limits: Size of requests, retries, deadlines.
            environment: Where the key is, under `KEY_VARIABLE`; by default the environment of the process.

        Raises:
            ConfigError: The key is none.
            ModelError: The server does not answer, or does not have the model.
        """
        super().__init__(encoder, catalog, name=name, kind=kind, finder=finder)
        self.endpoint, self._limits = endpoint, limits
        self._key = read_key(KEY_VARIABLE, os.environ if environment is None else environment)
        # Made once, as it takes longer than a request. Without TLS nothing is verified.
        self._tls: ssl.SSLContext | bool = endpoint.address.startswith("https:") and ssl.create_default_context()
        served = run_to_end(self._models())
        try:
            self._model = served.choose(endpoint.model, adapters=endpoint.server.adapters)
            self._longest = served.longest()
        except ModelError as error:
            raise self._refused(error) from None

    def score_prompts(
        self, prompts: Sequence[EncodedPrompt], sizes: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See `PromptScorer.score_prompts`. Raises ModelError where the server does not answer, or not as it should."""
        longest = max((len(prompt.ids) for prompt in prompts), default=0)
        if longest > self._longest:
            hint = "Start the server with a longer context (vLLM: --max-model-len, SGLang: --context-length)."
            found, expected = f"{longest} tokens", f"at most {self._longest}"
            raise ModelError(f"a prompt for {self._shown}", found=found, expected=expected, hint=hint)
        if not prompts:
            return np.empty(0), np.empty(0)
        yes, no = run_to_end(self._probabilities([list(prompt.ids) for prompt in prompts])).T
        return (yes - no if self.kind == "paper" else np.log(yes) - np.log(no)), np.minimum(yes + no, 1.0)

    @property
    def _shown(self) -> str:
        return f"the endpoint {self.endpoint.kind} at {self.endpoint.address}"

    async def _models(self) -> ModelList:
        async with self._asking() as ask, self._within():
            return ModelList.model_validate(await ask(MODELS_PATH, {}))

    async def _probabilities(self, prompts: Sequence[list[int]]) -> NDArray[np.float64]:
        """Probabilities of yes and no after each prompt, shape (prompts, 2)."""
        size, found = self._limits.batch, np.empty((len(prompts), 2))
        turns, done = asyncio.Semaphore(self._limits.concurrency), 0

        async def fill(ask: Ask, start: int) -> None:
            nonlocal done
            asked = _prompts(prompts[start : start + size])
            answers = self.encoder.yes_id, self.encoder.no_id
            async with turns, self._within():
                values = await self.endpoint.server.probabilities(ask, self._model, asked, answers)
            found[start : start + size] = values
            done += len(values)
            if self.progress is not None:
                self.progress(done, len(prompts))

        async with self._asking() as ask:
            await asyncio.gather(*(fill(ask, start) for start in range(0, len(prompts), size)))
        return found

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Ask]:
        """A client for the running event loop. It tries again what may be tried again."""
        http = openai.DefaultAsyncHttpxClient(follow_redirects=False, timeout=self._limits.timeout, verify=self._tls)
        client = openai.AsyncOpenAI(
            api_key=self._key or "none",  # the client insists on one
            base_url=self.endpoint.address,
            max_retries=self._limits.attempts - 1,
            timeout=self._limits.timeout,
            http_client=http,
        )

        async def ask(path: str, document: Mapping[str, object]) -> object:
            if document:
                return await client.post(path, body=dict(document), cast_to=object)
            return await client.get(path, cast_to=object)

        async with client:
            yield ask

    @asynccontextmanager
    async def _within(self) -> AsyncIterator[None]:
        """The deadline of a request, and what goes wrong with it as one line without the key."""
        limits = self._limits
        try:
            async with asyncio.timeout(limits.deadline):
                yield
            return
        except ModelError as error:
            raised = self._refused(error)
        except openai.APIStatusError as error:
            raised = self._status(error)
        except openai.APITimeoutError:
            raised = self._failed(f"no answer within {limits.timeout:g} s, {limits.attempts} times")
        except openai.APIConnectionError as error:
            raised = self._failed(f"no connection ({type(error.__cause__).__name__})", "Is the server running?")
        except TimeoutError:
            raised = self._failed(f"no complete answer within {limits.deadline:g} s")
        except ValidationError as error:
            told = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in told["loc"])
            raised = self._failed(f"a reply of another form ({place}: {told['msg']})", "Check the kind of server.")
        except (openai.OpenAIError, JSONDecodeError, UnicodeDecodeError) as error:
            raised = self._failed(f"a reply that is no JSON ({type(error).__name__})", _HINTS[404])
        raise raised from None

    def _status(self, error: openai.APIStatusError) -> ModelError:
        body = error.body.get("message") if isinstance(error.body, dict) else error.body
        said = " ".join(str(body or "").split())
        said = (said.replace(self._key, "[key]") if self._key else said)[:_MESSAGE]
        code = int(error.status_code)
        return self._failed(f"HTTP {code} ({said})" if said else f"HTTP {code}", _HINTS.get(code, ""))

    def _failed(self, found: str, hint: str = "") -> ModelError:
        return ModelError(self._shown, found=found, hint=hint)

    def _refused(self, error: ModelError) -> ModelError:
        """The same error with the endpoint's name before it."""
        return ModelError(f"{self._shown}: {error.thing}", found=error.found, expected=error.expected, hint=error.hint)


def _prompts(prompts: Sequence[list[int]]) -> Prompts:
    """What prompts of one request have in common is sent once; at least one token of each stands in its item."""
    shared = min(common_prefix(prompts), min(map(len, prompts)) - 1)
    return Prompts(prompts[0][:shared], [prompt[shared:] for prompt in prompts])
