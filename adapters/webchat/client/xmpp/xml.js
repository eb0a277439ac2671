// XML as XMPP uses it (RFC 6120 section 11): elements, attributes, text. No
// comments, processing instructions, document types or entities of its own: they
// are refused. An element knows its namespace, never its prefix.

export class XMLError extends Error {}

const MAX_DEPTH = 128;
const XML_NS = "http://www.w3.org/XML/1998/namespace";

/** An element: attributes by their names as written, children are elements and strings. */
export class Element {
  constructor(name, ns, attrs = {}, children = []) {
    this.name = name;
    this.ns = ns; // undefined in one that was built: that of its parent
    this.attrs = attrs;
    this.children = children;
  }

  /** Whether it has this name and this namespace. */
  is(name, ns) {
    return this.name === name && this.ns === ns;
  }

  /** Child elements; only those of this name and namespace, where they are given. */
  elements(name, ns) {
    return this.children.filter((c) => c instanceof Element
      && (name === undefined || c.name === name) && (ns === undefined || c.ns === ns));
  }

  /** The first such child element, or undefined. */
  child(name, ns) {
    return this.elements(name, ns)[0];
  }

  /** Its text, without that of its children. */
  get text() {
    return this.children.filter((c) => typeof c === "string").join("");
  }

  /** The text of the first such child, or "". */
  childText(name, ns) {
    return this.child(name, ns)?.text ?? "";
  }

  /** As XML, for a place where the default namespace is `around`. */
  toString(around) {
    const ns = this.ns ?? around;
    let out = "<" + this.name;
    if (ns !== around) out += ` xmlns='${escape(ns)}'`;
    for (const [name, value] of Object.entries(this.attrs)) {
      if (value !== undefined && value !== null) out += ` ${name}='${escape(value)}'`;
    }
    if (this.children.length === 0) return out + "/>";
    out += ">";
    for (const c of this.children) out += c instanceof Element ? c.toString(ns) : escape(c);
    return `${out}</${this.name}>`;
  }
}

/**
 * Builds an element. An attribute `xmlns` is its namespace; without one it has
 * that of its parent. Children that are undefined, null or false are left out.
 */
export function xml(name, attrs = {}, ...children) {
  const { xmlns, ...rest } = attrs;
  return new Element(name, xmlns, rest, children.flat().filter((c) => c !== undefined && c !== null && c !== false));
}

// What XML 1.0 has no place for (section 2.2), lone surrogates among it.
const FORBIDDEN = /[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/gu;
const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;", "\r": "&#xD;" };

/** Text for content or an attribute; what XML has no place for is left out. */
export function escape(text) {
  return String(text).replace(FORBIDDEN, "").replace(/[&<>"'\r]/g, (c) => ESCAPES[c]);
}

const NAMED = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function unescape(text) {
  return text.replace(/&([^;]*);?/g, (whole, name) => {
    if (whole.endsWith(";")) {
      if (Object.hasOwn(NAMED, name)) return NAMED[name];
      const number = /^#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}))$/.exec(name);
      if (number) {
        const code = number[1] ? parseInt(number[1], 16) : parseInt(number[2], 10);
        if (code <= 0x10FFFF) {
          const c = String.fromCodePoint(code);
          if (c.replace(FORBIDDEN, "") === c) return c;
        }
      }
    }
    throw new XMLError("an entity that is not one of XML's own");
  });
}

const NAME = "[A-Za-z_\\u{C0}-\\u{FFFD}][\\w.\\-\\u{B7}\\u{C0}-\\u{FFFD}]*";
const START = new RegExp(`<(?:(${NAME}):)?(${NAME})((?:\\s+${NAME}(?::${NAME})?\\s*=\\s*(?:"[^"<]*"|'[^'<]*'))*)\\s*(/?)>`, "uy");
const ATTR = new RegExp(`\\s+(${NAME}(?::${NAME})?)\\s*=\\s*(?:"([^"<]*)"|'([^'<]*)')`, "ug");
const END = new RegExp(`</((?:${NAME}:)?${NAME})\\s*>`, "uy");
const TEXT = /[^<]+/y;
const CDATA = /<!\[CDATA\[([^]*?)\]\]>/y;
const SPACE = /\s*/y;

function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** Reads one element, which is all there is in text but white space. Throws XMLError. */
export function parse(text) {
  let at = match(SPACE, text, 0)[0].length;
  const open = []; // {element, qname, scope}
  let root;
  do {
    const start = match(START, text, at);
    const parent = open.at(-1);
    if (start) {
      at += start[0].length;
      const element = begin(start, parent?.scope ?? Object.assign(Object.create(null), { xml: XML_NS }));
      if (parent) parent.element.children.push(element.element);
      else root = element.element;
      if (start[4] === "") open.push(element);
      if (open.length > MAX_DEPTH) throw new XMLError("nested too deep");
      continue;
    }
    if (!parent) throw new XMLError("no element");
    const end = match(END, text, at);
    if (end) {
      if (end[1] !== parent.qname) throw new XMLError("an end tag that does not fit");
      open.pop();
      at += end[0].length;
      continue;
    }
    const words = match(TEXT, text, at) ?? match(CDATA, text, at);
    if (!words) throw new XMLError("what is not well-formed");
    add(parent.element, words[1] ?? unescape(words[0].replace(/\r\n?/g, "\n")));
    at += words[0].length;
  } while (open.length > 0);
  if (at + match(SPACE, text, at)[0].length !== text.length) throw new XMLError("more than one element");
  return root;
}

function begin([, prefix, name, attributes], outer) {
  const attrs = {};
  let scope = outer;
  for (const [, key, double, single] of attributes.matchAll(ATTR)) {
    if (Object.hasOwn(attrs, key)) throw new XMLError("an attribute twice");
    const value = unescape(double ?? single);
    if (key === "xmlns" || key.startsWith("xmlns:")) {
      if (scope === outer) scope = Object.create(outer);
      scope[key === "xmlns" ? "" : key.slice(6)] = value;
    } else {
      attrs[key] = value;
    }
  }
  const ns = scope[prefix ?? ""];
  if (prefix !== undefined && ns === undefined) throw new XMLError("a prefix that is not declared");
  return { element: new Element(name, ns ?? "", attrs), qname: prefix ? `${prefix}:${name}` : name, scope };
}

function add(element, text) {
  const last = element.children.length - 1;
  if (typeof element.children[last] === "string") element.children[last] += text;
  else element.children.push(text);
}
