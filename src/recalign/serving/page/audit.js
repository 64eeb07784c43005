// What about the data can mislead, in a dialog.

import { element, title } from "/page/dom.js";

/** Show an audit (`/v1/audit`): its button in the header, and the findings that it opens. */
export function showAudit({ data, findings }) {
  const opener = document.getElementById("audit-open");
  opener.hidden = data === null;
  if (data === null) return;
  const warnings = findings.filter((finding) => finding.severity === "warning").length;
  const counts = findings.length ? `${counted(warnings, "warning")}, ${counted(findings.length - warnings, "note")}` : "nothing found";
  opener.textContent = `Audit: ${counts}`;
  document.getElementById("audit-title").replaceChildren("Audit of ", title(data, ""));
  document.getElementById("audit-summary").textContent = `What about this data can mislead: ${counts}.`;
  document.getElementById("findings").replaceChildren(...findings.map(row));
}

/** Let the button open the dialog. Escape closes it, and gives the focus back. */
export function setUpAudit() {
  const dialog = document.getElementById("audit");
  document.getElementById("audit-open").addEventListener("click", () => dialog.showModal());
  document.getElementById("audit-close").addEventListener("click", () => dialog.close());
}

function row({ code, severity, message, examples }) {
  const warning = severity === "warning";
  const made = element(
    "li",
    {},
    element("p", {}, element("span", { className: warning ? "mark warning" : "mark" }, warning ? "Warning" : "Note"), element("strong", {}, code)),
    element("p", {}, `${message[0].toUpperCase()}${message.slice(1)}.`),
  );
  if (examples.length) {
    const shown = examples.map((example) => element("li", {}, title(example, "")));
    made.append(element("ul", { className: "examples muted", "aria-label": "Examples" }, ...shown));
  }
  return made;
}

function counted(number, word) {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}
