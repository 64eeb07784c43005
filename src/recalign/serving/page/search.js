// The search field: a combobox whose list is what the server finds for the text.

import { ask } from "/page/api.js";
import { element, say, title } from "/page/dom.js";
import { Latest } from "/page/latest.js";

const LIMIT = 8;

/** Set up the field. `choose(item, liked)` is called for a choice, `failed(problem)` where the server has no answer. */
export function setUpSearch({ choose, failed, model }) {
  const input = document.getElementById("search");
  const list = document.getElementById("suggestions");
  const latest = new Latest();
  let items = [];
  let active = -1;
  let waiting = false; // for what the server finds for the text as it stands
  let early = null; // liked or disliked before that came

  function close() {
    latest.cancel();
    waiting = false;
    items = [];
    active = -1;
    list.hidden = true;
    list.replaceChildren();
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function activate(place) {
    active = place;
    [...list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === place)));
    list.children[place].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", `suggestion-${place}`);
  }

  function take(place, liked) {
    const item = items[place];
    input.value = "";
    close();
    choose({ id: item.item_id, title: item.title }, liked);
  }

  function option(item, place) {
    const made = element("li", { id: `suggestion-${place}`, role: "option", "aria-selected": "false" }, title(item.title));
    made.addEventListener("mousedown", (event) => event.preventDefault()); // the focus stays in the field
    made.addEventListener("click", (event) => take(place, !event.shiftKey));
    return made;
  }

  function show(answer) {
    waiting = false;
    items = answer.items;
    if (early !== null && items.length) return take(0, early);
    if (!items.length) {
      const none = { className: "none", role: "option", "aria-disabled": "true" };
      list.replaceChildren(element("li", none, "No title has words that begin like that"));
    } else {
      list.replaceChildren(...items.map(option));
    }
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    if (items.length) activate(0);
    say(items.length ? `${items.length} titles. ${items[0].title}` : "No title found");
  }

  function look() {
    const text = input.value.trim();
    if (!text) return close();
    waiting = true;
    early = null;
    const query = new URLSearchParams({ q: text, limit: LIMIT, model: model() });
    latest.run(
      (signal) => ask(`/v1/items?${query}`, { signal }),
      show,
      (problem) => {
        close();
        failed(problem);
      },
    );
  }

  const keys = {
    ArrowDown: () => items.length && activate((active + 1) % items.length),
    ArrowUp: () => items.length && activate((active + items.length - 1) % items.length),
    Enter: (event) => {
      if (waiting) early = !event.shiftKey;
      else if (items.length) take(active, !event.shiftKey);
    },
    Escape: () => {
      if (list.hidden) input.value = "";
      close();
    },
  };
  input.addEventListener("input", look);
  input.addEventListener("blur", close);
  input.addEventListener("focus", () => input.value && look());
  input.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.isComposing) return;
    event.preventDefault();
    keys[event.key](event);
  });
}
