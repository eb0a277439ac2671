// A session with a server: logs in, resumes (XEP-0198), comes back after a broken
// connection, and matches answers to requests. What stanzas mean is others' to
// say.
//
// Events:
//   state({name, error, at})  name: "connecting", "online", "waiting" (for the
//                             next try, at that time), "ended" (for good)
//   session({resumed, certain})  one has begun or goes on. Not resumed: all that
//                             the server knew of this client is gone; certain says
//                             whether the server told what it had of it
//   stanza(element)           a message or presence
//   acked([id])               the server has these stanzas
//   save()                    what is to outlive the page must be kept now

import { Emitter } from "./emitter.js";
import { Frames, StreamError } from "./frames.js";
import { StreamManagement, count } from "./sm.js";
import { Scram, SaslError, choose } from "./sasl.js";
import { xml } from "./xml.js";
import * as base64 from "./base64.js";
import * as jids from "./jid.js";
import * as ns from "./ns.js";

const REQUEST_TIME = 60_000; // ms until a request without an answer fails
const TICK = 10_000; // ms between looks at the connection
const QUIET = 45_000; // ms without a frame until the server is asked for one
const DEAD = 65_000; // ms without a frame until the connection counts as lost
const PROBE = 8_000; // ms for an answer when the network has changed
const MAX_PAUSE = 60_000; // ms between tries to connect
const MAX_QUEUE = 2_000; // stanzas that wait for an acknowledgement

// After these it makes no sense to try again without the user.
const FINAL = new Set(["not-authorized", "account-disabled", "credentials-expired", "password-needed", "no-mechanism",
  "bad-server", "downgrade", "not-allowed", "conflict", "host-unknown", "host-gone", "see-other-host", "invalid-from"]);

/** An error stanza, or why there is no answer. */
export class StanzaError extends Error {
  constructor(condition, text = "") {
    super(text || condition);
    this.condition = condition;
    this.text = text;
  }

  /** Reads the error of a stanza. */
  static of(stanza) {
    const error = stanza.child("error");
    const condition = error?.elements(undefined, ns.STANZAS).find((e) => e.name !== "text");
    return new StanzaError(condition?.name ?? "undefined-condition", error?.childText("text", ns.STANZAS));
  }
}

export const newId = () => crypto.randomUUID();

export class Client extends Emitter {
  #url;
  #open;
  #account; // {jid, secret}
  #frames;
  #online = false;
  #ended = true;
  #tries = 0;
  #retry; // timer
  #tick; // timer
  #probe; // timer
  #asking = false; // whether an acknowledgement will be asked for
  #requests = new Map(); // id -> {to, resolve, reject, timer}
  #answers = new Map(); // "type name namespace" -> function

  /** open(url) makes the WebSocket; saved is what save() returned. */
  constructor({ url, saved, open = (u) => new WebSocket(u, "xmpp") }) {
    super();
    this.#url = url;
    this.#open = open;
    this.jid = saved?.jid ?? "";
    this.sm = new StreamManagement(saved?.sm);
    if (saved) this.#account = { jid: jids.bare(saved.jid), secret: { keys: saved.keys } };
  }

  get online() {
    return this.#online;
  }

  /** The own bare address. */
  get me() {
    return this.#account?.jid ?? "";
  }

  /** What a reloaded page needs to go on; undefined when nobody is logged in. */
  save() {
    const keys = this.#account?.secret.keys;
    return keys && this.jid && !this.#ended ? { jid: this.jid, keys, sm: this.sm.save() } : undefined;
  }

  /** Logs in; one try. Rejects with a StreamError or a SaslError. */
  async login(jid, password) {
    this.#account = { jid, secret: { password } };
    this.sm.reset();
    this.#ended = false;
    try {
      await this.#connect();
    } catch (error) {
      this.#ended = true;
      throw error;
    }
  }

  /** Goes on with what was saved, for as long as it takes. */
  resume() {
    this.#ended = false;
    this.#attempt();
  }

  /** Logs out. */
  async logout() {
    if (this.#ended) return;
    this.#ended = true;
    const frames = this.#frames;
    if (this.#online) {
      frames.send(xml("presence", { xmlns: ns.CLIENT, type: "unavailable" }));
      const closed = new Promise((resolve) => { frames.onend = resolve; });
      frames.send(xml("close", { xmlns: ns.FRAMING }));
      await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 2000))]);
    }
    this.#stop();
    this.#finish();
  }

  /**
   * Sends a stanza, now or when the session is resumed. Returns false if there
   * is no session that it could be sent in: then it is not sent at all.
   */
  send(stanza) {
    stanza.ns ??= ns.CLIENT;
    if (!this.#online && this.sm.id === undefined) return false;
    if (this.sm.queue.length >= MAX_QUEUE) return false;
    const text = stanza.toString();
    if (this.sm.on) {
      this.sm.sent(text, stanza.attrs.id);
      this.emit("save");
    }
    if (this.#online) {
      this.#frames.send(text);
      if (this.sm.on && stanza.name === "message") this.#ask();
    }
    return true;
  }

  /** Sends an iq and resolves with the answer; rejects with a StanzaError. */
  request(type, to, ...payload) {
    const id = newId();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#answered(id)?.reject(new StanzaError("remote-server-timeout")), REQUEST_TIME);
      this.#requests.set(id, { to, resolve, reject, timer });
      if (!this.send(xml("iq", { type, to, id }, ...payload))) this.#answered(id).reject(new StanzaError("offline"));
    });
  }

  /** Answers requests: handle(payload, iq) returns the payload of the answer, or throws a StanzaError. */
  answer(type, name, namespace, handle) {
    this.#answers.set(`${type} ${name} ${namespace}`, handle);
  }

  /** The network may have changed: look soon whether the connection still stands, or try again now. */
  probe() {
    if (this.#ended) return;
    if (this.#online) {
      const before = this.#frames.seen;
      this.#nudge();
      clearTimeout(this.#probe);
      this.#probe = setTimeout(() => {
        if (this.#online && this.#frames.seen === before) this.#frames.fail(new StreamError("timeout"));
      }, PROBE);
    } else if (this.#retry) {
      this.#tries = 0;
      this.#attempt();
    }
  }

  // Connecting.

  async #attempt() {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    try {
      await this.#connect();
    } catch (error) {
      if (!this.#ended) this.#lost(error);
    }
  }

  async #connect() {
    this.emit("state", { name: "connecting" });
    let socket;
    try {
      socket = this.#open(this.#url);
    } catch (error) {
      throw new StreamError("connection-lost", error.message);
    }
    const frames = new Frames(socket, () => {});
    this.#frames = frames;
    try {
      await frames.opened();
      const session = await this.#negotiate(frames);
      if (this.#ended) throw new StreamError("closed");
      this.#begin(frames, session);
    } catch (error) {
      frames.close();
      throw error;
    }
  }

  async #negotiate(frames) {
    let features = await this.#header(frames);
    await this.#authenticate(frames, features);
    features = await this.#header(frames);
    const managed = features.child("sm", ns.SM) !== undefined;
    let certain = false;
    if (managed && this.sm.id !== undefined) {
      frames.send(xml("resume", { xmlns: ns.SM, previd: this.sm.id, h: this.sm.received }));
      const answer = await frames.next();
      const h = count(answer.attrs.h);
      if (answer.is("resumed", ns.SM)) {
        const acked = this.sm.acknowledge(h);
        if (!acked) throw this.#miscounted();
        this.sm.on = true;
        return { resumed: true, acked };
      }
      if (!answer.is("failed", ns.SM)) throw new StreamError("bad-server", "no answer to a resumption");
      certain = h !== undefined && this.#acked(this.sm.acknowledge(h));
    }
    this.sm.reset();
    this.#forget();
    this.jid = await this.#bind(frames);
    if (managed) {
      frames.send(xml("enable", { xmlns: ns.SM, resume: "true" }));
      const answer = await frames.next();
      if (answer.is("enabled", ns.SM)) {
        const resume = ["true", "1"].includes(answer.attrs.resume);
        this.sm.enabled(resume ? answer.attrs.id : undefined);
      }
    }
    return { resumed: false, certain };
  }

  async #header(frames) {
    frames.send(xml("open", { xmlns: ns.FRAMING, to: jids.domain(this.me), version: "1.0" }));
    const open = await frames.next();
    const features = open.is("open", ns.FRAMING) ? await frames.next() : undefined;
    if (!features?.is("features", ns.STREAM)) throw new StreamError("bad-server", "this is not XMPP over WebSocket");
    return features;
  }

  async #authenticate(frames, features) {
    const mechanisms = features.child("mechanisms", ns.SASL)?.elements("mechanism").map((m) => m.text) ?? [];
    const bindings = features.child("sasl-channel-binding", ns.CHANNEL_BINDING)
      ?.elements("channel-binding").map((b) => b.attrs.type);
    const { jid, secret } = this.#account;
    const mechanism = choose(mechanisms, secret.keys);
    if (!mechanism) throw new SaslError("no-mechanism", mechanisms.join(", "));
    const scram = new Scram(mechanism, jids.local(jid), secret, { offered: { mechanisms, bindings } });
    frames.send(xml("auth", { xmlns: ns.SASL, mechanism }, base64.encode(scram.first())));
    for (;;) {
      const answer = await frames.next();
      if (answer.ns !== ns.SASL) throw new StreamError("bad-server", answer.name);
      if (answer.name === "failure") {
        const condition = answer.elements().find((e) => e.name !== "text")?.name;
        throw new SaslError(condition ?? "not-authorized", answer.childText("text"));
      }
      const data = saslText(answer);
      if (answer.name === "challenge") {
        const reply = scram.keys ? (scram.verify(data), "") : await scram.respond(data);
        frames.send(xml("response", { xmlns: ns.SASL }, base64.encode(reply)));
      } else {
        if (data !== "" || !scram.keys) scram.verify(data);
        this.#account.secret = { keys: scram.keys };
        return;
      }
    }
  }

  async #bind(frames) {
    const id = newId();
    frames.send(xml("iq", { xmlns: ns.CLIENT, type: "set", id }, xml("bind", { xmlns: ns.BIND })));
    for (;;) {
      const answer = await frames.next();
      if (answer.name !== "iq" || answer.attrs.id !== id) continue;
      const jid = answer.child("bind", ns.BIND)?.childText("jid");
      if (answer.attrs.type !== "result" || !jid) {
        throw new StreamError(StanzaError.of(answer).condition, StanzaError.of(answer).text);
      }
      this.#account.jid = jids.bare(jid);
      return jid;
    }
  }

  #begin(frames, { resumed, acked, certain }) {
    this.#online = true;
    this.#tries = 0;
    frames.onend = (error) => this.#lost(error);
    this.#tick = setInterval(() => this.#look(), TICK);
    if (resumed) {
      this.#acked(acked);
      for (const { xml: text } of this.sm.queue) frames.send(text);
      if (this.sm.queue.length > 0) this.#ask();
    }
    this.emit("state", { name: "online" });
    this.emit("session", { resumed, certain });
    this.emit("save");
    frames.handTo((element) => this.#receive(element));
  }

  // Losing the connection.

  #lost(error) {
    this.#stop();
    if (this.#ended) return;
    if (FINAL.has(error.condition)) {
      this.#ended = true;
      this.#finish(error);
      return;
    }
    if (this.sm.id === undefined) this.#forget();
    const pause = Math.min(MAX_PAUSE, 1000 * 2 ** this.#tries) * (0.5 + Math.random() / 2);
    this.#tries += 1;
    this.#retry = setTimeout(() => this.#attempt(), pause);
    this.emit("state", { name: "waiting", error, at: Date.now() + pause });
  }

  /** The session is over for good. */
  #finish(error) {
    this.sm.reset();
    this.#forget();
    this.emit("state", { name: "ended", error });
  }

  #stop() {
    this.#online = false;
    this.#asking = false;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    clearInterval(this.#tick);
    clearTimeout(this.#probe);
    this.#frames?.close();
  }

  /** Requests of a session that is over are not answered any more. */
  #forget() {
    for (const id of [...this.#requests.keys()]) this.#answered(id).reject(new StanzaError("offline"));
  }

  #look() {
    const quiet = Date.now() - this.#frames.seen;
    if (quiet >= DEAD) this.#frames.fail(new StreamError("timeout"));
    else if (quiet >= QUIET) this.#nudge();
  }

  #nudge() {
    if (this.sm.on) this.#frames.send(xml("r", { xmlns: ns.SM }));
    else this.request("get", jids.domain(this.me), xml("ping", { xmlns: ns.PING })).catch(() => {});
  }

  // What comes.

  #receive(element) {
    if (element.ns === ns.SM) {
      this.#manage(element);
      return;
    }
    if (element.ns !== ns.CLIENT) return;
    if (element.name === "iq") this.#iq(element);
    else this.emit("stanza", element);
    this.sm.handled();
  }

  #manage(element) {
    if (element.name === "r") {
      this.emit("save"); // what is acknowledged the server forgets
      this.#frames.send(xml("a", { xmlns: ns.SM, h: this.sm.received }));
    } else if (element.name === "a") {
      const acked = this.sm.acknowledge(count(element.attrs.h));
      if (acked) this.#acked(acked);
      else this.#frames.fail(this.#miscounted());
    }
  }

  /** A session whose counters do not fit can't be resumed. */
  #miscounted() {
    this.sm.reset();
    return new StreamError("undefined-condition", "the counters of stream management do not fit");
  }

  #acked(stanzas) {
    if (!stanzas) return false;
    const ids = stanzas.map((s) => s.id).filter((id) => id !== undefined);
    if (ids.length > 0) this.emit("acked", ids);
    return true;
  }

  #ask() {
    if (this.#asking) return;
    this.#asking = true;
    queueMicrotask(() => {
      if (this.#asking && this.#online) this.#frames.send(xml("r", { xmlns: ns.SM }));
      this.#asking = false;
    });
  }

  #answered(id) {
    const request = this.#requests.get(id);
    this.#requests.delete(id);
    clearTimeout(request?.timer);
    return request;
  }

  #iq(iq) {
    const { id, type, from } = iq.attrs;
    if (type === "result" || type === "error") {
      const request = this.#requests.get(id);
      if (!request || !this.#mayAnswer(request.to, from)) return;
      this.#answered(id);
      if (type === "result") request.resolve(iq);
      else request.reject(StanzaError.of(iq));
      return;
    }
    const payload = iq.elements()[0];
    const handle = payload && this.#answers.get(`${type} ${payload.name} ${payload.ns}`);
    try {
      if (!handle) throw new StanzaError("service-unavailable");
      this.send(xml("iq", { type: "result", to: from, id }, handle(payload, iq)));
    } catch (error) {
      const condition = error instanceof StanzaError ? error.condition : "internal-server-error";
      this.send(xml("iq", { type: "error", to: from, id },
        xml("error", { type: "cancel" }, xml(condition, { xmlns: ns.STANZAS }))));
    }
  }

  /** Whether an answer from there is one to a request that went to `to` (RFC 6120 section 8.1.2.1). */
  #mayAnswer(to, from) {
    if (to === undefined) return from === undefined || from === this.me || from === this.jid || from === jids.domain(this.me);
    return from === to || (from === undefined && (to === this.me || to === jids.domain(this.me)));
  }
}

function saslText(element) {
  try {
    const text = element.text.trim();
    return text === "" || text === "=" ? "" : base64.decodeText(text);
  } catch {
    throw new SaslError("bad-server", "what is not base 64");
  }
}
