// Answers that stand in the page itself: `recalign page` wrote them, and no server is asked.

import { Problem } from "/page/latest.js";

/** The histories that there are answers for: `[{name, note, entries: [{id, title, liked}]}]`. */
export function historiesIn(results) {
  return results.histories.map(({ name, note, entries }) => ({
    name,
    note,
    entries: entries.map(({ item_id: id, title, liked }) => ({ id, title, liked })),
  }));
}

/** An `ask` that answers what the page asks of a server, for these histories alone. */
export function answersOf(results) {
  const places = new Map(historiesIn(results).map(({ entries }, place) => [keyOf(entries), place]));
  const routes = {
    "/readyz": () => ({ models: Object.keys(results.lists) }),
    "/v1/audit": () => results.audit,
    "/v1/verdicts": () => ({ verdicts: results.verdicts }),
    "/v1/recommend": (list) => ({ likes: [], dislikes: [], ...list }),
    "/v1/explain": ({ items }, entries, ids) => ({
      items: items.filter((item) => ids.includes(`id:${item.item_id}`)).map((item) => explained(item, entries)),
    }),
  };
  return async (path, { body } = {}) => {
    if (!(path in routes)) throw new Problem(404, "This page has no server to ask.");
    if (!body) return routes[path]();
    const place = places.get(JSON.stringify([body.likes, body.dislikes]));
    const list = results.lists[body.model][place];
    const items = list.items.map((item, at) => ({ ...item, rank: at + 1 }));
    return routes[path]({ ...list, items }, results.histories[place].entries, body.items);
  };
}

function keyOf(entries) {
  const named = (liked) => entries.filter((entry) => entry.liked === liked).map((entry) => `id:${entry.id}`);
  return JSON.stringify([named(true), named(false)]);
}

// `effects` stand in the order of the history; the strongest comes first, as a server says it.
function explained(item, entries) {
  const influences = entries.map((entry, place) => ({ ...entry, effect: item.effects[place] }));
  influences.sort((one, two) => Math.abs(two.effect) - Math.abs(one.effect));
  return { item_id: item.item_id, influences };
}
