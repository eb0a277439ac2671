// The list at the side: who wants something, conversations, contacts.

import { h, set, each, iconButton, mark } from "./dom.js";
import * as jids from "../xmpp/jid.js";
import * as when from "./when.js";
import * as words from "./words.js";

export class Sidebar {
  #app;
  #shell;
  #search;
  #asked;
  #talks;
  #contacts;
  #me;
  #current = "";

  constructor(app, shell) {
    this.#app = app;
    this.#shell = shell;
    this.#me = h("button", { type: "button", class: "me", on: { click: () => shell.dialogs.me() } });
    this.#search = h("input", {
      type: "search", class: "search", placeholder: "Search", "aria-label": "Search conversations and contacts", autocomplete: "off",
      "aria-keyshortcuts": "Control+K",
      on: { input: () => this.update(), keydown: (event) => this.#searchKey(event) },
    });
    this.#asked = h("ul", { class: "asked", role: "list" });
    this.#talks = h("ul", { class: "rows", role: "list", "aria-label": "Conversations" });
    this.#contacts = h("ul", { class: "rows", role: "list", "aria-label": "Contacts" });
    this.banner = h("p", { class: "banner", role: "status", hidden: true });
    this.empty = h("p", { class: "hint", hidden: true });
    this.node = h("nav", { class: "side", "aria-label": "Conversations and contacts" },
      h("header", { class: "top" }, this.#me,
        iconButton("hash", "Enter a room", () => shell.dialogs.room()),
        iconButton("plus", "New conversation", () => shell.dialogs.contact())),
      this.banner,
      h("div", { class: "find" }, this.#search),
      h("div", { class: "lists", on: { keydown: (event) => this.#key(event) } },
        this.#asked,
        this.#talks,
        this.empty,
        h("h2", { class: "heading", id: "contacts", text: "Contacts" }), this.#contacts));
  }

  /** Marks the conversation that is shown. */
  select(key) {
    this.#current = key;
    this.update();
  }

  focus() {
    (this.#rows().find((r) => r.tabIndex === 0) ?? this.#search).focus();
  }

  focusSearch() {
    this.#search.focus();
    this.#search.select();
  }

  update() {
    const { roster, rooms, talk, client } = this.#app;
    this.#showMe();
    const asked = this.#search.value.trim().toLowerCase();
    const fits = (key) => asked === "" || key.includes(asked) || this.#shell.name(key).toLowerCase().includes(asked);
    each(this.#asked, this.#requests(), (r) => r.key, (r) => r.make());
    const talks = talk.conversations.recent().filter((c) => fits(c.key));
    each(this.#talks, talks, (c) => c.key, (c) => this.#row(c.key), (node, c) => this.#showTalk(node, c));
    const contacts = roster.contacts.filter((c) => fits(c.jid) && !talk.conversations.get(c.jid));
    const away = (jid) => [undefined, "offline"].includes(roster.presence(jid).show);
    contacts.sort((a, b) => away(a.jid) - away(b.jid));
    each(this.#contacts, contacts, (c) => c.jid, (c) => this.#row(c.jid), (node, c) => this.#showContact(node, c));
    const heading = this.node.querySelector("#contacts");
    set(heading, { hidden: contacts.length === 0 });
    const nothing = talks.length + contacts.length === 0 && (client.online || asked !== "");
    set(this.empty, {
      hidden: !nothing,
      text: asked ? "Nothing found." : "Nothing here yet. Begin a conversation with +, or enter a room with #.",
    });
    this.#rove();
  }

  #showMe() {
    const { client, show, state } = this.#app;
    const connected = state.name === "online" ? words.SHOW[show] : "Not connected";
    if (this.#me.dataset.shown === `${client.me} ${connected}`) return;
    this.#me.dataset.shown = `${client.me} ${connected}`;
    set(this.#me, { title: client.me });
    this.#me.replaceChildren(
      badged(mark(jids.local(client.me), client.me), state.name === "online" ? show : "offline"),
      h("span", { class: "two" }, h("strong", { text: jids.local(client.me) }), h("span", { class: "quiet", text: connected }), h("span", { class: "unseen", text: "Status and settings" })));
  }

  // Requests for subscription, and invitations.

  #requests() {
    const { roster, talk } = this.#app;
    return [
      ...[...roster.requests.values()].map((r) => ({ key: `s ${r.jid}`, make: () => this.#request(r) })),
      ...[...talk.invitations.values()].map((i) => ({ key: `i ${i.room}`, make: () => this.#invitation(i) })),
    ];
  }

  #request({ jid, status }) {
    return h("li", { class: "ask" },
      h("p", {}, h("strong", { text: jid }), " asks to be your contact.", status && h("span", { class: "quiet", text: ` “${status}”` })),
      h("div", { class: "choices" },
        h("button", { type: "button", class: "main", text: "Accept", "aria-label": `Accept ${jid}`, on: { click: () => this.#app.roster.accept(jid) } }),
        h("button", { type: "button", text: "Decline", "aria-label": `Decline ${jid}`, on: { click: () => this.#app.roster.decline(jid) } })));
  }

  #invitation({ room, from, reason, password }) {
    return h("li", { class: "ask" },
      h("p", {}, h("strong", { text: from || "Somebody" }), " invites you to the room ", h("strong", { text: jids.local(room) }), ".",
        reason && h("span", { class: "quiet", text: ` “${reason}”` })),
      h("div", { class: "choices" },
        h("button", {
          type: "button", class: "main", text: "Enter", "aria-label": `Enter ${room}`,
          on: { click: () => this.#shell.enter(room, { password }) },
        }),
        h("button", { type: "button", text: "Decline", "aria-label": `Decline ${room}`, on: { click: () => this.#app.declineInvitation(room) } })));
  }

  // Rows.

  #row(key) {
    const button = h("button", { type: "button", class: "row", tabindex: "-1", on: { click: () => this.#shell.open(key) } });
    button.dataset.key = key;
    return h("li", {}, button);
  }

  /** Builds a row anew if what it shows has changed. */
  #fill(node, key, { name, kind, show, line, time, unread, mentioned }) {
    const button = node.firstChild;
    const current = key === this.#current;
    set(button, { "aria-current": current ? "true" : undefined });
    const shown = JSON.stringify([name, kind, show, line, time, unread, mentioned]);
    if (button.dataset.shown === shown) return;
    button.dataset.shown = shown;
    const presence = show === undefined ? "" : words.SHOW[show];
    button.replaceChildren(
      badged(mark(name, key, kind), show),
      h("span", { class: "two" },
        h("span", { class: "first" }, h("strong", { text: name }), time && h("time", { class: "quiet", text: time })),
        h("span", { class: "second" }, h("span", { class: "quiet line", text: line }),
          unread > 0 && h("span", { class: `count${mentioned ? " named" : ""}` },
            h("span", { "aria-hidden": "true", text: unread > 99 ? "99+" : String(unread) }),
            h("span", { class: "unseen", text: `${unread} unread${mentioned ? ", you are named" : ""}` })))),
      h("span", { class: "unseen", text: kind === "room" ? "Room" : presence }));
  }

  #showTalk(node, c) {
    const { roster } = this.#app;
    const last = c.last;
    const who = !last ? "" : last.mine ? "You: " : c.kind === "room" && last.nick ? `${last.nick}: ` : "";
    this.#fill(node, c.key, {
      name: this.#shell.name(c.key), kind: c.kind, show: c.kind === "chat" ? roster.presence(c.key).show : undefined,
      line: last ? who + (last.removed ? "(removed)" : last.body.slice(0, 120)) : c.kind === "room" ? "Room" : c.key,
      time: last ? when.short(last.time) : "", unread: c.unread, mentioned: c.mentioned,
    });
  }

  #showContact(node, { jid, subscription, ask }) {
    const { show, status } = this.#app.roster.presence(jid);
    const waiting = ask === "subscribe" && subscription !== "to" && subscription !== "both";
    this.#fill(node, jid, {
      name: this.#shell.name(jid), kind: "chat", show, line: waiting ? "Asked, no answer yet" : status || (show === undefined ? "" : words.SHOW[show]),
      time: "", unread: 0, mentioned: false,
    });
  }

  // Keys: one stop for the tabulator, arrows within.

  #rows() {
    return [...this.node.querySelectorAll(".row")];
  }

  #rove() {
    const all = this.#rows();
    const stop = all.find((r) => r === document.activeElement) ?? all.find((r) => r.dataset.key === this.#current) ?? all[0];
    for (const row of all) row.tabIndex = row === stop ? 0 : -1;
  }

  #key(event) {
    const all = this.#rows();
    const at = all.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (to < 0) this.#search.focus();
    else all[Math.min(to, all.length - 1)]?.focus();
    this.#rove();
  }

  #searchKey(event) {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      this.#rows()[0]?.focus();
      this.#rove();
    } else if (event.key === "Enter") {
      const first = this.#rows()[0];
      if (!first) return;
      this.#search.value = "";
      this.#shell.open(first.dataset.key);
    } else if (event.key === "Escape" && this.#search.value !== "") {
      event.stopPropagation();
      this.#search.value = "";
      this.update();
    }
  }

  /** The conversation before or behind the current one, in the order of the list. */
  neighbour(step) {
    const keys = [...this.#talks.querySelectorAll(".row")].map((r) => r.dataset.key);
    const at = keys.indexOf(this.#current);
    return keys[at < 0 ? 0 : (at + step + keys.length) % keys.length];
  }
}

/** A mark with a sign of how available its person is. */
export function badged(node, show) {
  return h("span", { class: "badged" }, node, show !== undefined && h("span", { class: `dot dot-${show || "online"}` }));
}

