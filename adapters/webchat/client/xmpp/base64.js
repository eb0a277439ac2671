// Base 64 (RFC 4648 section 4), of bytes and of text as UTF-8.

export function encode(data) {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  let binary = "";
  for (const b of bytes) binary += String.fromCharCode(b);
  return btoa(binary);
}

/** Throws when text is none. */
export function decode(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

export function decodeText(text) {
  return new TextDecoder("utf-8", { fatal: true }).decode(decode(text));
}
