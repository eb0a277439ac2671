// Messages: sending them, taking what comes, and reading archives.

import { Emitter } from "../xmpp/emitter.js";
import { newId, StanzaError } from "../xmpp/client.js";
import { xml } from "../xmpp/xml.js";
import * as jids from "../xmpp/jid.js";
import * as ns from "../xmpp/ns.js";
import { read, invitation } from "./message.js";
import { Conversations, Conversation } from "./conversations.js";

const PAGE = 50; // messages that are asked for at once
const MAX_INVITATIONS = 50; // more are not shown
const CATCH_UP = 20; // pages that are read to close a gap, of 100 messages each

/**
 * Events:
 *   change(conversation)
 *   incoming(conversation, message)  somebody else said something just now
 *   invited(jid of the room)
 *   notice(StanzaError, what)        something asked for was refused
 */
export class Talk extends Emitter {
  #client;
  #rooms;
  #archive;
  #loading = new Set(); // conversations whose archive is being read

  constructor({ client, rooms, archive, saved }) {
    super();
    this.#client = client;
    this.#rooms = rooms;
    this.#archive = archive;
    this.conversations = new Conversations();
    this.invitations = new Map(saved?.invitations); // room -> what message.invitation returns
    this.head = saved?.head; // id of the newest message of the account's archive that is known
    this.skew = saved?.skew ?? 0; // ms that the server's clock is ahead
    this.watched = () => false; // whether a conversation is before the user's eyes
    for (const c of saved?.conversations ?? []) this.conversations.all.set(c.key, Conversation.restore(c));
    client.on("acked", (ids) => this.#acked(ids));
    rooms.on("entered", (room) => this.#entered(room));
  }

  save() {
    return { invitations: [...this.invitations], head: this.head, skew: this.skew };
  }

  now() {
    return Date.now() + this.skew;
  }

  // Sending.

  /** Says something in a conversation. */
  say(key, body) {
    const c = this.conversations.get(key);
    const room = c.kind === "room" ? this.#rooms.get(key) : undefined;
    const id = newId();
    const { message } = c.add({
      uid: id, id, from: room ? `${key}/${room.nick}` : this.#client.me, nick: room?.nick ?? "", mine: true,
      body, time: Math.max(this.now(), c.last?.time ?? 0), state: "pending",
    });
    this.emit("change", c); // first: what is sent must be kept with what was said
    this.#send(c, message);
  }

  /** Sends once more what failed. */
  again(key, uid) {
    const c = this.conversations.get(key);
    const message = c?.messages.find((m) => m.uid === uid && m.state === "failed");
    if (!message) return;
    message.state = "pending";
    message.error = undefined;
    this.emit("change", c);
    this.#send(c, message);
  }

  #send(c, message) {
    const room = c.kind === "room" ? this.#rooms.get(c.key) : undefined;
    if (room && room.state !== "in") {
      if (room.state === "failed") this.#fail(c, message, { condition: "not-acceptable", text: "" });
      return; // it is sent when the room is entered
    }
    this.#client.send(xml("message", { to: c.key, type: room ? "groupchat" : "chat", id: message.id },
      xml("body", {}, message.body),
      xml("origin-id", { xmlns: ns.SID, id: message.id }),
      c.kind === "private" && xml("x", { xmlns: ns.MUC_USER })));
  }

  #fail(c, message, error) {
    message.state = "failed";
    message.error = { condition: error.condition, text: error.text };
    this.emit("change", c);
  }

  #acked(ids) {
    const known = new Set(ids);
    for (const c of this.conversations.all.values()) {
      let changed = false;
      for (const m of c.messages) {
        if (m.state === "pending" && known.has(m.id)) {
          m.state = "sent";
          changed = true;
        }
      }
      if (changed) this.emit("change", c);
    }
  }

  /** Sends what a session that is gone has not taken; for a new one, when its archive was read. */
  sendPending(kind = "chat") {
    for (const c of this.conversations.all.values()) {
      if (kind === "chat" && c.kind === "room") continue;
      if (kind !== "chat" && c.key !== kind) continue;
      for (const m of c.messages) if (m.state === "pending") this.#send(c, m);
    }
  }

  // Receiving.

  receive(stanza) {
    if (this.#archive.receive(stanza)) return;
    const m = read(stanza, this.#client.me);
    if (!m) return;
    if (m.type === "error") this.#refused(m);
    else if (!this.#rooms.subject(m)) this.#take(m, { fresh: m.live || m.type !== "groupchat" });
  }

  /**
   * Puts a message into its conversation. fresh: the user has not seen it yet.
   * where: see Conversation.add; neighbours has the message of each conversation
   * that it is beside, and then this one.
   */
  #take(m, { fresh = false, where = "end", neighbours } = {}) {
    if (m.type === "error") return undefined;
    const invited = invitation(m);
    if (invited) {
      if (fresh && !m.mine && !this.#rooms.get(invited.room) && this.invitations.size < MAX_INVITATIONS) {
        this.invitations.set(invited.room, invited);
        this.emit("invited", invited.room);
      }
      return undefined;
    }
    const place = this.#place(m);
    if (!place) return undefined;
    if (m.archive !== undefined && place.kind !== "room" && where !== "before") this.head = m.archive;
    const removed = m.stanza.child("retract", ns.RETRACT)?.attrs.id;
    if (removed !== undefined) {
      this.#remove(place, m, removed);
      return undefined;
    }
    if (m.body === "" || !["chat", "normal", "groupchat"].includes(m.type)) return undefined;
    const c = this.conversations.open(place.key, place.kind);
    const { message, added } = c.add({
      uid: newId(), id: m.id, archive: m.archive, from: place.from, nick: place.nick, mine: place.mine,
      body: m.body, time: Math.min(m.time ?? Infinity, this.now()), // nothing was said tomorrow
    }, where, neighbours?.get(c));
    neighbours?.set(c, message);
    if (added && fresh && !message.mine) this.#unread(c, message);
    this.emit("change", c);
    return message;
  }

  /** Where a message belongs and whose it is; undefined: nowhere. */
  #place(m) {
    if (m.type === "groupchat") {
      const key = jids.bare(m.from);
      const room = this.#rooms.get(key);
      if (!room) return undefined;
      const nick = jids.resource(m.from);
      const id = m.stanza.child("occupant-id", ns.OCCUPANT_ID)?.attrs.id;
      const mine = id !== undefined && room.me?.id !== undefined ? id === room.me.id : nick === room.nick;
      return { key, kind: "room", from: m.from, nick, mine: mine && nick !== "" };
    }
    const peer = m.mine ? m.to : m.from;
    if (this.#rooms.get(peer)) return undefined; // the room itself; what it has to say was read before
    const inside = this.#rooms.occupant(peer) || m.stanza.child("x", ns.MUC_USER) !== undefined;
    const key = inside ? peer : jids.bare(peer);
    return { key, kind: inside ? "private" : "chat", from: m.mine ? this.#client.me : key, nick: "", mine: m.mine };
  }

  #unread(c, message) {
    const room = this.#rooms.get(c.key);
    const named = c.kind === "room" && room && mentions(message.body, room.nick);
    if (!this.watched(c)) {
      c.unread += 1;
      c.mentioned ||= named;
    }
    this.emit("incoming", c, message, named);
  }

  /** XEP-0424, and 0425: the author, or a room, takes something back. */
  #remove({ key, from }, m, id) {
    const c = this.conversations.get(key);
    const message = c?.messages.find((x) => (c.kind === "room" ? x.archive === id : x.id === id)
      && (x.from === from || (c.kind === "room" && jids.resource(m.from) === "")));
    if (!message) return;
    message.removed = true;
    message.body = "";
    this.emit("change", c);
  }

  #refused(m) {
    const error = StanzaError.of(m.stanza);
    const c = this.conversations.get(m.from) ?? this.conversations.get(jids.bare(m.from));
    const message = c?.messages.find((x) => x.mine && x.id === m.id);
    if (message) this.#fail(c, message, error);
    else if (m.stanza.child("subject")) this.emit("notice", error, "subject");
    else if (m.stanza.child("x", ns.MUC_USER)) this.emit("notice", error, "invite");
  }

  /** The user has read what is there. */
  seen(c) {
    if (c.unread === 0 && !c.mentioned) return;
    c.unread = 0;
    c.mentioned = false;
    this.emit("change", c);
  }

  // Archives.

  loading(key) {
    return this.#loading.has(key);
  }

  /** What is known when a session begins, for catchUp. */
  known() {
    const all = [...this.conversations.all.values()];
    return { head: this.head, neighbours: new Map(all.map((c) => [c, c.newest]).filter(([, m]) => m)) };
  }

  /** For a session that is new: what was said since what was known; if that was nothing, what was said at last. */
  async catchUp({ head, neighbours }) {
    try {
      if (head === undefined) {
        const { messages } = await this.#archive.page({ before: "", max: 100 });
        this.head ??= messages.at(-1)?.archive;
        for (const m of messages.reverse()) this.#take(m, { where: "before", neighbours });
      } else if (!await this.#forward({}, head, neighbours)) {
        await this.#anew();
      }
    } catch (error) {
      if (error.condition === "offline") throw error;
      if (error.condition === "item-not-found" && head !== undefined) await this.#anew(); // that message is gone
    }
  }

  /** The gap is too wide: what is known of accounts is read anew. */
  #anew() {
    for (const c of this.conversations.all.values()) if (c.kind !== "room") c.forget();
    return this.catchUp({ neighbours: new Map() });
  }

  /** Reads forward from an id; returns whether the end was reached. */
  async #forward(options, after, neighbours) {
    for (let i = 0; i < CATCH_UP; i++) {
      const { messages, complete } = await this.#archive.page({ ...options, after, max: 100 });
      for (const m of messages) this.#take(m, { fresh: true, where: "after", neighbours });
      if (complete || messages.length === 0) return true;
      after = messages.at(-1).archive;
    }
    return false;
  }

  /** A conversation is looked at: its archive is read if it was not yet. */
  async open(key) {
    const c = this.conversations.get(key);
    if (c && !c.opened && this.#client.online) await this.older(key);
  }

  /** Reads the page before the oldest message that is known. */
  async older(key) {
    const c = this.conversations.get(key);
    if (!c || c.complete || this.#loading.has(key)) return;
    const room = c.kind === "room" ? this.#rooms.get(key) : undefined;
    if (c.kind === "room" && !(room?.state === "in" && room.archived)) return;
    this.#loading.add(key);
    this.emit("change", c);
    try {
      const { messages, complete } = await this.#archive.page({
        of: room?.jid, with: room ? undefined : key, before: c.oldest?.archive ?? "", max: PAGE,
      });
      const neighbours = new Map([[c, c.oldest]]);
      for (const m of messages.reverse()) this.#take(m, { where: "before", neighbours });
      c.opened = true;
      c.complete = complete || messages.length === 0;
    } catch (error) {
      if (error.condition !== "offline") c.opened = c.complete = true; // there is no archive
    } finally {
      this.#loading.delete(key);
      this.emit("change", c);
    }
  }

  async #entered(room) {
    const c = this.conversations.open(room.jid, "room");
    try {
      if (room.archived && c.newest !== undefined) {
        const { newest } = c;
        if (!await this.#forward({ of: room.jid }, newest.archive, new Map([[c, newest]]))) c.forget();
      }
    } catch (error) {
      if (error.condition === "item-not-found") c.forget();
    }
    this.sendPending(room.jid);
    if (room.archived && !c.opened) await this.older(room.jid);
    this.emit("change", c);
  }
}

/** Whether a text has a name as a word of its own. */
export function mentions(text, name) {
  if (!name) return false;
  const at = text.toLowerCase().indexOf(name.toLowerCase());
  if (at < 0) return false;
  const word = /[\p{L}\p{N}_]/u;
  return !word.test(text[at - 1] ?? "") && !word.test(text[at + name.length] ?? "");
}
