// What was said: for each conversation its messages, without a gap from the first
// one that is known up to now, each once. Pure data: no stanza and no DOM.
//
// Their order is that in which the server tells them. Times follow it, for clocks
// differ, and stamps of some servers have no more than seconds: the time of a
// message that comes behind another one is at least that of the other one.

const KEPT = 200; // messages of a conversation that are kept over a reload
const MAX = 2_000; // messages of a conversation that are held

/**
 * A message here is {uid, from, nick, mine, body, time, id, archive, state, error,
 * removed}. state of own ones: "pending", "sent", "failed".
 */
export class Conversation {
  #ids = new Map(); // "archive id" or "id from" -> message

  /** kind: "chat", "room", or "private" (with one occupant of a room). */
  constructor(key, kind) {
    this.key = key;
    this.kind = kind;
    this.messages = [];
    this.unread = 0;
    this.mentioned = false;
    this.complete = false; // nothing older is in the archive
    this.opened = false; // its archive was asked for once
  }

  get last() {
    return this.messages.at(-1);
  }

  /** The oldest message that the archive has an id for, and the newest. */
  get oldest() {
    return this.messages.find((m) => m.archive !== undefined);
  }

  get newest() {
    return this.messages.findLast((m) => m.archive !== undefined);
  }

  /** The message that this is another copy of, or undefined. */
  find({ archive, id, from }) {
    const known = archive !== undefined ? this.#ids.get(`archive ${archive}`) : undefined;
    if (known) return known;
    const same = id !== undefined ? this.#ids.get(`id ${from} ${id}`) : undefined;
    // Two ids of the archive are two messages, whatever their senders say.
    return same && (same.archive === undefined || archive === undefined) ? same : undefined;
  }

  /**
   * Puts a message where it belongs: "end", it came just now; "after", behind the
   * message `other`, by its time; "before", in front of it. Returns {message,
   * added}; of one that is there already, what is new is taken over.
   */
  add(message, where = "end", other = where === "end" ? this.last : undefined) {
    const known = this.find(message);
    if (known) {
      this.#merge(known, message);
      return { message: known, added: false };
    }
    const older = where === "before";
    if (other) message.time = (older ? Math.min : Math.max)(message.time, other.time);
    this.messages.splice(this.#place(message.time, older), 0, message);
    this.#index(message);
    if (this.messages.length > MAX && !older) this.#drop(this.messages.length - MAX);
    return { message, added: true };
  }

  /** Behind all of the same time, or, of older ones, before them. */
  #place(time, older) {
    let low = 0;
    let high = this.messages.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const there = this.messages[middle].time;
      if (there < time || (there === time && !older)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #merge(known, message) {
    known.archive ??= message.archive;
    if (known.state === "pending" || known.state === "failed") {
      known.state = "sent";
      known.error = undefined;
    }
    this.#index(known);
  }

  #index(m) {
    if (m.archive !== undefined) this.#ids.set(`archive ${m.archive}`, m);
    if (m.id !== undefined) this.#ids.set(`id ${m.from} ${m.id}`, m);
  }

  #drop(count) {
    for (const m of this.messages.splice(0, count)) {
      this.#ids.delete(`archive ${m.archive}`);
      this.#ids.delete(`id ${m.from} ${m.id}`);
    }
    this.complete = false;
  }

  /** Forgets all but own messages that are still to be sent. */
  forget() {
    const keep = this.messages.filter((m) => m.state === "pending" || m.state === "failed");
    this.messages = [];
    this.#ids.clear();
    this.complete = false;
    this.opened = false;
    for (const m of keep) this.add(m);
  }

  save() {
    const messages = this.messages.slice(-KEPT);
    const { key, kind, unread, mentioned, opened } = this;
    return { key, kind, unread, mentioned, opened, complete: this.complete && messages.length === this.messages.length, messages };
  }

  static restore({ messages, key, kind, ...state }) {
    const c = Object.assign(new Conversation(key, kind), state);
    c.messages = messages;
    for (const m of messages) c.#index(m);
    return c;
  }
}

/** All conversations, by key: a bare address, or that of an occupant. */
export class Conversations {
  constructor() {
    this.all = new Map();
  }

  get(key) {
    return this.all.get(key);
  }

  /** The conversation, made if need be. */
  open(key, kind) {
    let c = this.all.get(key);
    if (!c) {
      c = new Conversation(key, kind);
      this.all.set(key, c);
    }
    return c;
  }

  remove(key) {
    this.all.delete(key);
  }

  /** How many messages are unread. */
  get unread() {
    let n = 0;
    for (const c of this.all.values()) n += c.unread;
    return n;
  }

  /** The latest first; those without a message by name at the end. */
  recent() {
    return [...this.all.values()].sort((a, b) => (b.last?.time ?? 0) - (a.last?.time ?? 0) || (a.key < b.key ? -1 : 1));
  }
}
