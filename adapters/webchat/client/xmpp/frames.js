// XMPP over a WebSocket (RFC 7395): each frame is one element. While a login is
// negotiated frames are awaited one by one; from then on each is handed on as it
// comes.

import { parse } from "./xml.js";
import * as ns from "./ns.js";

/** Why a stream came to an end, or could not begin. */
export class StreamError extends Error {
  /** condition: of RFC 6120 sections 4.9.3 and 6.5, or one of our own; see ui/words.js. */
  constructor(condition, text = "") {
    super(text || condition);
    this.condition = condition;
    this.text = text;
  }
}

const WAIT = 20_000; // ms for the connection, and for each answer while logging in

export class Frames {
  #socket;
  #waiting = []; // elements that came, while nobody awaited one
  #awaiting; // {resolve, reject, timer}
  #error; // set when it is over
  #receive; // set by handTo

  /** onend(StreamError) is called once, when the stream ends other than by close(). */
  constructor(socket, onend) {
    this.#socket = socket;
    this.onend = onend;
    this.seen = Date.now(); // when the last frame came
    socket.onopen = () => this.#settle(undefined);
    socket.onmessage = ({ data }) => this.#frame(data);
    socket.onerror = () => {}; // a close event follows, which says as much
    socket.onclose = () => this.#end(new StreamError("connection-lost"));
  }

  /** Resolves when the WebSocket is open. */
  opened() {
    return this.#await();
  }

  /** Resolves with the next element. */
  next() {
    if (this.#waiting.length > 0) return Promise.resolve(this.#waiting.shift());
    return this.#await();
  }

  /** From now on elements go to receive, those that came meanwhile first. */
  handTo(receive) {
    this.#receive = receive;
    for (const element of this.#waiting.splice(0)) receive(element);
  }

  /** Sends an element, or one that was written already. */
  send(element) {
    if (!this.#error) this.#socket.send(element.toString());
  }

  /** Ends it; nothing is reported any more. */
  close() {
    if (this.#error) return;
    this.onend = () => {};
    this.#end(new StreamError("closed"));
  }

  /** Ends it as if the connection had broken. */
  fail(error) {
    this.#end(error);
  }

  #await() {
    if (this.#error) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#end(new StreamError("timeout")), WAIT);
      this.#awaiting = { resolve, reject, timer };
    });
  }

  #settle(value) {
    const waiter = this.#awaiting;
    if (!waiter) return false;
    this.#awaiting = undefined;
    clearTimeout(waiter.timer);
    waiter.resolve(value);
    return true;
  }

  #frame(data) {
    this.seen = Date.now();
    let element;
    try {
      if (typeof data !== "string") throw new TypeError("a binary frame");
      element = parse(data);
    } catch (error) {
      this.#end(new StreamError("not-well-formed", error.message));
      return;
    }
    const error = ending(element);
    if (error) this.#end(error);
    else if (this.#receive) this.#receive(element);
    else if (!this.#settle(element)) this.#waiting.push(element);
  }

  #end(error) {
    if (this.#error) return;
    this.#error = error;
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try {
      socket.close();
    } catch { // it was not open yet
    }
    const waiter = this.#awaiting;
    this.#awaiting = undefined;
    clearTimeout(waiter?.timer);
    waiter?.reject(error);
    this.onend(error);
  }
}

/** The error that an element tells of which ends the stream, or undefined. */
function ending(element) {
  if (element.is("close", ns.FRAMING)) {
    const other = element.attrs["see-other-uri"];
    return other ? new StreamError("see-other-host", other) : new StreamError("closed-by-server");
  }
  if (element.is("error", ns.STREAM)) {
    const condition = element.elements(undefined, ns.STREAM_ERRORS).find((e) => e.name !== "text");
    return new StreamError(condition?.name ?? "undefined-condition", element.childText("text", ns.STREAM_ERRORS));
  }
  return undefined;
}

