// Pages of archives (XEP-0313 with XEP-0059): of the own account, or of a room.

import { xml } from "../xmpp/xml.js";
import { newId } from "../xmpp/client.js";
import * as ns from "../xmpp/ns.js";
import { result } from "./message.js";

export class Archive {
  #client;
  #queries = new Map(); // query id -> {from, max, messages}

  constructor(client) {
    this.#client = client;
  }

  /**
   * Asks for a page: `before` an id ("" for the newest) or `after` one, at most
   * max messages, `with` an address alone if given. of is the room, or undefined
   * for the account's own. Resolves with {messages, complete}, the oldest first.
   */
  async page({ of, before, after, max = 50, with: peer }) {
    const id = newId();
    const query = { from: of ?? this.#client.me, max, messages: [] };
    this.#queries.set(id, query);
    const field = (name, value, type) => xml("field", { var: name, type }, xml("value", {}, value));
    try {
      const answer = await this.#client.request("set", of, xml("query", { xmlns: ns.MAM, queryid: id },
        xml("x", { xmlns: ns.FORM, type: "submit" }, field("FORM_TYPE", ns.MAM, "hidden"), peer && field("with", peer)),
        xml("set", { xmlns: ns.RSM }, xml("max", {}, String(max)),
          before !== undefined && xml("before", {}, before || undefined),
          after !== undefined && xml("after", {}, after))));
      const fin = answer.child("fin", ns.MAM);
      return { messages: query.messages, complete: fin?.attrs.complete === "true" || fin?.attrs.complete === "1" };
    } finally {
      this.#queries.delete(id);
    }
  }

  /** Takes a message that is a result; returns whether it was one, asked for or not. */
  receive(stanza) {
    const element = stanza.child("result", ns.MAM);
    if (!element) return false;
    const query = this.#queries.get(element.attrs.queryid);
    // Only whose archive it is may answer.
    if (query && (stanza.attrs.from ?? this.#client.me) === query.from) {
      const message = result(element, this.#client.me);
      if (message && query.messages.length < query.max) query.messages.push(message);
    }
    return true;
  }
}
