// Elements from data. Text becomes a text node and nothing else, so no title is ever read as markup.

/** An element with properties (`aria-` and `data-` ones are attributes) and children: elements, or text. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [property, value] of Object.entries(properties)) {
    if (property.includes("-") || property === "role") made.setAttribute(property, value);
    else made[property] = value;
  }
  made.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(child))));
  return made;
}

/** A title of the catalogue; its direction of writing does not reach the text around it. */
export function title(text, className = "title") {
  return element("bdi", { className }, text);
}

/** A button; `key` names it, so that the focus finds it again when a list is made anew. */
export function button(key, text, label, onClick) {
  const made = element("button", { type: "button", "data-key": key, "aria-label": label }, text);
  made.addEventListener("click", onClick);
  return made;
}

/** Replace the children of `parent`. The focus stays on the button of the same key, else goes to `otherwise`. */
export function replace(parent, children, otherwise) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  parent.replaceChildren(...children);
  if (focused === undefined) return;
  const again = [...parent.querySelectorAll("[data-key]")].find((made) => made.dataset.key === focused);
  (again ?? otherwise).focus();
}

/** Say something, in a live region, to those who do not see the page change. */
export function say(text, region = document.getElementById("status")) {
  region.textContent = text;
}
