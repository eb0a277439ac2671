// Begins: goes on with the session of this tab, or asks who it is.

import { App } from "./chat/app.js";
import { Vault } from "./chat/vault.js";
import { login } from "./ui/login.js";
import { Shell } from "./ui/shell.js";
import { claim, withoutSession } from "./chat/tab.js";

const page = document.getElementById("page");
const vault = new Vault(sessionStorage);

/** {domains, websocket}: of the server that this page came from. */
async function configuration() {
  const answer = await fetch("config.json", { cache: "no-cache" });
  if (!answer.ok) throw new Error(`config.json: ${answer.status}`);
  const { domains, websocket } = await answer.json();
  const url = new URL(websocket, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return { domains, url: url.href };
}

function ask(config, error) {
  login(page, {
    domains: config.domains,
    error,
    async submit(jid, password) {
      vault.clear(); // whatever is left there is another session's
      const app = new App({ url: config.url, vault });
      await app.client.login(jid, password);
      show(config, app);
    },
  });
}

function show(config, app) {
  const shell = new Shell(page, app);
  const life = new AbortController();
  app.client.on("state", (state) => {
    if (state.name !== "ended") return;
    life.abort();
    shell.end();
    history.replaceState(null, "", location.pathname);
    ask(config, state.error);
  });
  const { signal } = life;
  addEventListener("pagehide", () => app.save(), { signal });
  addEventListener("pageshow", () => app.client.probe(), { signal });
  addEventListener("online", () => app.client.probe(), { signal });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") app.save();
    else app.client.probe();
  }, { signal });
}

async function begin() {
  const config = await configuration();
  const original = await claim(sessionStorage, navigator.locks);
  let saved = vault.load();
  if (!saved) {
    ask(config);
    return;
  }
  if (!original) saved = withoutSession(saved);
  const app = new App({ url: config.url, vault, saved });
  show(config, app);
  app.client.resume();
}

begin().catch((error) => {
  const text = document.createElement("p");
  text.className = "plain";
  text.textContent = `The chat can't begin: ${error.message}. Reload the page to try again.`;
  page.replaceChildren(text);
});
