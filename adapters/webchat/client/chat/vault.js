// What outlives a reload of the page: parts of the state, each as JSON under a
// name of its own in sessionStorage, which belongs to one tab and ends with it. A
// part is written when it was marked since the last time.

const PREFIX = "hexmpp.";

export class Vault {
  #storage;
  #marked = new Set();
  #broken = false;

  constructor(storage) {
    this.#storage = storage;
  }

  /** The part has changed. */
  mark(name) {
    this.#marked.add(name);
  }

  /**
   * Writes the parts that were marked, `client` always. parts: name -> function
   * that returns it; conversation(key) returns that of a conversation, undefined
   * if it is gone.
   */
  save(parts, conversation) {
    if (this.#broken) return;
    try {
      for (const name of this.#marked) {
        const key = name.startsWith("conversation ") ? name.slice("conversation ".length) : undefined;
        this.#write(name, key === undefined ? parts[name]?.() : conversation(key));
      }
      this.#marked.clear();
      this.#write("client", parts.client());
      this.#write("app", parts.app());
      this.#write("talk", parts.talk());
    } catch (error) {
      // No room: half of a state is worse than none, which begins a new session.
      console.warn("the browser keeps no more of this chat:", error.message);
      this.clear();
      this.#broken = true;
    }
  }

  #write(name, value) {
    if (value === undefined) this.#storage.removeItem(PREFIX + name);
    else this.#storage.setItem(PREFIX + name, JSON.stringify(value));
  }

  /** All parts, {client, app, roster, rooms, talk, conversations}; undefined if there is no session. */
  load() {
    try {
      const read = (name) => JSON.parse(this.#storage.getItem(PREFIX + name) ?? "null") ?? undefined;
      const client = read("client");
      if (!client) return undefined;
      const conversations = [];
      for (let i = 0; i < this.#storage.length; i++) {
        const name = this.#storage.key(i);
        if (name.startsWith(`${PREFIX}conversation `)) conversations.push(read(name.slice(PREFIX.length)));
      }
      return { client, app: read("app"), roster: read("roster"), rooms: read("rooms"), talk: read("talk"), conversations };
    } catch {
      return undefined;
    }
  }

  /** Forgets all. */
  clear() {
    this.#marked.clear();
    const names = [];
    for (let i = 0; i < this.#storage.length; i++) names.push(this.#storage.key(i));
    for (const name of names) if (name.startsWith(PREFIX)) this.#storage.removeItem(name);
  }
}
