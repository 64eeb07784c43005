// One model's list, with the reasons for each item.

import { ask } from "/page/api.js";
import { button, element, replace, say, title } from "/page/dom.js";
import { Latest, Problem } from "/page/latest.js";

export const COUNT = 10;
const PRIOR = "prior:"; // how their names begin
const DIGITS = 3;
const SCALE = 1; // log-odds at which a bar ends: so much turns 50 % into 73 %
const MOST_DIGITS = 6;
const NOTHING = { items: [], near_ties: "" };
const REFUSED = new Set([401, 404, 422]); // the same request would be refused again

/** Whether this is a prior beside the models. */
export function isPrior(name) {
  return name.startsWith(PRIOR);
}

/** A list that one model ranks. `taste` changes what the person likes. */
export class Column {
  #latest = new Latest();
  #reasons = new Latest();
  #asked = {};
  #open = new Set();
  #begun = false;
  #explained = new Map();
  #items = [];
  #other = null;

  /** `mark(item, liked)` likes or dislikes, null where nobody may; `failed(problem)` hears why an answer is missing; `changed()` of a new list. */
  constructor(model, { mark, failed, changed }) {
    this.model = model;
    this.mark = mark;
    this.failed = failed;
    this.changed = changed;
    this.list = element("ol", { className: "ranked" });
    this.note = element("p", { className: "note muted" });
    this.voice = element("p", { className: "visually-hidden", role: "status" });
    this.heading = element("h3", { tabIndex: -1 }, model);
    const prior = isPrior(model);
    const text = prior ? "A prior: nothing learned, the training data counted." : "";
    this.about = element("p", { className: `about small ${prior ? "muted" : "verdict"}`, hidden: !text }, text);
    this.alike = element("p", { className: "alike small muted" });
    this.unit = element("p", { className: "unit small muted", hidden: true }, "Chance of a like");
    const parts = [this.heading, this.about, this.note, this.alike, this.unit, this.list, this.voice];
    this.root = element("article", { className: "column", "aria-label": model }, ...parts);
  }

  /** Ids in their order, or null where there is no list. */
  get ids() {
    return this.#items.length ? this.#items.map((item) => item.item_id) : null;
  }

  /** Say what an evaluation found of the model: `{text}` of `/v1/verdicts`, where there is one. */
  judge(verdict) {
    if (!verdict) return;
    this.about.textContent = verdict.text;
    this.about.hidden = false;
  }

  /** No answer is waited for any more. */
  stop() {
    this.#latest.cancel();
    this.#reasons.cancel();
  }

  /** Ask for the list of a history: `[{id, title, liked}]`. */
  update(history) {
    this.#reasons.cancel();
    if (!history.length) {
      this.stop();
      this.#show(NOTHING, "Like a title, and the list appears here.");
      return;
    }
    const named = (liked) => history.filter((entry) => entry.liked === liked).map((entry) => `id:${entry.id}`);
    this.#asked = { model: this.model, likes: named(true), dislikes: named(false) };
    this.root.setAttribute("aria-busy", "true");
    this.#latest.run(
      (signal) => ask("/v1/recommend", { body: { ...this.#asked, k: COUNT }, signal }),
      (answer) => {
        const mistaken = mistake(history, [...answer.likes, ...answer.dislikes]);
        if (mistaken) return this.#fail(new Problem(422, mistaken), history);
        if (!this.#begun && answer.items.length) this.#open.add(answer.items[0].item_id); // to show that there is a why
        this.#begun = true;
        this.#show(answer, answer.items.length ? "" : "No item is left.");
        const first = answer.items.length ? ` First: ${answer.items[0].title}.` : "";
        say(`${this.model}: ${answer.items.length} items.${first}`, this.voice);
        this.#explain();
      },
      (problem) => this.#fail(problem, history),
    );
  }

  /** Say where the other column has each item; null where there is none. */
  compare(other) {
    this.#other = other;
    this.#render();
  }

  #fail(problem, history) {
    const again = button("again", "Try again", "Try again", () => this.update(history));
    this.#show(NOTHING, problem.message, ...(REFUSED.has(problem.status) ? [] : [again]));
    this.note.classList.add("problem");
    say(`${this.model}: ${problem.message}`, this.voice);
    this.failed(problem);
  }

  #show(answer, note, ...more) {
    this.#items = answer.items;
    this.#explained.clear();
    this.root.setAttribute("aria-busy", "false");
    this.note.className = "note muted";
    this.note.hidden = !note;
    replace(this.note, [note, " ", ...more], this.heading);
    this.alike.textContent = answer.near_ties;
    this.alike.hidden = !answer.near_ties;
    this.unit.hidden = (answer.items[0]?.probability ?? null) === null; // other scores are an order, in no unit
    this.#render();
    this.changed();
  }

  // Reasons cost a request for each entry of the history, so only those are asked for that are open.
  #explain() {
    const ids = this.#items.map((item) => item.item_id).filter((id) => this.#open.has(id) && !this.#explained.has(id));
    if (!ids.length) return;
    this.#reasons.run(
      (signal) => ask("/v1/explain", { body: { ...this.#asked, items: ids.map((id) => `id:${id}`) }, signal }),
      (answer) => {
        for (const item of answer.items) this.#explained.set(item.item_id, item.influences);
        this.#render();
      },
      (problem) => {
        for (const id of ids) this.#explained.set(id, problem.message);
        this.#render();
        say(`${this.model}: ${problem.message}`, this.voice);
        this.failed(problem);
      },
    );
  }

  #toggle(id) {
    if (this.#open.delete(id)) {
      this.#explained.delete(id);
      this.#render();
      return;
    }
    this.#open.add(id);
    this.#render();
    this.#explain();
  }

  #render() {
    replace(this.list, this.#items.map((item) => this.#row(item)), this.heading);
  }

  #row(item) {
    const id = item.item_id;
    const open = this.#open.has(id);
    const why = button(`why ${id}`, "Why?", `Why ${item.title}?`, () => this.#toggle(id));
    why.setAttribute("aria-expanded", String(open));
    const marks = (this.mark ? [true, false] : []).map((liked) => {
      const word = liked ? "Like" : "Dislike";
      return button(`${word} ${id}`, word, `${word} ${item.title}`, () => this.mark({ id, title: item.title }, liked));
    });
    const row = element(
      "li",
      {},
      element("div", { className: "head" }, element("span", { className: "rank" }, String(item.rank)), title(item.title), value(item)),
      element("div", { className: "actions" }, why, ...marks, this.#elsewhere(id)),
    );
    if (open) row.append(reasons(this.#explained.get(id), item.probability !== null));
    return row;
  }

  #elsewhere(id) {
    const made = element("span", { className: "elsewhere muted" });
    const ids = this.#other?.ids;
    if (ids) {
      const place = ids.indexOf(id);
      made.append(title(this.#other.model.replace(PRIOR, ""), ""), place < 0 ? `: not in its ${ids.length}` : `: number ${place + 1}`);
    }
    return made;
  }
}

/** Models can have catalogues in which one id names different items. Then their answers are about other titles. */
function mistake(history, matches) {
  const meant = new Map(history.map((entry) => [entry.id, entry.title]));
  const wrong = matches.find((match) => meant.get(match.item_id) !== match.title);
  if (!wrong) return null;
  return `This model has another catalogue: it takes “${meant.get(wrong.item_id)}” for “${wrong.title}”.`;
}

function value(item) {
  const probability = item.probability;
  const text = probability === null ? item.score.toFixed(DIGITS) : `${(100 * probability).toFixed(1)} %`;
  const made = element("span", { className: "value" }, text);
  if (probability === null) return made;
  const bar = element("span", { className: "gauge", "aria-hidden": "true" }, element("span"));
  bar.firstChild.style.width = `${100 * probability}%`;
  return element("span", { className: "score" }, bar, made);
}

/** Bars of what each entry of the history does to the score; or words, where there are none (yet). */
function reasons(influences, logOdds) {
  if (!Array.isArray(influences)) {
    return element("p", { className: "reasons muted" }, influences ?? "Measuring …");
  }
  const largest = Math.max(...influences.map((influence) => Math.abs(influence.effect)));
  if (Number(largest.toFixed(MOST_DIGITS)) === 0) {
    return element("p", { className: "reasons muted" }, "No liked or disliked title changes this score.");
  }
  const digits = Math.min(Math.max(2 - Math.floor(Math.log10(largest)), DIGITS), MOST_DIGITS);
  const end = logOdds ? SCALE : largest;
  const scale = logOdds ? `In log-odds; bars end at ${SCALE}, which turns 50\u00a0% into 73\u00a0%.` : `The longest bar is ${largest.toFixed(digits)}.`;
  const rows = influences.map(({ title: name, liked, effect }) => {
    const bar = element("span", { className: effect < 0 ? "bar down" : "bar up" });
    bar.style.width = `${50 * Math.min(Math.abs(effect) / end, 1)}%`;
    return element(
      "li",
      {},
      element("span", {}, element("span", { className: "muted" }, liked ? "liked " : "disliked "), title(name)),
      element("span", { className: "axis", "aria-hidden": "true" }, bar),
      element("span", { className: "effect" }, signed(effect, digits)),
    );
  });
  return element(
    "div",
    { className: "reasons" },
    element("p", { className: "muted" }, "What each liked or disliked title does to this score: with it minus without it. ", scale),
    element("ul", {}, ...rows),
  );
}

function signed(number, digits) {
  const text = Math.abs(number).toFixed(digits);
  if (Number(text) === 0) return text;
  return (number < 0 ? "−" : "+") + text;
}
