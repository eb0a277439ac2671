// The chat without its page: a client, and all that is known through it.

import { Emitter } from "../xmpp/emitter.js";
import { Client } from "../xmpp/client.js";
import { xml } from "../xmpp/xml.js";
import * as ns from "../xmpp/ns.js";
import { Archive } from "./archive.js";
import { Roster } from "./roster.js";
import { Rooms } from "./rooms.js";
import { Talk } from "./talk.js";

/**
 * Events:
 *   change(what)         "state", "roster", "rooms", "talk": there is something new to show
 *   notice(error, what)  something that the user asked for was refused
 */
export class App extends Emitter {
  #vault;

  /** saved is what the vault had, or undefined; open makes the WebSocket. */
  constructor({ url, vault, saved, open }) {
    super();
    this.#vault = vault;
    this.client = new Client({ url, open, saved: saved?.client });
    this.roster = new Roster(this.client, saved?.roster);
    this.rooms = new Rooms(this.client, saved?.rooms);
    this.archive = new Archive(this.client);
    this.talk = new Talk({ client: this.client, rooms: this.rooms, archive: this.archive, saved: { ...saved?.talk, conversations: saved?.conversations } });
    this.state = { name: "ended" };
    this.show = saved?.app?.show ?? ""; // of the own presence
    this.service = saved?.app?.service; // for rooms; undefined: not asked yet
    this.#wire();
  }

  #wire() {
    const { client, roster, rooms, talk } = this;
    client.on("stanza", (stanza) => this.#stanza(stanza));
    client.on("session", (session) => this.#session(session));
    client.on("save", () => this.save());
    client.on("state", (state) => {
      this.state = state;
      if (state.name === "ended") {
        rooms.lost();
        this.#vault.clear();
      }
      this.emit("change", "state");
    });
    roster.on("change", () => this.#changed("roster"));
    roster.on("asked", (jid) => this.emit("asked", jid));
    rooms.on("change", () => this.#changed("rooms"));
    talk.on("change", (c) => {
      this.#vault.mark(`conversation ${c.key}`);
      this.#changed("talk");
    });
    talk.on("invited", (room) => {
      this.#changed("talk");
      this.emit("invited", room);
    });
    talk.on("notice", (error, what) => this.emit("notice", error, what));
    client.answer("get", "ping", ns.PING, () => undefined);
    client.answer("get", "query", ns.DISCO_INFO, (query) => xml("query", { xmlns: ns.DISCO_INFO, node: query.attrs.node },
      xml("identity", { category: "client", type: "web", name: "hexmpp web chat" }),
      [ns.DISCO_INFO, ns.PING].map((feature) => xml("feature", { var: feature }))));
  }

  #changed(what) {
    this.#vault.mark(what);
    this.emit("change", what);
  }

  /** Keeps what is to outlive the page. */
  save() {
    const client = this.client.save();
    if (!client) return;
    const { roster, rooms, talk } = this;
    this.#vault.save({
      client: () => client,
      app: () => ({ show: this.show, service: this.service }),
      roster: () => roster.save(),
      rooms: () => [...rooms.all.values()].map((r) => r.save()),
      talk: () => talk.save(),
    }, (key) => talk.conversations.get(key)?.save());
  }

  #stanza(stanza) {
    if (stanza.name === "message") this.talk.receive(stanza);
    else if (!this.rooms.presence(stanza)) this.roster.receive(stanza);
  }

  /** A session has begun, or goes on. */
  async #session({ resumed }) {
    try {
      if (resumed) await this.#goOn();
      else await this.#start();
    } catch (error) {
      // The connection broke: the next session begins anew.
      if (error.condition !== "offline") console.error("the session did not begin as it should:", error);
    }
  }

  /** Of what the page was doing when it was closed, nobody waits for the answers any more. */
  async #goOn() {
    const entering = [...this.rooms.all.values()].filter((r) => r.state === "entering");
    await Promise.allSettled(entering.map((r) => this.rooms.enter(r.jid)));
  }

  async #start() {
    const were = this.rooms.lost();
    const known = this.talk.known();
    const ask = (to, payload) => this.client.request("get", to, payload);
    const carbons = this.client.request("set", undefined, xml("enable", { xmlns: ns.CARBONS })).catch(() => {});
    await this.roster.load();
    this.#present();
    await carbons;
    // Messages that waited for us come before the answer to what is asked now.
    await this.#clock(ask);
    await this.talk.catchUp(known);
    this.talk.sendPending();
    await this.#enterRooms(were);
  }

  async #clock(ask) {
    const before = Date.now();
    try {
      const answer = await ask(this.client.me.split("@")[1], xml("time", { xmlns: ns.TIME }));
      const there = Date.parse(answer.child("time", ns.TIME)?.childText("utc") ?? "");
      if (!Number.isNaN(there)) this.talk.skew = there - (before + Date.now()) / 2;
    } catch (error) {
      if (error.condition === "offline") throw error;
    }
  }

  async #enterRooms(were) {
    let marked = [];
    try {
      marked = await this.rooms.bookmarks();
    } catch (error) {
      if (error.condition === "offline") throw error; // else the server keeps none
    }
    const known = new Set(were.map((r) => r.jid));
    await Promise.allSettled([
      ...were.map((r) => this.rooms.enter(r.jid)),
      ...marked.filter((b) => !known.has(b.jid)).map((b) => this.rooms.enter(b.jid, b)),
    ]);
    this.service ??= await this.rooms.service();
  }

  /** Says how available the account is: "", "away", "dnd". */
  setShow(show) {
    this.show = show;
    this.#present();
    this.rooms.announce(show);
    this.#changed("app");
    this.emit("change", "state");
  }

  #present() {
    this.client.send(xml("presence", {}, this.show && xml("show", {}, this.show)));
  }

  /** Enters a room, and again at each login. Resolves with {created}. */
  async enterRoom(jid, options) {
    this.talk.invitations.delete(jid);
    this.talk.conversations.open(jid, "room");
    let entered;
    try {
      entered = await this.rooms.enter(jid, options);
    } catch (error) {
      if (this.talk.conversations.get(jid)?.messages.length === 0) this.#dropRoom(jid);
      throw error;
    }
    this.rooms.remember(jid, true).catch(() => {}); // a server without a place for it
    return entered;
  }

  leaveRoom(jid) {
    this.#dropRoom(jid);
    this.rooms.remember(jid, false).catch(() => {});
  }

  #dropRoom(jid) {
    this.rooms.leave(jid);
    this.closeConversation(jid);
  }

  /** Takes a conversation off the list; the archive keeps it. */
  closeConversation(key) {
    this.talk.conversations.remove(key);
    this.#vault.mark(`conversation ${key}`);
    this.#changed("talk");
  }

  declineInvitation(room) {
    const invitation = this.talk.invitations.get(room);
    this.talk.invitations.delete(room);
    if (invitation) this.rooms.decline(invitation);
    this.#changed("talk");
  }
}
