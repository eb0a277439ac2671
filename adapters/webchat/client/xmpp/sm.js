// Stream management (XEP-0198): the counters, and what was sent and is not
// acknowledged yet. It sends nothing itself.

const WRAP = 2 ** 32;

export class StreamManagement {
  constructor(saved) {
    this.reset();
    if (saved) Object.assign(this, saved, { queue: [...saved.queue] });
  }

  /** Forgets everything: there is no session any more. */
  reset() {
    this.id = undefined; // to resume by; undefined: it can't be resumed
    this.on = false; // whether stanzas are counted
    this.received = 0; // stanzas handled, modulo 2^32
    this.acked = 0; // ours that the server has handled, modulo 2^32
    this.queue = []; // {xml, id} behind those
  }

  /** The server has enabled it. */
  enabled(id) {
    this.on = true;
    this.id = id;
    this.received = 0;
    this.acked = 0;
  }

  /** A stanza goes out; id is its attribute. */
  sent(xml, id) {
    this.queue.push({ xml, id });
  }

  /** A stanza was handled. */
  handled() {
    if (this.on) this.received = (this.received + 1) % WRAP;
  }

  /**
   * The server has handled h of ours. Returns those of the queue which that
   * acknowledges, or undefined if h can't be: fewer than before, or more than
   * were sent.
   */
  acknowledge(h) {
    const count = (h - this.acked + WRAP) % WRAP;
    if (!Number.isInteger(h) || h < 0 || h >= WRAP || count > this.queue.length) return undefined;
    this.acked = h;
    return this.queue.splice(0, count);
  }

  /** As it is kept over a reload of the page. */
  save() {
    const { id, on, received, acked, queue } = this;
    return { id, on, received, acked, queue };
  }
}

/** The attribute h as a number, or undefined. */
export function count(attribute) {
  return /^\d{1,10}$/.test(attribute ?? "") ? Number(attribute) : undefined;
}
