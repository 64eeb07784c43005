// The page: what a person likes on one side, what models make of it on the other.

import { ask, histories } from "/page/api.js";
import { setUpAudit, showAudit } from "/page/audit.js";
import { Column, isPrior } from "/page/column.js";
import { button, element, replace, say, title } from "/page/dom.js";
import { setUpSearch } from "/page/search.js";
import { useKey } from "/page/server.js";

const byId = (id) => document.getElementById(id);
const NONE = ""; // the choice of no second model

let history = []; // {id, title, liked}, oldest first
let columns = [];
let verdicts = {}; // by model
let decided = false; // whether somebody chose a model or a prior

function change(next) {
  history = next;
  byId("problem").hidden = true;
  showHistory();
  columns.forEach((column) => column.update(history));
}

function mark(item, liked) {
  const known = history.findIndex((entry) => entry.id === item.id);
  const entry = { ...item, liked };
  change(known < 0 ? [...history, entry] : history.with(known, entry));
}

function remove(id) {
  change(history.filter((entry) => entry.id !== id));
}

function showHistory() {
  const rows = history.map(histories ? fixedRow : changeableRow);
  replace(byId("history"), rows, byId("search"));
  byId("clear").hidden = !history.length || histories !== null;
}

function fixedRow(entry) {
  const [word, className] = entry.liked ? ["Liked", "turn liked"] : ["Disliked", "turn disliked"];
  return element("li", {}, element("span", { className }, word), title(entry.title));
}

function changeableRow(entry) {
  const word = entry.liked ? "Liked" : "Disliked";
  const turn = `${word}: ${entry.title}. Change to ${entry.liked ? "disliked" : "liked"}`;
  const turned = button(`turn ${entry.id}`, word, turn, () => mark(entry, !entry.liked));
  turned.className = entry.liked ? "turn liked" : "turn disliked";
  const gone = button(`remove ${entry.id}`, "×", `Remove ${entry.title}`, () => remove(entry.id));
  gone.className = "remove";
  return element("li", {}, turned, title(entry.title), gone);
}

function needKey(problem) {
  if (problem.status !== 401 || !byId("key-form").hidden) return;
  byId("key-form").hidden = false;
  byId("key").focus();
}

function failed(problem) {
  const again = button("again", "Try again", "Try again", () => {
    byId("problem").hidden = true;
    if (columns.length) byId("search").focus();
    else start();
  });
  byId("problem").replaceChildren(problem.message, " ", again);
  byId("problem").hidden = problem.status === 401; // the form for the key says it
  say(problem.message);
  needKey(problem);
}

function showColumns() {
  columns.forEach((column) => column.stop());
  const chosen = [byId("first-model").value, byId("second-model").value];
  const names = [...new Set(chosen)].filter((name) => name !== NONE);
  columns = names.map((name) => new Column(name, { mark: histories ? null : mark, failed: needKey, changed: compare }));
  byId("columns").replaceChildren(...columns.map((column) => column.root));
  byId("columns").classList.toggle("two", columns.length > 1);
  judgeColumns();
  columns.forEach((column) => column.update(history));
}

function judgeColumns() {
  columns.forEach((column) => column.judge(verdicts[column.model]));
}

// What can mislead: in the data, and in believing a model.
async function showJudgements() {
  showAudit(await ask("/v1/audit")); // also says at once whether a key is needed
  verdicts = (await ask("/v1/verdicts")).verdicts;
  judgeColumns();
  standBeside(verdicts[byId("first-model").value]?.prior);
}

// The prior that the verdict speaks of is the one to look at, where the page has it and nobody chose another.
function standBeside(prior) {
  const second = byId("second-model");
  const known = [...second.options].some(({ value }) => value === prior);
  if (decided || !known || !isPrior(second.value) || second.value === prior) return;
  second.value = prior;
  showColumns();
}

function compare() {
  if (columns.length < 2) return;
  columns[0].compare(columns[1]);
  columns[1].compare(columns[0]);
}

// Priors stand apart from models: they learned nothing.
function options(names) {
  const option = (name) => element("option", { value: name }, name);
  const [priors, models] = [true, false].map((prior) => names.filter((name) => isPrior(name) === prior).map(option));
  if (!priors.length) return models;
  return [element("optgroup", { label: "Models" }, ...models), element("optgroup", { label: "Priors" }, ...priors)];
}

function showModels(names) {
  byId("first-model").replaceChildren(...options(names));
  byId("second-model").replaceChildren(element("option", { value: NONE }, "none"), ...options(names));
  byId("second-model").value = names[1] ?? NONE;
  byId("models").hidden = names.length < 2;
  showColumns();
}

async function start() {
  try {
    showModels((await ask("/readyz")).models);
    await showJudgements();
  } catch (problem) {
    failed(problem);
  }
}

function setUpPicker() {
  const picker = byId("picker");
  picker.parentElement.hidden = histories.length < 2;
  picker.replaceChildren(...histories.map(({ name }, place) => element("option", { value: place }, name)));
  picker.addEventListener("change", () => showPerson(histories[picker.value]));
  showPerson(histories[0]);
}

function showPerson({ note, entries }) {
  byId("history-note").textContent = note;
  byId("history-note").hidden = !note;
  change(entries);
}

byId("clear").addEventListener("click", () => {
  change([]);
  byId("search").focus();
});
for (const id of ["first-model", "second-model"]) {
  byId(id).addEventListener("change", () => {
    decided = true;
    showColumns();
  });
}
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value.trim());
  byId("key").value = "";
  byId("key-form").hidden = true;
  byId("search").focus();
  columns.forEach((column) => column.update(history));
  showJudgements().catch(failed);
});
setUpAudit();
if (histories) setUpPicker();
else setUpSearch({ choose: mark, failed, model: () => byId("first-model").value });
start();
