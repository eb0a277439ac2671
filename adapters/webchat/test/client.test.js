import test from "node:test";
import assert from "node:assert/strict";
import { Client } from "../client/xmpp/client.js";
import { xml } from "../client/xmpp/xml.js";
import * as ns from "../client/xmpp/ns.js";
import { Server } from "./server.js";

const message = (id, body = id) => xml("message", { to: "juliet@localhost", id }, xml("body", {}, body));

/** A client of the server, with what it told. */
function begin(t, server, saved) {
  const client = new Client({ url: "ws://localhost", open: server.open, saved });
  client.states = [];
  client.sessions = [];
  client.got = [];
  client.acks = [];
  client.on("state", (s) => client.states.push(s));
  client.on("session", (s) => client.sessions.push(s));
  client.on("stanza", (s) => client.got.push(s.attrs.id));
  client.on("acked", (ids) => client.acks.push(...ids));
  t.after(() => client.logout());
  return client;
}

const last = (client) => client.states.at(-1);
const ids = (server) => server.got.filter((e) => e.name === "message").map((e) => e.attrs.id);

test("a login, with the password never sent", async (t) => {
  const server = new Server();
  const client = begin(t, server);
  await client.login("romeo@localhost", "secret");
  assert.equal(client.jid, "romeo@localhost/r");
  assert.deepEqual(client.sessions, [{ resumed: false, certain: false }]);
  assert.ok(!server.socket.frames.some((f) => f.toString().includes("secret")));
  assert.ok(!JSON.stringify(client.save()).includes("secret"));
  client.send(message("1"));
  await server.until(() => client.acks.includes("1"));
});

test("a wrong password is told, and no more is tried", async (t) => {
  const server = new Server();
  const client = begin(t, server);
  await assert.rejects(client.login("romeo@localhost", "wrong"), { condition: "not-authorized" });
  assert.equal(server.sockets.length, 1);
  assert.equal(client.save(), undefined);
});

for (const [name, prepare, condition] of [
  ["PLAIN is never used", (s) => { s.mechanisms = ["PLAIN"]; }, "no-mechanism"],
  ["a server that can't be reached", (s) => { s.reachable = false; }, "connection-lost"],
]) {
  test(`a login fails: ${name}`, async (t) => {
    const server = new Server();
    prepare(server);
    await assert.rejects(begin(t, server).login("romeo@localhost", "secret"), { condition });
  });
}

test("a stream error and see-other-uri are told by their names", async (t) => {
  for (const [element, condition] of [
    [xml("error", { xmlns: ns.STREAM }, xml("host-unknown", { xmlns: ns.STREAM_ERRORS })), "host-unknown"],
    [xml("close", { xmlns: ns.FRAMING, "see-other-uri": "wss://other.example/" }), "see-other-host"],
  ]) {
    const server = new Server();
    const client = begin(t, server);
    const login = client.login("romeo@localhost", "secret");
    server.socket.got = () => server.socket.write(element);
    await assert.rejects(login, { condition });
  }
});

test("XEP-0198: a connection that breaks loses and doubles nothing", async (t) => {
  const server = new Server();
  const client = begin(t, server);
  await client.login("romeo@localhost", "secret");
  client.send(message("1"));
  await server.until(() => client.acks.includes("1"));
  const first = server.socket;
  first.deaf = true; // what is sent now is lost
  client.send(message("2"));
  first.stanza(xml("message", { id: "a" }));
  await server.until(() => client.got.includes("a"));
  first.session.sent.push(xml("message", { xmlns: ns.CLIENT, id: "b" }).toString()); // lost on the way to the client
  first.cut();
  await server.until(() => last(client).name === "waiting");
  client.send(message("3")); // said while nobody is there
  await server.until(() => client.acks.includes("3"));
  await server.until(() => client.got.includes("b"));
  assert.deepEqual(client.sessions.map((s) => s.resumed), [false, true]);
  assert.deepEqual(ids(server), ["1", "2", "3"]);
  assert.deepEqual(client.got, ["a", "b"]);
});

test("a page that is reloaded goes on where it was, with what it kept", async (t) => {
  const server = new Server();
  const before = begin(t, server);
  let kept;
  before.on("save", () => { kept = JSON.stringify(before.save()); });
  await before.login("romeo@localhost", "secret");
  server.socket.stanza(xml("message", { id: "a" }));
  server.socket.write(xml("r", { xmlns: ns.SM }));
  await server.until(() => server.socket.session.acked === 1);
  server.socket.deaf = true;
  before.send(message("1"));
  const after = begin(t, server, JSON.parse(kept)); // the page is gone at this very moment
  server.socket.cut();
  after.resume();
  await server.until(() => after.acks.includes("1"));
  assert.deepEqual(after.sessions, [{ resumed: true, certain: undefined }]);
  assert.deepEqual(ids(server), ["1"]);
  assert.deepEqual(after.got, []);
});

test("before anything is acknowledged it is kept", async (t) => {
  const server = new Server();
  const client = begin(t, server);
  await client.login("romeo@localhost", "secret");
  let kept = 0;
  client.on("save", () => { kept = client.save().sm.received; });
  for (const id of ["a", "b", "c"]) server.socket.stanza(xml("message", { id }));
  server.socket.write(xml("r", { xmlns: ns.SM }));
  const { session } = server.socket;
  server.socket.acknowledge = (h) => {
    assert.equal(kept, h);
    session.acked = h;
  };
  await server.until(() => session.acked === 3);
});

test("a session that can't be resumed is followed by another; what the server had is known where it says so", async (t) => {
  for (const told of [undefined, 1]) {
    const server = new Server();
    const client = begin(t, server);
    await client.login("romeo@localhost", "secret");
    server.socket.deaf = true;
    client.send(message("1"));
    client.send(message("2"));
    server.sessions.clear();
    server.told = told;
    server.socket.cut();
    await server.until(() => client.sessions.length === 2);
    assert.deepEqual(client.sessions[1], { resumed: false, certain: told !== undefined });
    assert.deepEqual(client.acks, told === 1 ? ["1"] : []);
    assert.equal(client.sm.queue.length, 0);
  }
});

test("after a password that was changed meanwhile the user is asked", async (t) => {
  const server = new Server();
  const client = begin(t, server);
  await client.login("romeo@localhost", "secret");
  server.password = "other";
  server.socket.cut();
  await server.until(() => last(client).name === "ended");
  assert.equal(last(client).error.condition, "not-authorized");
  assert.equal(client.save(), undefined);
});

test("a session that was continued elsewhere is left alone", async (t) => {
  const server = new Server();
  const client = begin(t, server);
  await client.login("romeo@localhost", "secret");
  server.socket.write(xml("error", { xmlns: ns.STREAM }, xml("conflict", { xmlns: ns.STREAM_ERRORS })));
  await server.until(() => last(client).name === "ended");
  assert.equal(server.sockets.length, 1);
});

test("pauses between tries grow, and end when the network is back", async (t) => {
  const server = new Server();
  const client = begin(t, server);
  await client.login("romeo@localhost", "secret");
  server.reachable = false;
  server.socket.cut();
  const pauses = [];
  for (let i = 0; i < 4; i++) {
    const before = client.states.length;
    if (i > 0) client.resume(); // does what the timer would
    await server.until(() => client.states.length > before && last(client).name === "waiting");
    pauses.push(last(client).at - Date.now());
  }
  assert.ok(pauses[0] <= 1000 && pauses[3] > 3000 && pauses[3] <= 8000, pauses.join());
  server.reachable = true;
  client.probe();
  await server.until(() => client.online);
});

test("answers are believed only from whom they were asked", async (t) => {
  const server = new Server();
  const client = begin(t, server);
  await client.login("romeo@localhost", "secret");
  const { socket } = server;
  const answer = client.request("get", "juliet@localhost/x", xml("query", { xmlns: "urn:x" }));
  await server.until(() => server.got.length === 1);
  const { id } = server.got[0].attrs;
  for (const from of ["mallory@localhost/x", undefined, "juliet@localhost", "romeo@localhost"]) socket.stanza(xml("iq", { type: "result", id, from }));
  socket.stanza(xml("iq", { type: "error", id, from: "juliet@localhost/x" }, xml("error", { type: "cancel" }, xml("item-not-found", { xmlns: ns.STANZAS }))));
  await assert.rejects(answer, { condition: "item-not-found" });
});

test("requests are answered, unknown ones with an error", async (t) => {
  const server = new Server();
  const client = begin(t, server);
  client.answer("get", "ping", ns.PING, () => undefined);
  await client.login("romeo@localhost", "secret");
  server.socket.stanza(xml("iq", { type: "get", id: "p", from: "localhost" }, xml("ping", { xmlns: ns.PING })));
  server.socket.stanza(xml("iq", { type: "set", id: "q", from: "localhost" }, xml("ping", { xmlns: ns.PING })));
  await server.until(() => server.got.length === 2);
  assert.deepEqual(server.got.map((e) => [e.attrs.id, e.attrs.type, e.attrs.to]), [["p", "result", "localhost"], ["q", "error", "localhost"]]);
});

test("frames that are no XML end the stream, and it comes back", async (t) => {
  const server = new Server();
  const client = begin(t, server);
  await client.login("romeo@localhost", "secret");
  for (const data of ["<message", new ArrayBuffer(3)]) {
    const before = client.sessions.length;
    server.socket.onmessage({ data });
    assert.equal(client.online, false);
    await server.until(() => client.sessions.length > before);
  }
});

test("without stream management nothing is kept that nobody would acknowledge", async (t) => {
  const server = new Server({ managed: false });
  const client = begin(t, server);
  await client.login("romeo@localhost", "secret");
  client.send(message("1"));
  assert.equal(client.sm.queue.length, 0);
  const asked = client.request("get", "localhost", xml("query", { xmlns: "urn:x" }));
  server.socket.cut();
  await assert.rejects(asked, { condition: "offline" });
  assert.equal(client.send(message("2")), false);
});
