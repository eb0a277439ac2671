// The page when somebody is logged in: its parts, which conversation is shown,
// keys, the title.

import { h, set, say } from "./dom.js";
import { Sidebar } from "./sidebar.js";
import { ConversationView } from "./conversation.js";
import { People } from "./people.js";
import { Dialogs } from "./dialogs.js";
import * as jids from "../xmpp/jid.js";
import * as notify from "./notify.js";
import * as words from "./words.js";

export class Shell {
  #app;
  #waiting = false; // whether an update is under way
  #countdown; // timer
  #life = new AbortController(); // ends the listeners

  constructor(page, app) {
    this.#app = app;
    this.dialogs = new Dialogs(app, this);
    this.sidebar = new Sidebar(app, this);
    this.view = new ConversationView(app, this);
    this.people = new People(app, this);
    this.toast = h("p", { class: "toast", role: "alert", hidden: true });
    const nobody = h("main", { class: "nobody" }, h("img", { src: "icon.svg", alt: "", width: "72", height: "72" }),
      h("h1", { text: "Choose a conversation" }));
    this.frame = h("div", { class: "frame" }, this.sidebar.node, nobody, this.view.node, this.people.node, this.toast);
    page.replaceChildren(this.frame);

    app.talk.watched = (c) => c.key === this.view.key && document.visibilityState === "visible" && document.hasFocus() && this.view.atEnd;
    app.on("change", () => this.#soon());
    app.on("notice", (error, what) => this.notice(words.notice(error, what)));
    app.on("asked", (jid) => this.#told(`${jid} asks to be your contact.`, "requests"));
    app.on("invited", (room) => this.#told(`You are invited to the room ${jids.local(room)}.`, "requests"));
    app.talk.on("incoming", (c, message, named) => this.#incoming(c, message, named));
    const { signal } = this.#life;
    addEventListener("hashchange", () => this.#route(), { signal });
    addEventListener("focus", () => this.looked(), { signal });
    addEventListener("keydown", (event) => this.#key(event), { signal });
    document.addEventListener("visibilitychange", () => this.looked(), { signal });
    this.#route();
    this.#update();
  }

  /** Ends its listeners; the page is somebody else's. */
  end() {
    this.#life.abort();
    clearInterval(this.#countdown);
    for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  }

  /** The domain that names without one are of. */
  get home() {
    return jids.domain(this.#app.client.me);
  }

  /** How a conversation is called. */
  name(key) {
    const { rooms, roster } = this.#app;
    const room = rooms.get(key);
    if (room) return room.title;
    return jids.resource(key) || roster.name(key);
  }

  // Which conversation is shown is in the fragment of the page's address, so that
  // the browser's keys for back and forward work.

  open(key) {
    const { talk, rooms } = this.#app;
    if (!talk.conversations.get(key)) {
      talk.conversations.open(key, rooms.get(key) ? "room" : jids.resource(key) ? "private" : "chat");
    }
    const hash = `#${encodeURIComponent(key)}`;
    if (location.hash === hash) this.#route();
    else location.hash = hash;
  }

  back() {
    if (location.hash !== "") location.hash = "";
    this.sidebar.focus();
  }

  /** Enters a room and shows it. Rejects with an Error in plain words. */
  async enter(jid, options) {
    try {
      const { created } = await this.#app.enterRoom(jid, options);
      this.open(jid);
      if (created) this.dialogs.created(jid);
    } catch (error) {
      if (error.condition === undefined) throw error;
      const text = words.room(error);
      if (!document.querySelector("dialog")) this.notice(text);
      throw new Error(text);
    }
  }

  #route() {
    let key = "";
    try {
      key = decodeURIComponent(location.hash.slice(1));
    } catch { // no address of a conversation
    }
    const c = this.#app.talk.conversations.get(key);
    this.view.show(c?.key);
    this.frame.dataset.pane = c ? "talk" : "list";
    this.sidebar.select(c?.key ?? "");
    if (c?.kind !== "room") this.#showPeople(false);
    this.looked();
    this.#update();
    if (c && matchMedia("(min-width: 45rem) and (pointer: fine)").matches) this.view.focus();
    else if (c) this.view.title.focus();
  }

  /** The user may have read what is shown. */
  looked() {
    const c = this.view.conversation;
    if (c && this.#app.talk.watched(c)) this.#app.talk.seen(c);
  }

  togglePeople() {
    this.#showPeople(this.people.node.hidden);
    this.#update();
    if (this.people.node.hidden) this.view.people.focus();
    else this.people.heading.focus();
  }

  #showPeople(shown) {
    set(this.people.node, { hidden: !shown });
    set(this.view.people, { "aria-expanded": String(shown) });
    this.frame.dataset.people = String(shown);
  }

  // Showing what has changed, all at once.

  #soon() {
    if (this.#waiting) return;
    this.#waiting = true;
    setTimeout(() => {
      this.#waiting = false;
      if (!this.#life.signal.aborted) this.#update();
    }, 15);
  }

  #update() {
    const { talk } = this.#app;
    if (this.view.key !== undefined && !this.view.conversation) return this.back();
    if (this.view.key === undefined && location.hash !== "" && talk.conversations.get(decode(location.hash.slice(1)))) return this.#route();
    this.sidebar.update();
    this.view.update();
    if (this.view.key !== undefined) talk.open(this.view.key);
    if (!this.people.node.hidden) this.people.update(this.view.key);
    this.#connection();
    const unread = talk.conversations.unread;
    document.title = `${unread > 0 ? `(${unread}) ` : ""}${this.view.key ? this.name(this.view.key) : "Chat"} – hexmpp chat`;
    return undefined;
  }

  #connection() {
    const { state } = this.#app;
    const { banner } = this.sidebar;
    clearInterval(this.#countdown);
    if (state.name === "online") {
      set(banner, { hidden: true, text: "" });
      return;
    }
    const show = () => set(banner, {
      hidden: false,
      text: state.name === "connecting" ? "Connecting…" : words.lost(state.error, Math.ceil((state.at - Date.now()) / 1000)),
    });
    // Who hears the page hears of it once, not each second.
    set(banner, { "aria-live": banner.hidden ? "polite" : "off" });
    show();
    if (state.name === "waiting") this.#countdown = setInterval(show, 1000);
  }

  /** Says something for some seconds. */
  notice(text) {
    set(this.toast, { text, hidden: false });
    clearTimeout(this.toast.timer);
    this.toast.timer = setTimeout(() => set(this.toast, { hidden: true, text: "" }), 8000);
  }

  #told(text, tag) {
    say(text);
    notify.show("hexmpp chat", text, tag, () => {});
  }

  #incoming(c, message, named) {
    if (this.#app.talk.watched(c)) return; // the log says it
    const room = c.kind === "room";
    const who = room ? `${message.nick}, ${this.name(c.key)}` : this.name(c.key);
    if (c.key !== this.view.key) say(`New message from ${who}`);
    if (!room || named) notify.show(who, message.body, c.key, () => this.open(c.key));
  }

  #key(event) {
    if (document.querySelector("dialog[open]")) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      this.frame.dataset.pane = "list";
      this.sidebar.focusSearch();
    } else if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      event.preventDefault();
      const key = this.sidebar.neighbour(event.key === "ArrowDown" ? 1 : -1);
      if (key) this.open(key);
    } else if (event.key === "Escape") {
      if (!this.people.node.hidden && this.people.node.contains(document.activeElement)) this.togglePeople();
      else if (this.view.key !== undefined) this.back();
    }
  }
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
