// A server for tests of the client: sockets in memory, and SCRAM, binding and
// stream management on the other side of them.

import { createHash, createHmac, pbkdf2Sync } from "node:crypto";
import { parse, xml } from "../client/xmpp/xml.js";
import * as ns from "../client/xmpp/ns.js";

const hmac = (key, text) => createHmac("sha256", key).update(text).digest();
const base64 = (data) => Buffer.from(data).toString("base64");

export class Server {
  constructor({ password = "secret", managed = true } = {}) {
    Object.assign(this, { password, managed });
    this.sockets = [];
    this.sessions = new Map(); // id -> {received, sent: [xml], acked}
    this.reachable = true;
    this.mechanisms = ["SCRAM-SHA-256", "SCRAM-SHA-1"];
    this.got = []; // stanzas, by all sessions
    this.logins = 0;
  }

  /** What the client opens as a WebSocket. */
  open = () => {
    const socket = new Socket(this);
    this.sockets.push(socket);
    setTimeout(() => (this.reachable ? socket.onopen?.() : socket.cut()), 0);
    return socket;
  };

  get socket() {
    return this.sockets.at(-1);
  }

  /** Resolves when test() holds; fails after some seconds. */
  async until(test, what = test.toString()) {
    for (let i = 0; i < 3000; i++) {
      if (test()) return;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    throw new Error(`never happened: ${what}`);
  }
}

class Socket {
  constructor(server) {
    this.server = server;
    this.frames = []; // from the client
    this.step = "open";
  }

  // The client's side.

  send(text) {
    const element = parse(text);
    this.frames.push(element);
    this.got(element);
  }

  close() {
    this.closed = true;
  }

  // The server's side.

  cut() {
    this.closed = true;
    setTimeout(() => this.onclose?.({ code: 1006 }), 0);
  }

  write(element) {
    if (!this.closed) setTimeout(() => this.onmessage?.({ data: element.toString() }), 0);
  }

  /** Sends a stanza, which is kept until it is acknowledged. */
  stanza(element) {
    element.ns ??= ns.CLIENT;
    this.session?.sent.push(element.toString());
    this.write(element);
  }

  got(element) {
    if (element.ns === ns.FRAMING) this.header(element);
    else if (element.ns === ns.SASL) this.sasl(element);
    else if (element.ns === ns.SM) this.manage(element);
    else this.take(element);
  }

  header(element) {
    if (element.name === "close") {
      this.write(xml("close", { xmlns: ns.FRAMING }));
      return;
    }
    this.write(xml("open", { xmlns: ns.FRAMING, from: "localhost", id: "s" }));
    this.write(xml("features", { xmlns: ns.STREAM }, this.step === "open"
      ? xml("mechanisms", { xmlns: ns.SASL }, this.server.mechanisms.map((m) => xml("mechanism", {}, m)))
      : [xml("bind", { xmlns: ns.BIND }), this.server.managed && xml("sm", { xmlns: ns.SM })]));
  }

  sasl(element) {
    const text = Buffer.from(element.text, "base64").toString();
    if (element.name === "auth") {
      this.bare = text.slice(3);
      this.nonce = /r=(.*)$/.exec(text)[1] + "server";
      this.challenge = `r=${this.nonce},s=${base64("salt")},i=4096`;
      this.write(xml("challenge", { xmlns: ns.SASL }, base64(this.challenge)));
      return;
    }
    const salted = pbkdf2Sync(this.server.password, "salt", 4096, 32, "sha256");
    const [bare, proof] = text.split(",p=");
    const auth = `${this.bare},${this.challenge},${bare}`;
    const client = hmac(salted, "Client Key");
    const signature = hmac(createHash("sha256").update(client).digest(), auth);
    if (base64(client.map((b, i) => b ^ signature[i])) !== proof) {
      this.write(xml("failure", { xmlns: ns.SASL }, xml("not-authorized")));
      return;
    }
    this.step = "bind";
    this.server.logins += 1;
    this.write(xml("success", { xmlns: ns.SASL }, base64(`v=${base64(hmac(hmac(salted, "Server Key"), auth))}`)));
  }

  manage(element) {
    const { sessions } = this.server;
    if (element.name === "enable") {
      const id = `session${sessions.size + 1}`;
      this.session = { received: 0, sent: [], acked: 0 };
      sessions.set(id, this.session);
      this.write(xml("enabled", { xmlns: ns.SM, id, resume: "true" }));
    } else if (element.name === "resume") {
      const session = sessions.get(element.attrs.previd);
      if (!session) {
        this.write(xml("failed", { xmlns: ns.SM, h: this.server.told }, xml("item-not-found", { xmlns: ns.STANZAS })));
        return;
      }
      this.session = session;
      this.acknowledge(Number(element.attrs.h));
      this.write(xml("resumed", { xmlns: ns.SM, previd: element.attrs.previd, h: session.received }));
      for (const text of session.sent) this.write({ toString: () => text });
    } else if (element.name === "r" && !this.deaf) {
      this.write(xml("a", { xmlns: ns.SM, h: this.session.received }));
    } else if (element.name === "a") {
      this.acknowledge(Number(element.attrs.h));
    }
  }

  acknowledge(h) {
    this.session.sent.splice(0, h - this.session.acked);
    this.session.acked = h;
  }

  take(element) {
    if (this.deaf) return; // it was lost on its way
    if (element.child("bind", ns.BIND)) {
      this.write(xml("iq", { xmlns: ns.CLIENT, type: "result", id: element.attrs.id },
        xml("bind", { xmlns: ns.BIND }, xml("jid", {}, "romeo@localhost/r"))));
      return;
    }
    if (this.session) this.session.received += 1;
    this.server.got.push(element);
    const answer = element.name === "iq" && this.server.answer?.(element);
    if (answer) this.stanza(answer);
  }
}
