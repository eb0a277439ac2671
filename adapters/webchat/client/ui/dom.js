// Making elements. Text gets into the page as text alone: nothing here, or
// anywhere else in this client, reads HTML.

/**
 * Makes an element. props: `class`; `text`; `on`, functions by event; whatever
 * else is an attribute: true sets it, false and undefined leave it out. Children
 * are nodes, or text; undefined, null and false are left out.
 */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  set(node, props);
  node.append(...children.flat().filter((c) => c !== undefined && c !== null && c !== false));
  return node;
}

/** Changes an element; props as above. */
export function set(node, props) {
  for (const [name, value] of Object.entries(props)) {
    if (name === "text") {
      if (node.textContent !== value) node.textContent = value;
    } else if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (value === undefined || value === null || value === false) {
      node.removeAttribute(name);
    } else if (node.getAttribute(name) !== String(value)) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  return node;
}

const rows = new WeakMap(); // parent -> Map of key -> node

/**
 * Has parent's children be one for each item, in order: made by make(item) and
 * brought up to date by update(node, item). Nodes stay as long as their key does,
 * and so does the focus.
 */
export function each(parent, items, key, make, update) {
  const before = rows.get(parent) ?? new Map();
  const now = new Map();
  const focused = parent.contains(document.activeElement) ? document.activeElement : undefined;
  let place = parent.firstChild;
  for (const item of items) {
    const k = key(item);
    const node = before.get(k) ?? make(item);
    before.delete(k);
    now.set(k, node);
    update?.(node, item);
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of before.values()) {
    if (node === place) place = place.nextSibling;
    node.remove();
  }
  rows.set(parent, now);
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  send: "M4 12 20 4l-4 16-4-6.5z M12 13.5 20 4",
  back: "M15 5l-7 7 7 7",
  plus: "M12 5v14 M5 12h14",
  people: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z M2.5 20a6.5 6.5 0 0 1 13 0 M16 4.5a3.5 3.5 0 0 1 0 6.2 M18.5 14.5a6.5 6.5 0 0 1 3 5.5",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8z M5 20.5a7 7 0 0 1 14 0",
  hash: "M9 4 7 20 M17 4l-2 16 M4.5 9h16 M3.5 15h16",
  more: "M12 5.5v.01 M12 12v.01 M12 18.5v.01",
  close: "M6 6l12 12 M18 6 6 18",
  check: "M5 12.5l4.5 4.5L19 7.5",
  clock: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z M12 7v5l3.5 2",
  alert: "M12 8v5 M12 16.5v.01 M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
  down: "M12 5v14 M6 13l6 6 6-6",
  edit: "M4 20l1-4.5L16.5 4 20 7.5 8.5 19z",
  leave: "M14 4h5v16h-5 M4 12h11 M11 8l4 4-4 4",
};

/** A drawing that says nothing to who does not see it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows an icon alone. */
export function iconButton(name, label, click, props = {}) {
  return h("button", { type: "button", class: "tool", "aria-label": label, title: label, ...props, on: { click } }, icon(name));
}

/** The mark of a person (a circle) or a room (a hexagon): first letters, and a colour of its own. */
export function mark(name, key, kind) {
  const letters = [...name.replace(/[^\p{L}\p{N} ]/gu, " ").trim().split(/\s+/u).slice(0, 2).map((w) => [...w][0] ?? "").join("")];
  let sum = 2166136261; // FNV-1a
  for (const c of key) sum = Math.imul(sum ^ c.codePointAt(0), 16777619) >>> 0;
  return h("span", { class: `mark ${kind === "room" ? "mark-room" : ""} hue-${(sum >>> 8) % 12}`, "aria-hidden": "true" },
    letters.join("").toLocaleUpperCase() || "?");
}

/** Has something said to who listens to the page. */
export function say(text) {
  const region = document.getElementById("polite");
  region.textContent = "";
  setTimeout(() => { region.textContent = text; }, 50);
}
