import test from "node:test";
import assert from "node:assert/strict";
import { App } from "../client/chat/app.js";
import { Vault } from "../client/chat/vault.js";
import { withoutSession } from "../client/chat/tab.js";
import { xml, parse } from "../client/xmpp/xml.js";
import * as ns from "../client/xmpp/ns.js";
import { Server } from "./server.js";

const ME = "romeo@localhost";
const JULIET = "juliet@localhost";
const ROOM = "coven@conference.localhost";

/** sessionStorage, in memory. */
class Storage {
  items = new Map();
  get length() { return this.items.size; }
  key(i) { return [...this.items.keys()][i] ?? null; }
  getItem(name) { return this.items.get(name) ?? null; }
  setItem(name, value) {
    if (this.full) throw new DOMException("full", "QuotaExceededError");
    this.items.set(name, value);
  }
  removeItem(name) { this.items.delete(name); }
}

const message = (from, id, body, ...more) => xml("message", { from, to: ME, type: "chat", id }, xml("body", {}, body), ...more);
const stanzaId = (id, by = ME) => xml("stanza-id", { xmlns: ns.SID, id, by });
const delayed = (stamp) => xml("delay", { xmlns: ns.DELAY, stamp });
const forwarded = (stanza, stamp) => xml("forwarded", { xmlns: ns.FORWARD }, delayed(stamp), Object.assign(stanza, { ns: ns.CLIENT }));
const at = (second) => `2020-11-27T10:00:${String(second).padStart(2, "0")}Z`;

/** A server with an account that has an archive, a contact, and a room. */
function world(options) {
  const server = new Server(options);
  Object.assign(server, { archive: [], room: [], offline: [], bookmarks: [] });
  server.answer = (iq) => {
    const reply = (...payload) => xml("iq", { type: "result", id: iq.attrs.id, from: iq.attrs.to }, ...payload);
    const payload = iq.elements()[0];
    switch (payload?.ns) {
      case ns.ROSTER: return reply(xml("query", { xmlns: ns.ROSTER }, iq.attrs.type === "get" && xml("item", { jid: JULIET, name: "Juliet", subscription: "both" })));
      case ns.TIME: return reply(xml("time", { xmlns: ns.TIME }, xml("utc", {}, new Date().toISOString())));
      case ns.PRIVATE: return reply(xml("query", { xmlns: ns.PRIVATE }, xml("storage", { xmlns: ns.BOOKMARKS },
        server.bookmarks.map((jid) => xml("conference", { jid, autojoin: "true" })))));
      case ns.DISCO_INFO: return reply(xml("query", { xmlns: ns.DISCO_INFO },
        xml("identity", { category: "conference", type: "text", name: "The coven" }), [ns.MUC, ns.MAM].map((f) => xml("feature", { var: f }))));
      case ns.DISCO_ITEMS: return reply(xml("query", { xmlns: ns.DISCO_ITEMS }, xml("item", { jid: "conference.localhost" })));
      case ns.MAM: return page(server, iq, payload, reply);
      default: return reply();
    }
  };
  return server;
}

/** One page of an archive: [{id, stanza, stamp}], as XEP-0059 has it. */
function page(server, iq, query, reply) {
  const all = iq.attrs.to ? server.room : server.archive;
  const set = query.child("set", ns.RSM);
  const max = Number(set.childText("max"));
  let found = all;
  const after = set.child("after")?.text;
  const before = set.child("before");
  if (after !== undefined) found = all.slice(all.findIndex((m) => m.id === after) + 1);
  if (before?.text) found = all.slice(0, all.findIndex((m) => m.id === before.text));
  const cut = before ? found.slice(-max) : found.slice(0, max);
  for (const m of cut) {
    server.socket.stanza(xml("message", { from: iq.attrs.to, to: `${ME}/r` },
      xml("result", { xmlns: ns.MAM, queryid: query.attrs.queryid, id: m.id }, forwarded(parse(m.stanza), m.stamp))));
  }
  return reply(xml("fin", { xmlns: ns.MAM, complete: cut.length === found.length ? "true" : undefined }));
}

const archived = (id, stanza, stamp) => ({ id, stanza: Object.assign(stanza, { ns: ns.CLIENT }).toString(), stamp });

async function begin(t, server, { storage = new Storage(), login = true, saved } = {}) {
  const app = new App({ url: "ws://localhost", open: server.open, vault: new Vault(storage), saved });
  app.incoming = [];
  app.talk.on("incoming", (c, m, named) => app.incoming.push(named ? `${m.body}!` : m.body));
  t.after(() => app.client.logout());
  if (login) {
    await app.client.login(ME, "secret");
    await server.until(() => app.service !== undefined, "the session has begun");
  }
  return app;
}

const said = (app, key) => app.talk.conversations.get(key)?.messages.map((m) => m.body) ?? [];
const sent = (server, name = "message") => server.got.filter((e) => e.name === name);

/** Resolves when all that was sent to the client before has been handled. */
async function settled(app, server) {
  const id = `mark${Math.random()}`;
  let seen = false;
  app.client.on("stanza", (s) => { seen ||= s.attrs.id === id; });
  server.socket.stanza(xml("message", { from: "localhost", id }));
  await server.until(() => seen, "the mark came");
}

test("a login: contacts, what waited is unread, what is in the archive is not, and nothing twice", async (t) => {
  const server = world();
  server.archive = [
    archived("a1", message(`${JULIET}/x`, "1", "old"), at(1)),
    archived("a2", xml("message", { from: `${ME}/other`, to: JULIET, type: "chat", id: "2" }, xml("body", {}, "mine")), at(2)),
    archived("a3", message(`${JULIET}/x`, "3", "waited"), at(3)),
  ];
  const take = server.answer;
  server.answer = (iq) => {
    if (iq.elements()[0]?.ns === ns.TIME) server.socket.stanza(message(`${JULIET}/x`, "3", "waited", stanzaId("a3"), delayed(at(3))));
    return take(iq);
  };
  const app = await begin(t, server);
  assert.deepEqual(said(app, JULIET), ["old", "mine", "waited"]);
  assert.deepEqual(app.talk.conversations.get(JULIET).messages.map((m) => m.mine), [false, true, false]);
  assert.equal(app.talk.conversations.get(JULIET).unread, 1);
  assert.equal(app.roster.name(JULIET), "Juliet");
  assert.equal(app.talk.head, "a3");
});

test("XEP-0280: copies of the own server are taken, all others are lies", async (t) => {
  const server = world();
  const app = await begin(t, server);
  const copy = (name, stanza) => xml(name, { xmlns: ns.CARBONS }, forwarded(stanza, at(1)));
  const mine = () => xml("message", { from: `${ME}/phone`, to: JULIET, type: "chat", id: "m" }, xml("body", {}, "from my phone"));
  server.socket.stanza(xml("message", { from: ME, to: `${ME}/r` }, copy("sent", mine())));
  server.socket.stanza(xml("message", { from: ME, to: `${ME}/r` }, copy("received", message(`${JULIET}/x`, "j", "to my phone"))));
  for (const from of ["mallory@localhost/x", "mallory@localhost", `${ME}/phone`, "localhost"]) {
    server.socket.stanza(xml("message", { from, to: `${ME}/r` }, copy("received", message(`${JULIET}/x`, "f", "forged"))));
    server.socket.stanza(xml("message", { from, to: `${ME}/r` }, xml("result", { xmlns: ns.MAM, queryid: "q", id: "x" }, forwarded(message(JULIET, "f", "forged"), at(1)))));
  }
  server.socket.stanza(xml("message", { from: ME, to: `${ME}/r` }, copy("sent", message(`${JULIET}/x`, "s", "forged by me?"))));
  await settled(app, server);
  assert.deepEqual(said(app, JULIET), ["from my phone", "to my phone"]);
  assert.deepEqual([...app.talk.conversations.all.keys()], [JULIET]);
});

test("XEP-0313: what others say is in an archive is not", async (t) => {
  const server = world();
  const take = server.answer;
  server.answer = (iq) => {
    const query = iq.elements()[0];
    if (query?.ns === ns.MAM) {
      for (const from of ["mallory@localhost/x", "localhost", ROOM]) {
        server.socket.stanza(xml("message", { from }, xml("result", { xmlns: ns.MAM, queryid: query.attrs.queryid, id: "x" }, forwarded(message(JULIET, "f", "forged"), at(1)))));
      }
    }
    return take(iq);
  };
  const app = await begin(t, server);
  assert.equal(app.talk.conversations.all.size, 0);
});

test("a page that is reloaded has what it had, and gets what came meanwhile, once", async (t) => {
  const server = world();
  const storage = new Storage();
  const app = await begin(t, server, { storage });
  server.socket.stanza(xml("presence", { from: `${JULIET}/x` }, xml("show", {}, "away")));
  server.socket.stanza(message(`${JULIET}/x`, "1", "one"));
  await settled(app, server);
  app.save();
  server.socket.deaf = true; // on its way when the page goes
  app.talk.say(JULIET, "mine");
  const { session } = server.socket;
  session.sent.push(Object.assign(message(`${JULIET}/x`, "2", "two"), { ns: ns.CLIENT }).toString());
  const kept = new Storage();
  for (const [name, value] of storage.items) kept.setItem(name, value);
  server.socket.closed = true;
  const saved = new Vault(kept).load();
  const again = await begin(t, server, { storage: kept, login: false, saved });
  again.client.resume();
  await server.until(() => said(again, JULIET).length === 3 && again.talk.conversations.get(JULIET).messages[1].state === "sent");
  assert.deepEqual(said(again, JULIET), ["one", "mine", "two"]);
  assert.equal(again.roster.presence(JULIET).show, "away");
  assert.deepEqual(sent(server).map((m) => m.childText("body")), ["mine"]);
  assert.equal(server.sessions.size, 1);
});

test("a session that is lost: what the archive has is not sent again, the rest is", async (t) => {
  const server = world();
  server.archive = [archived("a0", message(`${JULIET}/x`, "0", "zero"), at(0))];
  const app = await begin(t, server);
  server.socket.deaf = true;
  app.talk.say(JULIET, "arrived");
  app.talk.say(JULIET, "lost");
  const [, arrived] = app.talk.conversations.get(JULIET).messages;
  server.archive.push(
    archived("a1", xml("message", { from: `${ME}/r`, to: JULIET, type: "chat", id: arrived.id }, xml("body", {}, "arrived")), new Date().toISOString()),
    archived("a2", message(`${JULIET}/x`, "2", "meanwhile"), new Date().toISOString()));
  server.sessions.clear();
  server.socket.cut();
  await server.until(() => sent(server).length > 0 && app.talk.conversations.get(JULIET).messages.every((m) => m.state !== "pending"));
  assert.deepEqual(sent(server).map((m) => m.childText("body")), ["lost"]);
  assert.deepEqual(said(app, JULIET).sort(), ["arrived", "lost", "meanwhile", "zero"]);
  assert.equal(app.talk.conversations.get(JULIET).unread, 1);
});

test("a gap that is too wide is no gap: what is known is read anew", async (t) => {
  const server = world();
  server.archive = [archived("a0", message(`${JULIET}/x`, "0", "zero"), at(0))];
  const app = await begin(t, server);
  for (let i = 1; i <= 2100; i++) server.archive.push(archived(`a${i}`, message(`${JULIET}/x`, `${i}`, `${i}`), new Date(Date.now() - 10_000 + i).toISOString()));
  server.sessions.clear();
  server.socket.cut();
  await server.until(() => said(app, JULIET).at(-1) === "2100", "the newest is there");
  assert.deepEqual(said(app, JULIET), Array.from({ length: 100 }, (_, i) => `${2001 + i}`));
});

test("older messages are read page by page to the beginning", async (t) => {
  const server = world();
  for (let i = 1; i <= 180; i++) server.archive.push(archived(`a${i}`, message(`${JULIET}/x`, `${i}`, `${i}`), new Date(1e12 + Math.floor(i / 3)).toISOString()));
  const app = await begin(t, server);
  const c = app.talk.conversations.get(JULIET);
  assert.equal(c.messages.length, 100);
  while (!c.complete) await app.talk.older(JULIET);
  assert.deepEqual(said(app, JULIET), Array.from({ length: 180 }, (_, i) => `${i + 1}`));
  assert.equal(c.unread, 0);
});

test("errors of messages are told at the message", async (t) => {
  const server = world();
  const app = await begin(t, server);
  app.talk.conversations.open(JULIET, "chat");
  app.talk.say(JULIET, "hello");
  const m = app.talk.conversations.get(JULIET).last;
  server.socket.stanza(xml("message", { from: JULIET, to: `${ME}/r`, type: "error", id: m.id }, xml("body", {}, "hello"),
    xml("error", { type: "cancel" }, xml("service-unavailable", { xmlns: ns.STANZAS }))));
  await settled(app, server);
  assert.deepEqual([m.state, m.error.condition, said(app, JULIET).length], ["failed", "service-unavailable", 1]);
  app.talk.again(JULIET, m.uid);
  await server.until(() => m.state === "sent");
});

// Rooms.

const occupant = (nick, item = {}, codes = [], type) => xml("presence", { from: `${ROOM}/${nick}`, to: `${ME}/r`, type },
  xml("x", { xmlns: ns.MUC_USER }, xml("item", { affiliation: "none", role: "participant", ...item }), codes.map((code) => xml("status", { code }))));
const spoken = (nick, id, body, ...more) => xml("message", { from: `${ROOM}/${nick}`, to: `${ME}/r`, type: "groupchat", id }, xml("body", {}, body), ...more);

async function enter(app, server, codes = ["110"]) {
  const entered = app.enterRoom(ROOM, { nick: "romeo" });
  await server.until(() => sent(server, "presence").some((p) => p.attrs.to === `${ROOM}/romeo`));
  for (const p of [occupant("witch"), occupant("romeo", {}, codes)]) server.socket.stanza(p);
  return entered;
}

test("a room: who is there, what was said, what is said, the subject, leaving", async (t) => {
  const server = world();
  server.room = [archived("r1", spoken("witch", "1", "before"), at(1)), archived("r2", spoken("romeo", "2", "I was here once"), at(2))];
  const app = await begin(t, server);
  assert.deepEqual(await enter(app, server), { created: false });
  await server.until(() => said(app, ROOM).length === 2);
  const room = app.rooms.get(ROOM);
  assert.deepEqual([[...room.occupants.keys()], room.title, room.state], [["witch", "romeo"], "The coven", "in"]);
  server.socket.stanza(xml("message", { from: `${ROOM}/witch`, type: "groupchat" }, xml("subject", {}, "Thunder")));
  server.socket.stanza(spoken("witch", "3", "hail Romeo", stanzaId("r3", ROOM)));
  server.socket.stanza(spoken("witch", "4", "romeoesque", stanzaId("r4", ROOM)));
  app.talk.say(ROOM, "hail");
  const mine = app.talk.conversations.get(ROOM).last;
  await server.until(() => sent(server).length > 0);
  server.socket.stanza(spoken("romeo", mine.id, "hail", stanzaId("r5", ROOM)));
  await settled(app, server);
  assert.equal(room.subject, "Thunder");
  assert.deepEqual(said(app, ROOM).sort(), ["I was here once", "before", "hail", "hail Romeo", "romeoesque"]);
  assert.deepEqual([mine.state, mine.archive], ["sent", "r5"]);
  assert.deepEqual(app.incoming, ["hail Romeo!", "romeoesque"]);
  assert.deepEqual([app.talk.conversations.get(ROOM).unread, app.talk.conversations.get(ROOM).mentioned], [2, true]);
  app.leaveRoom(ROOM);
  await server.until(() => sent(server, "presence").some((p) => p.attrs.to === `${ROOM}/romeo` && p.attrs.type === "unavailable"));
  assert.equal(app.rooms.get(ROOM), undefined);
});

test("a room is made, and refused, and one is thrown out of it", async (t) => {
  const server = world();
  const app = await begin(t, server);
  assert.deepEqual(await enter(app, server, ["110", "201"]), { created: true });
  await app.rooms.configure(ROOM, { name: "Coven", persistent: true, members: false });
  const form = server.got.findLast((e) => e.child("query", ns.MUC_OWNER)).child("query").child("x", ns.FORM);
  assert.deepEqual(form.elements("field").map((f) => `${f.attrs.var}=${f.childText("value")}`), [
    "FORM_TYPE=http://jabber.org/protocol/muc#roomconfig", "muc#roomconfig_roomname=Coven", "muc#roomconfig_persistentroom=1",
    "muc#roomconfig_membersonly=0", "muc#roomconfig_publicroom=1"]);
  server.socket.stanza(occupant("romeo", { role: "none" }, ["110", "307"], "unavailable"));
  await settled(app, server);
  assert.deepEqual([app.rooms.get(ROOM).state, app.rooms.get(ROOM).error.condition], ["failed", "kicked"]);
  app.talk.say(ROOM, "let me in");
  assert.equal(app.talk.conversations.get(ROOM).last.state, "failed");
  const again = app.enterRoom(ROOM);
  const refused = assert.rejects(again, { condition: "registration-required" });
  await server.until(() => sent(server, "presence").filter((p) => p.attrs.to === `${ROOM}/romeo`).length === 2);
  server.socket.stanza(xml("presence", { from: `${ROOM}/romeo`, type: "error" }, xml("error", { type: "auth" }, xml("registration-required", { xmlns: ns.STANZAS }))));
  await refused;
});

test("rooms that were marked are entered at the next login; those we were in, in the next session", async (t) => {
  const server = world();
  server.bookmarks = [ROOM];
  const app = new App({ url: "ws://localhost", open: server.open, vault: new Vault(new Storage()) });
  t.after(() => app.client.logout());
  await app.client.login(ME, "secret");
  const entries = () => sent(server, "presence").filter((p) => p.attrs.to === `${ROOM}/romeo`).length;
  await server.until(() => entries() === 1);
  server.socket.stanza(occupant("romeo", {}, ["110"]));
  await server.until(() => app.rooms.get(ROOM).state === "in");
  server.sessions.clear();
  server.socket.cut();
  await server.until(() => entries() === 2);
  assert.equal(app.rooms.get(ROOM).state, "entering");
});

test("messages of occupants in private are conversations of their own", async (t) => {
  const server = world();
  const app = await begin(t, server);
  await enter(app, server);
  server.socket.stanza(message(`${ROOM}/witch`, "p", "psst", xml("x", { xmlns: ns.MUC_USER })));
  await settled(app, server);
  assert.deepEqual(said(app, `${ROOM}/witch`), ["psst"]);
  app.talk.say(`${ROOM}/witch`, "what?");
  await server.until(() => sent(server).length === 1);
  assert.deepEqual([sent(server)[0].attrs.to, sent(server)[0].attrs.type], [`${ROOM}/witch`, "chat"]);
});

test("invitations are shown, not followed", async (t) => {
  const server = world();
  const app = await begin(t, server);
  server.socket.stanza(xml("message", { from: ROOM }, xml("x", { xmlns: ns.MUC_USER }, xml("invite", { from: `${JULIET}/x` }, xml("reason", {}, "come")))));
  server.socket.stanza(xml("message", { from: `${JULIET}/x` }, xml("x", { xmlns: ns.INVITE, jid: "other@conference.localhost" })));
  await settled(app, server);
  assert.deepEqual([...app.talk.invitations.values()].map((i) => [i.room, i.from, i.reason]), [[ROOM, JULIET, "come"], ["other@conference.localhost", JULIET, ""]]);
  assert.equal(sent(server, "presence").length, 1);
  app.declineInvitation(ROOM);
  await server.until(() => sent(server).length === 1);
  assert.equal(sent(server)[0].child("x").child("decline").attrs.to, JULIET);
});

// Contacts.

test("RFC 6121 section 3: who asks is shown; who was asked first is not asked about", async (t) => {
  const server = world();
  const app = await begin(t, server);
  server.socket.stanza(xml("presence", { from: "mallory@localhost", type: "subscribe" }, xml("status", {}, "please")));
  server.socket.stanza(xml("presence", { from: JULIET, type: "subscribe" })); // may already
  await settled(app, server);
  assert.deepEqual([...app.roster.requests.values()], [{ jid: "mallory@localhost", status: "please" }]);
  app.roster.accept("mallory@localhost");
  await app.roster.add("nurse@localhost", "Nurse");
  server.socket.stanza(xml("iq", { type: "set", id: "push", to: `${ME}/r` }, xml("query", { xmlns: ns.ROSTER }, xml("item", { jid: "nurse@localhost", name: "Nurse", subscription: "none", ask: "subscribe" }))));
  server.socket.stanza(xml("iq", { type: "set", id: "forged", from: "mallory@localhost/x" }, xml("query", { xmlns: ns.ROSTER }, xml("item", { jid: "evil@localhost", subscription: "both" }))));
  server.socket.stanza(xml("presence", { from: "nurse@localhost", type: "subscribe" }));
  await settled(app, server);
  await server.until(() => sent(server, "presence").length === 5);
  assert.deepEqual(sent(server, "presence").slice(1).map((p) => `${p.attrs.type} ${p.attrs.to}`),
    ["subscribed mallory@localhost", "subscribe mallory@localhost", "subscribe nurse@localhost", "subscribed nurse@localhost"]);
  assert.equal(app.roster.items.has("evil@localhost"), false);
  assert.equal(app.roster.requests.size, 0);
});

test("presence: the resource that counts is that with the highest priority", async (t) => {
  const server = world();
  const app = await begin(t, server);
  const there = (resource, show, priority) => xml("presence", { from: `${JULIET}/${resource}` }, show && xml("show", {}, show), xml("priority", {}, String(priority)));
  for (const p of [there("a", "", 1), there("b", "dnd", 5), there("c", "away", 5), there("d", "nonsense", 0)]) server.socket.stanza(p);
  await settled(app, server);
  assert.equal(app.roster.presence(JULIET).show, "away");
  for (const r of "abcd") server.socket.stanza(xml("presence", { from: `${JULIET}/${r}`, type: "unavailable" }));
  await settled(app, server);
  assert.equal(app.roster.presence(JULIET).show, "offline");
});

// What is kept.

test("a full storage ends keeping, not the chat", async (t) => {
  const server = world();
  const storage = new Storage();
  const app = await begin(t, server, { storage });
  storage.full = true;
  t.mock.method(console, "warn", () => {});
  server.socket.stanza(message(`${JULIET}/x`, "1", "one"));
  await settled(app, server);
  app.save();
  assert.deepEqual(said(app, JULIET), ["one"]);
  assert.equal(new Vault(storage).load(), undefined);
});

test("a tab that is a copy begins a session of its own, and sends nothing again", async (t) => {
  const server = world();
  const storage = new Storage();
  const app = await begin(t, server, { storage });
  app.talk.conversations.open(JULIET, "chat");
  server.socket.deaf = true;
  app.talk.say(JULIET, "once");
  const copy = await begin(t, server, { login: false, saved: withoutSession(new Vault(storage).load()) });
  copy.client.resume();
  await server.until(() => copy.service !== undefined && copy.client.online);
  await settled(copy, server);
  assert.equal(server.sessions.size, 2);
  assert.deepEqual(sent(server), []);
});

test("logging out forgets all", async (t) => {
  const server = world();
  const storage = new Storage();
  const app = await begin(t, server, { storage });
  app.save();
  assert.ok(storage.length > 0);
  await app.client.logout();
  app.save();
  assert.equal(storage.length, 0);
});

test("what others send without an end finds one", async (t) => {
  const server = world();
  const app = await begin(t, server);
  await enter(app, server);
  for (let i = 0; i < 5100; i++) server.socket.onmessage({ data: Object.assign(occupant(`n${i}`), { ns: ns.CLIENT }).toString() });
  assert.equal(app.rooms.get(ROOM).occupants.size, 5000);
  for (let i = 0; i < 60; i++) server.socket.stanza(xml("message", { from: `${JULIET}/x` }, xml("x", { xmlns: ns.INVITE, jid: `r${i}@conference.localhost` })));
  for (let i = 0; i < 120; i++) server.socket.stanza(xml("presence", { from: `${JULIET}/r${i}` }));
  server.socket.stanza(message(`${JULIET}/x`, "1", "from the future", delayed("3000-01-01T00:00:00Z")));
  await settled(app, server);
  assert.equal(app.talk.invitations.size, 50);
  assert.equal(app.roster.save().presence[0][1].length, 100);
  assert.ok(app.talk.conversations.get(JULIET).last.time <= app.talk.now());
});
