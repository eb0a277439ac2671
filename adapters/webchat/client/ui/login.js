// The page to log in at.

import { h, set, say } from "./dom.js";
import { available } from "../xmpp/sasl.js";
import * as jids from "../xmpp/jid.js";
import * as words from "./words.js";

/**
 * Shows the form. domains are those of the server; submit(jid, password) logs in,
 * and rejects with what went wrong. error: why the last session ended.
 */
export function login(page, { domains, submit, error }) {
  const home = domains.includes(location.hostname) ? location.hostname : domains[0];
  const message = h("p", { class: "wrong", role: "alert", id: "wrong", hidden: true });
  const user = h("input", {
    id: "user", name: "username", type: "text", autocomplete: "username", autocapitalize: "none", spellcheck: "false", required: true,
    placeholder: home ? `name@${home}` : "name@example.org", "aria-describedby": "wrong",
  });
  const password = h("input", { id: "password", name: "password", type: "password", autocomplete: "current-password", required: true });
  const button = h("button", { type: "submit", class: "main", text: "Log in" });
  const fail = (text, field) => {
    set(message, { text, hidden: false });
    field?.focus();
    field?.select();
  };
  const form = h("form", {
    novalidate: true,
    on: {
      async submit(event) {
        event.preventDefault();
        const jid = jids.typed(user.value, home);
        if (!jid) return fail("That is no address: it looks like name@example.org.", user);
        if (password.value === "") return fail("Please enter the password.", password);
        set(button, { disabled: true, text: "Logging in…" });
        set(message, { hidden: true });
        try {
          await submit(jid, password.value);
        } catch (reason) {
          set(button, { disabled: false, text: "Log in" });
          fail(words.login(reason), reason.condition === "not-authorized" ? password : button);
        }
        return undefined;
      },
    },
  },
  h("label", { for: "user", text: "Address" }), user,
  h("label", { for: "password", text: "Password" }), password,
  message, button);
  const logo = h("img", { src: "icon.svg", alt: "", class: "logo", width: "56", height: "56" });
  page.replaceChildren(h("main", { class: "login" }, h("div", { class: "card" },
    logo, h("h1", { text: "Chat" }), home && h("p", { class: "at", text: `at ${home}` }), form)));
  document.title = "Log in – hexmpp chat";
  if (!available()) {
    form.inert = true;
    set(button, { disabled: true });
    fail("This page came over a connection that is not encrypted, where browsers do not let it log in safely. Open it by https://, or as http://localhost on the server's own machine.");
  } else if (error) {
    fail(words.login(error));
    say(words.login(error));
  }
  user.focus();
}
