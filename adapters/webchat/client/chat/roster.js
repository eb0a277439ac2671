// Contacts (RFC 6121 section 2), their presence (section 4), and who wants to be
// one (section 3).

import { Emitter } from "../xmpp/emitter.js";
import { xml } from "../xmpp/xml.js";
import * as jids from "../xmpp/jid.js";
import * as ns from "../xmpp/ns.js";
import { StanzaError } from "../xmpp/client.js";

const MAX_RESOURCES = 100; // of one contact
// The most available first.
const SHOWS = ["chat", "", "away", "xa", "dnd"];

/** Events: change() */
export class Roster extends Emitter {
  #client;
  #presence = new Map(); // bare address -> Map of resource -> {show, status, priority}

  constructor(client, saved) {
    super();
    this.#client = client;
    this.items = new Map(saved?.items); // address -> {jid, name, subscription, ask}
    this.requests = new Map(saved?.requests); // address -> {jid, status}
    for (const [jid, resources] of saved?.presence ?? []) this.#presence.set(jid, new Map(resources));
    client.answer("set", "query", ns.ROSTER, (query, iq) => this.#push(query, iq));
  }

  save() {
    return {
      items: [...this.items], requests: [...this.requests],
      presence: [...this.#presence].map(([jid, resources]) => [jid, [...resources]]),
    };
  }

  /** Asks for all contacts; for a session that is new. */
  async load() {
    this.#presence.clear();
    this.requests.clear();
    const answer = await this.#client.request("get", undefined, xml("query", { xmlns: ns.ROSTER }));
    this.items.clear();
    for (const item of answer.child("query", ns.ROSTER)?.elements("item") ?? []) this.#take(item);
    this.emit("change");
  }

  /** Nobody is known to be there while there is no session. */
  away() {
    this.#presence.clear();
    this.emit("change");
  }

  #push(query, iq) {
    if ((iq.attrs.from ?? this.#client.me) !== this.#client.me) throw new StanzaError("service-unavailable");
    for (const item of query.elements("item")) this.#take(item);
    this.emit("change");
    return undefined;
  }

  #take(item) {
    const { jid, name = "", subscription = "none", ask } = item.attrs;
    if (!jid) return;
    if (subscription === "remove") {
      this.items.delete(jid);
      this.#presence.delete(jid);
      return;
    }
    this.items.set(jid, { jid, name, subscription, ask });
    if (subscription === "from" || subscription === "both") this.requests.delete(jid);
  }

  /** What there is to show: contacts, and whom the account asked. */
  get contacts() {
    return [...this.items.values()]
      .filter((i) => i.subscription !== "none" || i.ask === "subscribe" || i.name !== "")
      .sort((a, b) => this.name(a.jid).localeCompare(this.name(b.jid)));
  }

  /** How somebody is called. */
  name(jid) {
    return this.items.get(jid)?.name || jids.local(jid) || jid;
  }

  /** {show, status} of the resource that is the most available; show "offline" if none is, undefined where it is not for us to know. */
  presence(jid) {
    const best = [...this.#presence.get(jid)?.values() ?? []]
      .sort((a, b) => b.priority - a.priority || SHOWS.indexOf(a.show) - SHOWS.indexOf(b.show))[0];
    const told = ["to", "both"].includes(this.items.get(jid)?.subscription);
    return best ?? { show: told ? "offline" : undefined, status: "" };
  }

  /** Takes presence that is not a room's. */
  receive(stanza) {
    const { from = this.#client.me, type } = stanza.attrs;
    const jid = jids.bare(from);
    if (type === "subscribe") {
      this.#asked(jid, stanza.childText("status", ns.CLIENT));
    } else if (type === undefined) {
      const show = stanza.childText("show", ns.CLIENT);
      const priority = Number.parseInt(stanza.childText("priority", ns.CLIENT), 10) || 0;
      if (!this.#presence.has(jid)) this.#presence.set(jid, new Map());
      const resources = this.#presence.get(jid);
      if (resources.size >= MAX_RESOURCES && !resources.has(jids.resource(from))) return;
      resources.set(jids.resource(from),
        { show: SHOWS.includes(show) ? show : "", status: stanza.childText("status", ns.CLIENT), priority });
    } else if (type === "unavailable" || type === "error") {
      const resources = this.#presence.get(jid);
      resources?.delete(jids.resource(from));
      if (resources?.size === 0 || type === "error") this.#presence.delete(jid);
    } else if (type === "unsubscribe") {
      this.requests.delete(jid);
    } else {
      return;
    }
    this.emit("change");
  }

  #asked(jid, status) {
    const item = this.items.get(jid);
    if (item?.subscription === "from" || item?.subscription === "both") return;
    if (item?.subscription === "to" || item?.ask === "subscribe") { // whom we asked first may ask us
      this.accept(jid);
      return;
    }
    this.requests.set(jid, { jid, status });
    this.emit("asked", jid);
  }

  /** Asks somebody to be a contact, and lets him see this account's presence when he asks. */
  async add(jid, name) {
    await this.#client.request("set", undefined, xml("query", { xmlns: ns.ROSTER }, xml("item", { jid, name: name || undefined })));
    this.#client.send(xml("presence", { to: jid, type: "subscribe" }));
    if (this.requests.has(jid)) this.accept(jid);
  }

  rename(jid, name) {
    return this.#client.request("set", undefined, xml("query", { xmlns: ns.ROSTER }, xml("item", { jid, name: name || undefined })));
  }

  remove(jid) {
    return this.#client.request("set", undefined,
      xml("query", { xmlns: ns.ROSTER }, xml("item", { jid, subscription: "remove" })));
  }

  /** Lets somebody see the presence of this account, and asks for his. */
  accept(jid) {
    this.requests.delete(jid);
    this.#client.send(xml("presence", { to: jid, type: "subscribed" }));
    const item = this.items.get(jid);
    if (!(item?.subscription === "to" || item?.subscription === "both" || item?.ask)) {
      this.#client.send(xml("presence", { to: jid, type: "subscribe" }));
    }
    this.emit("change");
  }

  decline(jid) {
    this.requests.delete(jid);
    this.#client.send(xml("presence", { to: jid, type: "unsubscribed" }));
    this.emit("change");
  }
}
