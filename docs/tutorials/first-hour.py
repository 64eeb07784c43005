# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A first hour with recalign
#
# Ratings and titles go in; a tuned language model, an honest evaluation and recommendations come out. Everything here
# is generated data and a very small model, so that it runs on any laptop in minutes. It shows how the parts fit
# together, not how good the method is. `first-hour.py` beside this notebook is its source.

# %%
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import polars as pl
from transformers import AutoTokenizer

import recalign
from recalign.tuning.model_artifact import backbone_of

folder = Path(tempfile.mkdtemp())
plt.rcParams.update(
    {"figure.dpi": 80, "figure.figsize": (7, 3.2), "axes.spines.top": False, "axes.spines.right": False}
)

# %% [markdown]
# ## Ratings become samples
#
# `prepare` reads ratings (here it makes them up) and cuts them by a protocol. With *leave-one-out* a user's last movie
# is the test target, the one before it the validation target, and the earlier ones are for training.

# %%
data = recalign.prepare("synthetic", folder / "data", users=200, items=200)
test = data.frame("test")
print(f"{len(data.catalog.ids)} movies; {test.height} test samples of {test['user_id'].n_unique()} users")

# %% [markdown]
# A sample asks one question: will this user like that movie? The model reads it as text.

# %%
first = json.loads((folder / "data" / "test.jsonl").read_text().splitlines()[0])
print(first["instruction"], first["input"], sep="\n")

# %% [markdown]
# ## What needs no learning
#
# A *prior* is a score that nobody has to train: the share of liked items in the history, the mean of an item's ratings,
# the two together. Whatever a model does has to be seen beside them.

# %%
priors = recalign.evaluate(["prior:like-rate"], data)
for row in priors.rows:
    print(f"{row.model:28} AUC {row.mean('auc'):.2f}")

# %% [markdown]
# ## Tuning
#
# *nano* is a small language model that recalign pretrains on the titles of the catalogue. Tuning teaches it to answer
# the questions of the training samples. Its log has the loss of every tenth step.

# %%
model = recalign.tune(
    [folder / "data"],
    folder / "model",
    settings={
        "nano": {
            "hidden": 64,
            "layers": 1,
            "heads": 4,
            "intermediate": 128,
            "vocabulary": 800,
            "steps": 20,
            "batch_tokens": 2048,
        },
        "batch_size": 32,
        "sampling": {"targets_per_history": 12},
        "optim": {"lr": 5e-3},
        "max_steps": 40,
    },
)
log = [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]
losses = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]

figure, axes = plt.subplots(layout="constrained")
axes.plot(*zip(*losses, strict=True), marker="o")
axes.set(xlabel="step", ylabel="loss", title="Loss on training samples")
plt.show()

# %% [markdown]
# ## Is it any good?
#
# AUC is the chance that a liked sample stands above a disliked one. The bars are 95 % intervals over users. A model
# *beats the priors* only if its difference from the best of them, on the same samples, lies above zero with its whole
# interval. With data and a model of this size it does not: in seconds it has learnt to count how much was liked, and
# little more.

# %%
panel = recalign.evaluate([model], data, output=folder / "scores.parquet")
rows = [row for row in panel.rows if row.mean("auc") is not None]
figure, axes = plt.subplots(layout="constrained")
for place, row in enumerate(rows):
    colour = "tab:blue" if row.kind == "tuned" else "tab:gray"
    axes.plot(row.metrics["auc"].ci, [place, place], color=colour)
    axes.plot(row.mean("auc"), place, "o", color=colour)
axes.set_yticks(range(len(rows)), [row.model for row in rows])
axes.invert_yaxis()
axes.axvline(0.5, color="lightgray")
axes.set(xlabel="AUC with 95 % interval", title="The model beside the priors")
plt.show()
tuned = next(row for row in rows if row.kind == "tuned")
print(f"the model: AUC {tuned.mean('auc'):.2f}")
print(f"best prior: AUC {max(row.mean('auc') for row in rows if row.kind == 'prior'):.2f}")

# %% [markdown]
# Every score is kept in a file. It is the logarithm of the odds of *Yes*, so liked samples should lie to the right.

# %%
scores = pl.read_parquet(folder / "scores.parquet")
figure, axes = plt.subplots(layout="constrained")
for label, name in ((1, "liked"), (0, "not liked")):
    axes.hist(scores.filter(pl.col("label") == label)["score"], bins=30, alpha=0.6, label=name, density=True)
axes.set(xlabel="score (log-odds of Yes)", title="Scores of the test samples")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## What shared prompts save
#
# Ranking asks many questions about one history, and these begin alike: the instruction and the history are the same.
# Each token that prompts have in common is computed once. So what has to be computed are the different beginnings.

# %%
tokenizer = AutoTokenizer.from_pretrained(backbone_of(model).name)
question, _, asked = first["input"].rpartition("\n")
prompts = [f'{first["instruction"]}\n{question}\n"{data.catalog.title(item)}"?' for item in data.catalog.ids]
counts = (1, 2, 5, 10, 20, 50, 100)
alone, shared = [], []
for count in counts:
    ids = [tokenizer(prompt).input_ids for prompt in prompts[:count]]
    alone.append(sum(map(len, ids)))
    shared.append(len({tuple(tokens[:end]) for tokens in ids for end in range(1, len(tokens) + 1)}))

figure, axes = plt.subplots(layout="constrained")
axes.plot(counts, alone, marker="o", label="each prompt by itself")
axes.plot(counts, shared, marker="o", label="what they share once")
axes.set(xscale="log", yscale="log", xlabel="candidates of one history", ylabel="tokens", title="Tokens to compute")
axes.legend(frameon=False)
plt.show()
print(f"{counts[-1]} candidates: {alone[-1]} tokens one by one, {shared[-1]} with shared beginnings")

# %% [markdown]
# ## Recommendations
#
# Likes and dislikes are titles; the user need not be in the data. With `explain` each title of the history tells
# what it does to the score: the score is computed again without it.

# %% tags=["varies"]
recommender = recalign.Recommender.load(model)
likes, dislikes = [data.catalog.title(item) for item in data.catalog.ids[:2]], [data.catalog.title(data.catalog.ids[5])]
print("likes", likes, "dislikes", dislikes)
for item in recommender.recommend(likes=likes, dislikes=dislikes, k=5, explain=True):
    strongest = item.influences[0]
    print(f"{item.rank} {item.title:32} {item.score:+.2f}  {strongest.title}: {strongest.effect:+.2f}")

# %% [markdown]
# ## Where to go
#
# The same on your own ratings, with a real language model, and as a server with a page: the tutorials beside this one
# say how. What the words mean (prior, protocol, stage) is explained on pages of their own.
