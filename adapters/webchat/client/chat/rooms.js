// Rooms (XEP-0045): entering and making them, who is there, subject, leaving, and
// the list of those to enter again at the next login (XEP-0048 in XEP-0049).

import { Emitter } from "../xmpp/emitter.js";
import { StanzaError } from "../xmpp/client.js";
import { xml } from "../xmpp/xml.js";
import * as jids from "../xmpp/jid.js";
import * as ns from "../xmpp/ns.js";

const MAX_OCCUPANTS = 5_000; // more are not listed
const ENTER_TIME = 30_000; // ms until a room that says nothing counts as not there

export class Room {
  constructor(jid, saved) {
    this.jid = jid;
    this.nick = "";
    this.name = "";
    this.password = undefined;
    this.subject = "";
    this.state = "out"; // "entering", "in", "failed"
    this.error = undefined; // {condition, text}, when it failed or the own occupant was removed
    this.archived = undefined; // whether it has an archive; undefined: not known
    this.occupants = new Map(); // nick -> {nick, role, affiliation, show, status, jid, id}
    if (saved) Object.assign(this, saved, { occupants: new Map(saved.occupants) });
  }

  get title() {
    return this.name || jids.local(this.jid);
  }

  get me() {
    return this.occupants.get(this.nick);
  }

  save() {
    return { ...this, occupants: [...this.occupants] };
  }
}

/** Events: change(room), entered(room) */
export class Rooms extends Emitter {
  #client;
  #entering = new Map(); // room -> {resolve, reject, timer}
  #bookmarks; // elements of the last answer

  constructor(client, saved = []) {
    super();
    this.#client = client;
    this.all = new Map(saved.map((s) => [s.jid, new Room(s.jid, s)]));
  }

  get(jid) {
    return this.all.get(jid);
  }

  /** Whether an address is that of an occupant of a room we know. */
  occupant(jid) {
    return this.all.has(jids.bare(jid)) && jids.resource(jid) !== "";
  }

  /** Enters a room; resolves with {created} when in. Rejects with a StanzaError. */
  async enter(jid, { nick, password, name } = {}) {
    const room = this.all.get(jid) ?? new Room(jid);
    this.all.set(jid, room);
    room.nick = nick || room.nick || jids.local(this.#client.me);
    room.password = password ?? room.password;
    if (name) room.name = name;
    room.state = "entering";
    room.error = undefined;
    room.occupants.clear();
    this.emit("change", room);
    try {
      await this.#ask(room);
      const created = await this.#present(room);
      room.state = "in";
      this.emit("change", room);
      this.emit("entered", room);
      return { created };
    } catch (error) {
      if (room.state === "entering") {
        room.state = "failed";
        room.error = { condition: error.condition, text: error.text };
      }
      this.emit("change", room);
      throw error;
    }
  }

  /** Asks what the room can, and how it is called. One that is not there yet can nothing. */
  async #ask(room) {
    try {
      const info = (await this.#client.request("get", room.jid, xml("query", { xmlns: ns.DISCO_INFO }))).child("query", ns.DISCO_INFO);
      room.archived = info?.elements("feature").some((f) => f.attrs.var === ns.MAM) ?? false;
      room.name = info?.child("identity")?.attrs.name || room.name;
    } catch (error) {
      if (error.condition === "offline") throw error;
      room.archived = undefined;
    }
  }

  #present(room) {
    this.#entering.get(room.jid)?.reject(new StanzaError("undefined-condition"));
    return new Promise((resolve, reject) => {
      const done = (settle) => (value) => {
        clearTimeout(timer);
        this.#entering.delete(room.jid);
        settle(value);
      };
      const timer = setTimeout(() => this.#entering.get(room.jid)?.reject(new StanzaError("remote-server-timeout")), ENTER_TIME);
      this.#entering.set(room.jid, { resolve: done(resolve), reject: done(reject) });
      const history = xml("history", { maxstanzas: room.archived ? "0" : "50" });
      const sent = this.#client.send(xml("presence", { to: `${room.jid}/${room.nick}` },
        xml("x", { xmlns: ns.MUC }, room.password && xml("password", {}, room.password), history)));
      if (!sent) this.#entering.get(room.jid).reject(new StanzaError("offline"));
    });
  }

  /**
   * Configures a room that was just made; without options as the service has it
   * (10.1.2). Resolves when it is open to others.
   */
  async configure(jid, options) {
    const field = (key, value) => xml("field", { var: `muc#roomconfig_${key}` }, xml("value", {}, value));
    const fields = options && [
      xml("field", { var: "FORM_TYPE" }, xml("value", {}, ns.MUC_CONFIG)),
      options.name && field("roomname", options.name),
      field("persistentroom", options.persistent ? "1" : "0"),
      field("membersonly", options.members ? "1" : "0"),
      field("publicroom", options.members ? "0" : "1"),
    ];
    await this.#client.request("set", jid, xml("query", { xmlns: ns.MUC_OWNER }, xml("x", { xmlns: ns.FORM, type: "submit" }, fields ?? [])));
    const room = this.all.get(jid);
    if (!room) return;
    await this.#ask(room);
    this.emit("change", room);
    this.emit("entered", room);
  }

  leave(jid) {
    const room = this.all.get(jid);
    if (!room) return;
    this.#client.send(xml("presence", { to: `${jid}/${room.nick}`, type: "unavailable" }));
    this.#entering.get(jid)?.reject(new StanzaError("undefined-condition"));
    this.all.delete(jid);
    this.emit("change", room);
  }

  /** Asks for another subject; the room tells everybody, or sends an error. */
  setSubject(jid, subject) {
    this.#client.send(xml("message", { to: jid, type: "groupchat", id: crypto.randomUUID() }, xml("subject", {}, subject)));
  }

  /** Has the room invite somebody. */
  invite(jid, guest, reason) {
    this.#client.send(xml("message", { to: jid, id: crypto.randomUUID() },
      xml("x", { xmlns: ns.MUC_USER }, xml("invite", { to: guest }, reason && xml("reason", {}, reason)))));
  }

  decline({ room, from, mediated }) {
    if (!mediated) return;
    this.#client.send(xml("message", { to: room }, xml("x", { xmlns: ns.MUC_USER }, xml("decline", { to: from }))));
  }

  /** Tells all rooms how available the account is. */
  announce(show, status) {
    for (const room of this.all.values()) {
      if (room.state === "in") {
        this.#client.send(xml("presence", { to: `${room.jid}/${room.nick}` },
          show && xml("show", {}, show), status && xml("status", {}, status)));
      }
    }
  }

  /** The session is over, and so is being in rooms. Returns those that we were in. */
  lost() {
    const were = [...this.all.values()].filter((r) => r.state === "in" || r.state === "entering");
    for (const entering of [...this.#entering.values()]) entering.reject(new StanzaError("offline"));
    for (const room of were) {
      room.state = "out";
      room.occupants.clear();
      this.emit("change", room);
    }
    return were;
  }

  /** Takes presence; returns whether it was a room's. */
  presence(stanza) {
    const from = stanza.attrs.from ?? "";
    const room = this.all.get(jids.bare(from));
    if (!room) return false;
    const nick = jids.resource(from);
    const user = stanza.child("x", ns.MUC_USER);
    if (stanza.attrs.type === "error") this.#refused(room, nick, stanza);
    else if (nick !== "" && stanza.attrs.type === "unavailable") this.#left(room, nick, user);
    else if (nick !== "" && stanza.attrs.type === undefined) this.#came(room, nick, user, stanza);
    this.emit("change", room);
    return true;
  }

  #refused(room, nick, stanza) {
    const error = StanzaError.of(stanza);
    const entering = this.#entering.get(room.jid);
    if (entering) entering.reject(error);
    else if (nick === room.nick && room.state === "in" && error.condition !== "conflict") this.#out(room, error.condition, error.text);
  }

  #came(room, nick, user, stanza) {
    const item = user?.child("item");
    const self = codes(user).has("110");
    if (room.occupants.size >= MAX_OCCUPANTS && !room.occupants.has(nick) && !self) return;
    room.occupants.set(nick, {
      nick,
      role: item?.attrs.role ?? "participant",
      affiliation: item?.attrs.affiliation ?? "none",
      jid: item?.attrs.jid,
      id: stanza.child("occupant-id", ns.OCCUPANT_ID)?.attrs.id,
      show: stanza.childText("show", ns.CLIENT),
      status: stanza.childText("status", ns.CLIENT),
    });
    if (!self) return;
    room.nick = nick; // the room may have chosen another one (210)
    this.#entering.get(room.jid)?.resolve(codes(user).has("201"));
  }

  #left(room, nick, user) {
    const seen = codes(user);
    const item = user?.child("item");
    room.occupants.delete(nick);
    if (nick !== room.nick) return;
    if (seen.has("303") && item?.attrs.nick) {
      room.nick = item.attrs.nick;
      return;
    }
    const why = user?.child("destroy") ? "destroyed"
      : { 301: "banned", 307: "kicked", 321: "member-no-more", 322: "members-only", 332: "room-shutdown", 333: "kicked" }[
        ["301", "307", "321", "322", "332", "333"].find((c) => seen.has(c))];
    const reason = user?.child("destroy")?.childText("reason") || item?.childText("reason") || "";
    this.#out(room, why ?? "left", reason);
  }

  #out(room, condition, text) {
    room.state = "failed";
    room.error = { condition, text };
    room.occupants.clear();
    this.#entering.get(room.jid)?.reject(new StanzaError(condition, text));
  }

  /** Takes the subject, if that is what a message is. */
  subject({ stanza, type, from }) {
    const element = stanza.child("subject", ns.CLIENT);
    const room = this.all.get(jids.bare(from));
    if (type !== "groupchat" || !element || !room || stanza.child("body", ns.CLIENT)) return false;
    room.subject = element.text;
    this.emit("change", room);
    return true;
  }

  // The list of rooms, and bookmarks.

  /** Finds the service for rooms of this server; "" if there is none. */
  async service() {
    const items = await this.#client.request("get", jids.domain(this.#client.me), xml("query", { xmlns: ns.DISCO_ITEMS }));
    for (const item of items.child("query", ns.DISCO_ITEMS)?.elements("item") ?? []) {
      try {
        const info = await this.#client.request("get", item.attrs.jid, xml("query", { xmlns: ns.DISCO_INFO }));
        const query = info.child("query", ns.DISCO_INFO);
        if (query?.elements("feature").some((f) => f.attrs.var === ns.MUC)
          && query.elements("identity").some((i) => i.attrs.category === "conference")) return item.attrs.jid;
      } catch { // one that does not answer is not it
      }
    }
    return "";
  }

  /** Rooms that are listed there: [{jid, name}]. */
  async list(service) {
    const items = await this.#client.request("get", service, xml("query", { xmlns: ns.DISCO_ITEMS }));
    return items.child("query", ns.DISCO_ITEMS)?.elements("item")
      .map((i) => ({ jid: i.attrs.jid, name: i.attrs.name ?? "" })).filter((r) => r.jid) ?? [];
  }

  /** Rooms to enter at login: [{jid, nick, name, password}]. */
  async bookmarks() {
    const answer = await this.#client.request("get", undefined, xml("query", { xmlns: ns.PRIVATE }, xml("storage", { xmlns: ns.BOOKMARKS })));
    this.#bookmarks = answer.child("query", ns.PRIVATE)?.child("storage", ns.BOOKMARKS)?.elements() ?? [];
    return this.#bookmarks
      .filter((e) => e.name === "conference" && e.attrs.jid && ["true", "1"].includes(e.attrs.autojoin))
      .map((e) => ({
        jid: e.attrs.jid, name: e.attrs.name, nick: e.childText("nick", ns.BOOKMARKS) || undefined,
        password: e.childText("password", ns.BOOKMARKS) || undefined,
      }));
  }

  /** Notes whether a room is to be entered at the next login. */
  async remember(jid, autojoin) {
    await this.bookmarks(); // another client may have changed them
    const room = this.all.get(jid);
    const others = this.#bookmarks.filter((e) => e.attrs.jid !== jid);
    const mine = autojoin && xml("conference", { xmlns: ns.BOOKMARKS, jid, name: room?.title, autojoin: "true" },
      room?.nick && xml("nick", {}, room.nick), room?.password && xml("password", {}, room.password));
    await this.#client.request("set", undefined,
      xml("query", { xmlns: ns.PRIVATE }, xml("storage", { xmlns: ns.BOOKMARKS }, others, mine)));
  }
}

/** Status codes (XEP-0045 section 15.6). */
function codes(user) {
  return new Set(user?.elements("status").map((s) => s.attrs.code));
}
