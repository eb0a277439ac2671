// Links in what people wrote. No DOM, so that it can be tested alone.

const LINK = /(?<![\p{L}\p{N}_:])(?:https?:\/\/|xmpp:)[^\s<>"'`\p{Cc}\p{Cf}]+/giu;
const CLOSING = { ")": "(", "]": "[", "}": "{" };

/**
 * Takes text apart: [{text}, {text, href}, ...]; all texts together are the
 * text. Only http, https and xmpp are links, and only what the browser reads as
 * such: what it would show another host for is none.
 */
export function segments(text) {
  const all = [];
  let at = 0;
  for (const { 0: found, index } of text.matchAll(LINK)) {
    const link = trim(found);
    const href = safe(link);
    if (!href) continue;
    if (index > at) all.push({ text: text.slice(at, index) });
    all.push({ text: link, href });
    at = index + link.length;
  }
  if (at < text.length) all.push({ text: text.slice(at) });
  return all;
}

/** Without the punctuation of the sentence around it. */
function trim(link) {
  for (;;) {
    const last = link.at(-1);
    const opening = CLOSING[last];
    const unmatched = opening && link.split(last).length > link.split(opening).length;
    if (!unmatched && !/[.,;:!?…*_~|]/u.test(last)) return link;
    link = link.slice(0, -1);
  }
}

/** The link as the browser may follow it, or undefined. */
export function safe(link) {
  try {
    const url = new URL(link);
    if (url.protocol === "xmpp:") return url.pathname.includes("@") || url.pathname.includes(".") ? url.href : undefined;
    if (url.protocol !== "http:" && url.protocol !== "https:") return undefined;
    // https://bank.example@evil.example/ looks like what it is not.
    return url.username === "" && url.password === "" && url.hostname !== "" ? url.href : undefined;
  } catch {
    return undefined;
  }
}
