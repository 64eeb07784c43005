// Where answers come from: the server that sent this page, or the page itself (`recalign page`).

import { answersOf, historiesIn } from "/page/embedded.js";
import { askServer } from "/page/server.js";

const embedded = document.getElementById("embedded");
const results = embedded && JSON.parse(embedded.textContent);

/** The histories that there are answers for; null where any will do. */
export const histories = results && historiesIn(results);

/** The answer of a route; see `askServer`. */
export const ask = results ? answersOf(results) : askServer;
