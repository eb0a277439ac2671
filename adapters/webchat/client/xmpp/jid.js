// Addresses (RFC 7622), as far as a client needs them: the server prepares and
// checks; here they are split, and compared in lower case.

/** Splits an address; {local, domain, resource}, "" for what is not there. */
export function split(jid) {
  const slash = jid.indexOf("/");
  const bare = slash < 0 ? jid : jid.slice(0, slash);
  const at = bare.indexOf("@");
  return {
    local: at < 0 ? "" : bare.slice(0, at),
    domain: bare.slice(at + 1),
    resource: slash < 0 ? "" : jid.slice(slash + 1),
  };
}

/** The address without its resource. */
export function bare(jid) {
  const slash = jid.indexOf("/");
  return slash < 0 ? jid : jid.slice(0, slash);
}

/** What is behind the slash, or "". */
export const resource = (jid) => split(jid).resource;
export const local = (jid) => split(jid).local;
export const domain = (jid) => split(jid).domain;

/**
 * What somebody typed as a bare address, or undefined if it can't be one. A name
 * alone is at `home`, where that is given.
 */
export function typed(text, home) {
  let jid = text.trim().toLowerCase().replace(/^xmpp:/, "").replace(/\?.*$/, "");
  if (!jid.includes("@") && home !== undefined) jid += `@${home}`;
  const ok = /^[^\s"&'/:<>@]{1,1023}@[^\s"&'/<>@]{1,1023}$/u.test(jid);
  return ok ? jid : undefined;
}
