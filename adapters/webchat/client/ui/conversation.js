// One conversation: its heading, its messages, and where to write.

import { h, set, each, icon, iconButton, mark } from "./dom.js";
import { badged } from "./sidebar.js";
import { segments } from "./text.js";
import * as jids from "../xmpp/jid.js";
import * as when from "./when.js";
import * as words from "./words.js";

const TOGETHER = 5 * 60_000; // ms within which messages of one person stand together
const SHOWN = 150; // messages that are shown at first; more when scrolling up

export class ConversationView {
  #app;
  #shell;
  #key;
  #limit = SHOWN;
  #drafts = new Map(); // key -> what was not sent yet
  #bottom = true; // whether the end is in sight

  constructor(app, shell) {
    this.#app = app;
    this.#shell = shell;
    this.mark = h("span", {});
    this.title = h("h1", { class: "title", tabindex: "-1" });
    this.about = h("p", { class: "quiet about" });
    this.people = iconButton("people", "Who is here", () => shell.togglePeople(), { "aria-expanded": "false", class: "tool with-count" });
    this.peopleCount = h("span", { class: "tool-count", "aria-hidden": "true" });
    this.people.append(this.peopleCount);
    this.more = iconButton("more", "More", () => shell.dialogs.about(this.#key));
    this.notice = h("div", { class: "refused", role: "status", hidden: true });
    this.older = h("button", { type: "button", class: "older", text: "Show older messages", on: { click: () => this.#showOlder() } });
    this.log = h("div", { class: "log", role: "log", "aria-live": "polite", "aria-relevant": "additions", "aria-label": "Messages", tabindex: "0" });
    this.scroll = h("div", { class: "scroll", on: { scroll: () => this.#scrolled() } }, this.older, this.log);
    this.toEnd = iconButton("down", "To the newest message", () => this.#toEnd(), { class: "tool to-end", hidden: true });
    this.input = h("textarea", {
      rows: "1", dir: "auto", "aria-label": "Message", placeholder: "Write a message", autocapitalize: "sentences", enterkeyhint: "send",
      on: { keydown: (event) => this.#key_(event), input: () => this.#grow() },
    });
    this.form = h("form", { class: "write", on: { submit: (event) => this.#submit(event) } },
      this.input, h("button", { type: "submit", class: "main send", "aria-label": "Send", title: "Send" }, icon("send")));
    this.node = h("main", { class: "talk", "aria-labelledby": "title" },
      h("header", { class: "top" },
        iconButton("back", "Back to the list", () => shell.back(), { class: "tool back" }),
        this.mark, h("div", { class: "two" }, this.title, this.about), this.people, this.more),
      this.notice, h("div", { class: "middle" }, this.scroll, this.toEnd), this.form);
    this.title.id = "title";
  }

  get key() {
    return this.#key;
  }

  get conversation() {
    return this.#key === undefined ? undefined : this.#app.talk.conversations.get(this.#key);
  }

  /** Whether its end, where new messages appear, is in sight. */
  get atEnd() {
    return this.#bottom;
  }

  /** Shows a conversation, or none. */
  show(key) {
    if (key === this.#key) return;
    if (this.#key !== undefined) this.#drafts.set(this.#key, this.input.value);
    this.#key = key;
    this.#limit = SHOWN;
    this.#bottom = true;
    each(this.log, [], (x) => x);
    if (key === undefined) return;
    this.input.value = this.#drafts.get(key) ?? "";
    this.#quietly(() => this.update());
    this.#grow();
    this.#toEnd();
  }

  focus() {
    this.input.focus();
  }

  update() {
    const c = this.conversation;
    if (!c) return;
    this.#heading(c);
    this.#refusal(c);
    const { scroll } = this;
    const fromEnd = scroll.scrollHeight - scroll.scrollTop;
    const first = this.log.firstElementChild;
    const show = () => this.#messages(c);
    const messages = c.messages.slice(-this.#limit);
    // What is put in front was said long ago: nobody wants to hear it now.
    if (first && messages[0] && first.dataset.uid !== messages[0].uid) this.#quietly(show);
    else show();
    set(this.older, { hidden: c.messages.length <= this.#limit && (c.complete || !c.opened), disabled: this.#app.talk.loading(c.key) });
    set(this.log, { "aria-busy": String(this.#app.talk.loading(c.key)) });
    if (this.#bottom) scroll.scrollTop = scroll.scrollHeight;
    else if (first !== this.log.firstElementChild) scroll.scrollTop = scroll.scrollHeight - fromEnd;
  }

  #quietly(change) {
    set(this.log, { "aria-live": "off" });
    change();
    setTimeout(() => set(this.log, { "aria-live": "polite" }), 300);
  }

  // The heading.

  #heading(c) {
    const { roster, rooms } = this.#app;
    const name = this.#shell.name(c.key);
    const room = c.kind === "room" ? rooms.get(c.key) : undefined;
    const presence = c.kind === "chat" ? roster.presence(c.key) : undefined;
    const about = room ? room.subject || c.key
      : c.kind === "private" ? `in private, in the room ${jids.local(c.key)}`
        : [presence.show !== undefined && words.SHOW[presence.show], presence.status, c.key].filter(Boolean).join(" · ");
    const people = room?.occupants.size ?? 0;
    const shown = JSON.stringify([c.key, name, about, presence?.show, people]);
    if (this.node.dataset.shown === shown) return;
    this.node.dataset.shown = shown;
    this.mark.replaceChildren(badged(mark(name, c.key, c.kind), presence?.show));
    set(this.title, { text: name });
    set(this.about, { text: about, title: about });
    set(this.people, { hidden: !room, "aria-label": `Who is here: ${people}` });
    set(this.peopleCount, { text: String(people) });
    set(this.input, { placeholder: `Message ${name}`, "aria-label": `Message to ${name}` });
  }

  #refusal(c) {
    const room = c.kind === "room" ? this.#app.rooms.get(c.key) : undefined;
    const failed = c.kind === "room" && room?.state === "failed";
    const shown = failed ? words.room(room.error) : "";
    set(this.notice, { hidden: !failed });
    if (this.notice.dataset.shown === shown) return;
    this.notice.dataset.shown = shown;
    this.notice.replaceChildren(...(failed ? [
      h("p", { text: shown }),
      h("button", { type: "button", text: "Enter again", on: { click: () => this.#shell.enter(c.key, { nick: room.nick }) } }),
    ] : []));
  }

  // Messages.

  #messages(c) {
    const messages = c.messages.slice(-this.#limit);
    const items = messages.map((m, i) => {
      const before = messages[i - 1];
      const day = !before || !when.sameDay(before.time, m.time);
      const head = day || before.mine !== m.mine || before.nick !== m.nick || m.time - before.time > TOGETHER;
      return { m, day, head };
    });
    each(this.log, items, ({ m }) => m.uid, ({ m }) => {
      const node = h("div", { class: "said" });
      node.dataset.uid = m.uid;
      return node;
    }, (node, item) => this.#said(node, c, item));
  }

  #said(node, c, { m, day, head }) {
    const shown = [m.state, m.body, m.removed, m.error?.condition, day, head, day && when.heading(m.time)].join("|");
    if (node.dataset.shown === shown) return;
    node.dataset.shown = shown;
    set(node, { class: `said ${m.mine ? "mine" : "theirs"} ${head ? "head" : ""} ${m.state === "failed" ? "failed" : ""}` });
    const who = m.mine ? "You" : c.kind === "room" ? m.nick || this.#shell.name(c.key) : this.#shell.name(c.key);
    const inRoom = c.kind === "room" && !m.mine;
    node.replaceChildren(...[
      day && h("div", { class: "day" }, h("span", { text: when.heading(m.time) })),
      h("div", { class: "line-of" },
        inRoom && h("span", { class: "face" }, head && mark(who, m.from)),
        h("div", { class: "bubble" },
          inRoom && head ? h("span", { class: "who", text: who }) : h("span", { class: "unseen", text: `${who}: ` }),
          h("span", { class: m.removed ? "words quiet" : "words", dir: "auto" }, ...(m.removed ? ["This message was removed."] : linked(m.body))),
          h("span", { class: "meta" },
            h("time", { datetime: new Date(m.time).toISOString(), title: when.exact(m.time), text: when.clock(m.time) }),
            m.state && this.#state(m)))),
      m.state === "failed" && h("p", { class: "why" }, `Not delivered: ${words.message(m.error ?? {})}. `,
        h("button", { type: "button", class: "plain-button", text: "Send again", on: { click: () => this.#app.talk.again(c.key, m.uid) } })),
    ].filter(Boolean));
  }

  #state({ state }) {
    const [name, label] = { pending: ["clock", "Being sent"], sent: ["check", "Sent"], failed: ["alert", "Not delivered"] }[state];
    return h("span", { class: `state state-${state}`, title: label }, icon(name), h("span", { class: "unseen", text: label }));
  }

  // Scrolling.

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroll;
    this.#bottom = scrollHeight - scrollTop - clientHeight < 60;
    set(this.toEnd, { hidden: this.#bottom });
    if (this.#bottom) this.#shell.looked();
    if (scrollTop < 80 && scrollHeight > clientHeight && !this.older.hidden) this.#showOlder();
  }

  async #showOlder() {
    const c = this.conversation;
    if (!c || this.#app.talk.loading(c.key)) return;
    this.#bottom = false;
    if (c.messages.length > this.#limit) {
      this.#limit += SHOWN;
      this.update();
      return;
    }
    this.#limit += SHOWN;
    await this.#app.talk.older(c.key);
  }

  #toEnd() {
    this.#bottom = true;
    this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  // Writing.

  #key_(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.form.requestSubmit();
    }
  }

  #submit(event) {
    event.preventDefault();
    const body = this.input.value.trim();
    if (body === "" || !this.conversation) return;
    this.input.value = "";
    this.#grow();
    this.#bottom = true;
    this.#app.talk.say(this.#key, body);
    this.input.focus();
  }

  /** As high as its text, up to what the style allows. */
  #grow() {
    const lines = this.input.value.split("\n").reduce((n, l) => n + 1 + Math.floor(l.length / 60), 0);
    set(this.input, { rows: String(Math.min(6, Math.max(1, lines))) });
  }
}

/** Text with its links. */
function linked(text) {
  return segments(text).map((s) => s.href
    ? h("a", { href: s.href, rel: "noopener noreferrer", target: "_blank", text: s.text })
    : s.text);
}
