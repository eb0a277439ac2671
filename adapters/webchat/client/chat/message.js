// From stanzas to messages: whose it is, when it was said, which copies of it are
// to be believed.

import * as jids from "../xmpp/jid.js";
import * as ns from "../xmpp/ns.js";

/**
 * Reads what came as <message/>. me is the own bare address. Returns undefined
 * for what must not be believed, else
 *   {stanza, type, from, to, mine, id, archive, time, body, live, carbon}
 * mine: this account has sent it (another client's, by XEP-0280); archive: its id
 * in the archive of the account, or of the room; time: of its delay, undefined for
 * now; live: it came as it was sent.
 */
export function read(stanza, me) {
  const copy = stanza.child("sent", ns.CARBONS) ?? stanza.child("received", ns.CARBONS);
  if (!copy) return message(stanza, me, {});
  // XEP-0280 section 11: only the own account may send copies.
  if ((stanza.attrs.from ?? me) !== me) return undefined;
  const forwarded = copy.child("forwarded", ns.FORWARD);
  const inner = forwarded?.child("message", ns.CLIENT);
  if (!inner || (copy.name === "sent" && jids.bare(inner.attrs.from ?? "") !== me)) return undefined;
  return message(inner, me, { time: stamp(forwarded), carbon: true });
}

/** Reads one result of an archive (XEP-0313); archive is the address whose it is. */
export function result(element, me) {
  const forwarded = element.child("forwarded", ns.FORWARD);
  const inner = forwarded?.child("message", ns.CLIENT);
  if (!inner) return undefined;
  return { ...message(inner, me, { time: stamp(forwarded) }), archive: element.attrs.id, live: false };
}

function message(stanza, me, { time, carbon = false }) {
  const { from = me, to = me, type = "normal", id } = stanza.attrs;
  const delay = stamp(stanza);
  const groupchat = type === "groupchat";
  // XEP-0359 section 6: only the id of whose archive it is counts.
  const owner = groupchat ? jids.bare(from) : me;
  const archive = stanza.elements("stanza-id", ns.SID).find((e) => e.attrs.by === owner)?.attrs.id;
  return {
    stanza, type, from, to, archive, carbon,
    id: stanza.child("origin-id", ns.SID)?.attrs.id ?? id,
    mine: !groupchat && jids.bare(from) === me && jids.bare(to) !== me,
    time: time ?? delay,
    live: delay === undefined && time === undefined,
    body: stanza.childText("body", ns.CLIENT),
  };
}

/** When it was sent, by its <delay/>, in milliseconds since 1970; or undefined. */
export function stamp(element) {
  const time = Date.parse(element?.child("delay", ns.DELAY)?.attrs.stamp ?? "");
  return Number.isNaN(time) ? undefined : time;
}

/** An invitation to a room (XEP-0045 section 7.8.2, XEP-0249): {room, from, reason, password}, or undefined. */
export function invitation({ stanza, from, type }) {
  if (type === "groupchat" || type === "error") return undefined;
  const direct = stanza.child("x", ns.INVITE);
  const user = stanza.child("x", ns.MUC_USER);
  const mediated = user?.child("invite");
  if (mediated) {
    return {
      room: jids.bare(from), from: jids.bare(mediated.attrs.from ?? ""),
      reason: mediated.childText("reason"), password: user.childText("password") || undefined, mediated: true,
    };
  }
  if (direct?.attrs.jid) {
    return { room: jids.bare(direct.attrs.jid), from: jids.bare(from), reason: direct.attrs.reason ?? "", password: direct.attrs.password };
  }
  return undefined;
}
