// Dialogs: to begin something, to change it, to end it. Each is a <dialog>, so
// that the browser keeps the focus in it and Escape closes it.

import { h, set, each, mark } from "./dom.js";
import * as jids from "../xmpp/jid.js";
import * as words from "./words.js";
import * as notify from "./notify.js";

export class Dialogs {
  #app;
  #shell;

  constructor(app, shell) {
    this.#app = app;
    this.#shell = shell;
  }

  /** Shows one; done(form) may throw an Error whose message is shown in it. */
  #open(title, fields, { action, done, extra = [] } = {}) {
    const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
    const main = action && h("button", { type: "submit", class: "main", text: action });
    const close = () => dialog.close();
    const form = h("form", {
      method: "dialog", novalidate: true,
      on: {
        async submit(event) {
          event.preventDefault();
          if (!done) return close();
          set(wrong, { hidden: true });
          set(main, { disabled: true });
          try {
            await done();
            close();
          } catch (error) {
            set(wrong, { text: error.message, hidden: false });
          }
          set(main, { disabled: false });
          return undefined;
        },
      },
    }, h("h2", { id: "dialog-title", text: title }), ...fields, wrong,
    h("div", { class: "choices" }, ...extra, h("button", { type: "button", text: action ? "Cancel" : "Close", on: { click: close } }), main));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title", on: { close: () => dialog.remove() } }, form);
    dialog.addEventListener("click", (event) => { if (event.target === dialog) close(); });
    document.body.append(dialog);
    dialog.showModal();
    return dialog;
  }

  /** Begins a conversation with somebody. */
  contact() {
    const address = field("Address", { placeholder: `name@${this.#shell.home}`, autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
    const add = check("Ask to be contacts, so that each sees whether the other is online", true);
    this.#open("New conversation", [address.node, add.node], {
      action: "Begin",
      done: async () => {
        const jid = jids.typed(address.value, this.#shell.home);
        if (!jid) throw new Error("That is no address: it looks like name@example.org.");
        if (jid === this.#app.client.me) throw new Error("That is your own address.");
        if (add.value && !["to", "both"].includes(this.#app.roster.items.get(jid)?.subscription)) await plainly(this.#app.roster.add(jid));
        this.#shell.open(jid);
      },
    });
  }

  /** Enters a room, or makes one. */
  room() {
    const { rooms, client } = this.#app;
    const name = field("Room", { placeholder: "name, or name@service", autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
    const nick = field("Your nickname there", { value: jids.local(client.me), autocomplete: "off", spellcheck: "false" });
    const password = field("Password, if the room has one", { type: "password", autocomplete: "off" });
    const list = h("ul", { class: "rows choose", role: "list", "aria-label": "Rooms that are listed" });
    const status = h("p", { class: "quiet", role: "status", text: "Looking for rooms…" });
    const dialog = this.#open("Enter a room", [name.node, nick.node, password.node, status, list], {
      action: "Enter",
      done: async () => {
        const jid = jids.typed(name.value.replaceAll(" ", "-"), this.#app.service || undefined);
        if (!jid) throw new Error(this.#app.service === undefined ? "There is no connection to the server." : "That is no name of a room: no spaces, and none of \" & ' / : < > @.");
        if (nick.value.trim() === "") throw new Error("Please choose a nickname.");
        await this.#shell.enter(jid, { nick: nick.value.trim(), password: password.value || undefined });
      },
    });
    (async () => {
      try {
        const service = this.#app.service ??= await rooms.service();
        if (service === "") {
          set(status, { text: "This server has no service for rooms; those of others can be entered by their addresses." });
          return;
        }
        const all = await rooms.list(service);
        if (!dialog.isConnected) return;
        set(status, { text: all.length > 0 ? `Rooms at ${service}:` : `No room is listed at ${service}. Any name makes a new one.` });
        each(list, all.slice(0, 200), (r) => r.jid, (r) => h("li", {}, h("button", {
          type: "button", class: "row", on: { click: () => { name.value = r.jid; dialog.querySelector("form").requestSubmit(); } },
        }, mark(r.name || jids.local(r.jid), r.jid, "room"), h("span", { class: "two" },
          h("strong", { text: r.name || jids.local(r.jid) }), h("span", { class: "quiet line", text: r.jid })))));
      } catch (error) {
        set(status, { text: `Rooms can't be listed: ${words.message(error)}.` });
      }
    })();
  }

  /** A room was just made. */
  created(jid) {
    const name = field("Name", { value: jids.local(jid), autocomplete: "off" });
    const stay = check("Keep the room when everybody has left it", true);
    const closed = check("Only who is invited may enter", false);
    let done = false;
    this.#open("A new room", [h("p", { class: "quiet", text: jid }), name.node, stay.node, closed.node], {
      action: "Open the room",
      done: async () => {
        await plainly(this.#app.rooms.configure(jid, { name: name.value.trim(), persistent: stay.value, members: closed.value }));
        done = true;
      },
    }).addEventListener("close", () => {
      if (!done) this.#app.rooms.configure(jid).catch((error) => this.#shell.notice(words.notice(error)));
    });
  }

  /** What one can do with a conversation. */
  about(key) {
    const c = this.#app.talk.conversations.get(key);
    if (c?.kind === "room") this.#aboutRoom(key);
    else if (c?.kind === "chat") this.#aboutContact(key);
    else if (c) this.#aboutPrivate(key);
  }

  #aboutRoom(key) {
    const room = this.#app.rooms.get(key);
    const subject = field("Subject", { value: room?.subject ?? "", autocomplete: "off" });
    const guest = field("Invite somebody", { placeholder: `name@${this.#shell.home}`, autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
    const dialog = this.#open(this.#shell.name(key), [h("p", { class: "quiet", text: key }), subject.node, guest.node], {
      action: "Save",
      done: async () => {
        const jid = guest.value.trim() === "" ? undefined : jids.typed(guest.value, this.#shell.home);
        if (guest.value.trim() !== "" && !jid) throw new Error("That is no address: it looks like name@example.org.");
        if (subject.value !== (room?.subject ?? "")) this.#app.rooms.setSubject(key, subject.value);
        if (jid) this.#app.rooms.invite(key, jid);
      },
      extra: [h("button", {
        type: "button", class: "danger", text: "Leave the room",
        on: { click: () => { dialog.close(); this.#app.leaveRoom(key); this.#shell.back(); } },
      })],
    });
  }

  #aboutContact(jid) {
    const { roster } = this.#app;
    const item = roster.items.get(jid);
    const name = field("Name in your list", { value: item?.name ?? "", autocomplete: "off" });
    const dialog = this.#open(this.#shell.name(jid), [h("p", { class: "quiet", text: jid }), name.node], {
      action: item ? "Save" : "Add to contacts",
      done: () => plainly(item ? roster.rename(jid, name.value.trim()) : roster.add(jid, name.value.trim())),
      extra: [
        item && h("button", {
          type: "button", class: "danger", text: "Remove contact",
          on: { click: () => { dialog.close(); roster.remove(jid).catch((error) => this.#shell.notice(words.notice(error))); } },
        }),
        this.#closer(jid, () => dialog.close()),
      ].filter(Boolean),
    });
  }

  #aboutPrivate(key) {
    const dialog = this.#open(this.#shell.name(key), [h("p", { class: "quiet", text: `Somebody in the room ${jids.bare(key)}` })],
      { extra: [this.#closer(key, () => dialog.close())] });
  }

  #closer(key, close) {
    return h("button", {
      type: "button", text: "Close conversation",
      on: { click: () => { close(); this.#app.closeConversation(key); this.#shell.back(); } },
    });
  }

  /** The own status, and settings. */
  me() {
    const app = this.#app;
    const shows = h("fieldset", {}, h("legend", { text: "Status" }), ...["", "away", "dnd"].map((show) =>
      h("label", { class: "check" }, h("input", {
        type: "radio", name: "show", value: show, checked: app.show === show, on: { change: () => app.setShow(show) },
      }), h("span", { text: words.SHOW[show] }))));
    const tell = check("Tell me of new messages when this page is not in sight", notify.on());
    set(tell.input, { disabled: !notify.possible() });
    tell.input.addEventListener("change", async () => { tell.value = await notify.turn(tell.value); });
    this.#open(app.client.me, [shows, tell.node,
      h("p", { class: "quiet", text: "Keys: Control+K searches, Alt+↑ and Alt+↓ change the conversation, Escape goes back to the list, Shift+Enter begins a new line." })],
    { extra: [h("button", { type: "button", class: "danger", text: "Log out", on: { click: () => app.client.logout() } })] });
  }
}

let number = 0;

/** A field with its label. */
function field(label, props) {
  const id = `field-${number += 1}`;
  const { value = "", ...rest } = props;
  const input = h("input", { id, type: "text", ...rest });
  input.value = value;
  return {
    node: h("div", { class: "field" }, h("label", { for: id, text: label }), input),
    get value() { return input.value; },
    set value(text) { input.value = text; },
  };
}

function check(label, checked) {
  const input = h("input", { type: "checkbox", checked });
  return {
    input,
    node: h("label", { class: "check" }, input, h("span", { text: label })),
    get value() { return input.checked; },
    set value(on) { input.checked = on; },
  };
}

/** Waits for a request; what it throws says so in plain words. */
async function plainly(request) {
  try {
    return await request;
  } catch (error) {
    throw new Error(`That did not work: ${error.condition === "offline" ? "there is no connection to the server" : words.message(error)}.`);
  }
}
