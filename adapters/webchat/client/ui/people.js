// Who is in a room.

import { h, set, each, iconButton, mark } from "./dom.js";
import { badged } from "./sidebar.js";

const RANK = { moderator: 0, participant: 1, visitor: 2, none: 3 };
const TITLE = { owner: "Owner", admin: "Admin", member: "Member" };

export class People {
  #app;
  #shell;
  #list;

  constructor(app, shell) {
    this.#app = app;
    this.#shell = shell;
    this.#list = h("ul", { class: "rows", role: "list" });
    this.heading = h("h2", { class: "title", text: "In this room", tabindex: "-1" });
    this.node = h("aside", { class: "people", "aria-label": "Who is here", hidden: true },
      h("header", { class: "top" }, this.heading, iconButton("close", "Close the list", () => shell.togglePeople())),
      this.#list);
  }

  update(key) {
    const room = this.#app.rooms.get(key);
    const people = [...room?.occupants.values() ?? []].sort((a, b) => RANK[a.role] - RANK[b.role] || a.nick.localeCompare(b.nick));
    each(this.#list, people, (p) => p.nick, (p) => h("li", {}, h("button", {
      type: "button", class: "row", on: { click: () => this.#shell.open(`${room.jid}/${p.nick}`) },
    })), (node, p) => {
      const button = node.firstChild;
      const me = p.nick === room.nick;
      const title = [me && "You", p.role === "moderator" && "Moderator", p.role === "visitor" && "May not speak", TITLE[p.affiliation]]
        .filter(Boolean).join(" · ");
      const shown = `${p.show}|${title}|${p.status}`;
      if (button.dataset.shown === shown) return;
      button.dataset.shown = shown;
      set(button, { disabled: me, title: me ? undefined : `Write to ${p.nick} in private` });
      button.replaceChildren(badged(mark(p.nick, `${room.jid}/${p.nick}`), p.show),
        h("span", { class: "two" }, h("strong", { text: p.nick }), h("span", { class: "quiet line", text: title || p.status })));
    });
  }
}
