// SCRAM (RFC 5802, RFC 7677) with WebCrypto, without channel binding, which
// browsers do not have; with the downgrade protection of XEP-0474, where the
// server has it. What is kept for the next login is not the password but what
// SCRAM derives from it.

import * as base64 from "./base64.js";

const HASHES = { "SCRAM-SHA-256": "SHA-256", "SCRAM-SHA-512": "SHA-512", "SCRAM-SHA-1": "SHA-1" };
const MIN_ITERATIONS = 4096;
const MAX_ITERATIONS = 5_000_000; // some seconds

export class SaslError extends Error {
  /** condition: of RFC 6120 section 6.5, or one of our own: see ui/words.js. */
  constructor(condition, text) {
    super(text ?? condition);
    this.condition = condition;
  }
}

/** The mechanism to use of those that are offered, or undefined. */
export function choose(offered, keys) {
  if (keys && offered.includes(keys.mechanism)) return keys.mechanism;
  return Object.keys(HASHES).find((m) => offered.includes(m));
}

/** Whether this page can log in: browsers have WebCrypto on secure pages alone. */
export const available = () => globalThis.crypto?.subtle !== undefined;

/** SASLprep (RFC 4013), as far as normalization and spaces go. */
export function prepare(text) {
  return text.replace(/[\u00A0\u1680\u2000-\u200B\u202F\u205F\u3000]/gu, " ")
    .replace(/[\u00AD\u034F\u1806\u180B-\u180D\u200C\u200D\u2060\uFE00-\uFE0F\uFEFF]/gu, "")
    .normalize("NFKC");
}

/**
 * One login. secret is {password}, or {keys} of an earlier one. offered is what
 * the server's features had: {mechanisms, bindings}, bindings undefined where it
 * told of none.
 */
export class Scram {
  #hash;
  #first;
  #nonce;
  #secret;
  #offered;
  #signature;

  constructor(mechanism, user, secret, { offered, nonce } = {}) {
    this.mechanism = mechanism;
    this.#hash = HASHES[mechanism];
    this.#secret = secret;
    this.#offered = offered;
    this.#nonce = nonce ?? base64.encode(crypto.getRandomValues(new Uint8Array(18)));
    const name = prepare(user).replace(/=/g, "=3D").replace(/,/g, "=2C");
    this.#first = `n=${name},r=${this.#nonce}`;
    this.keys = undefined;
  }

  /** The client-first-message. */
  first() {
    return `n,,${this.#first}`;
  }

  /** The answer to the server-first-message. Throws SaslError. */
  async respond(message) {
    const fields = attributes(message);
    const iterations = Number(fields.i);
    if (fields.m !== undefined || !fields.r?.startsWith(this.#nonce) || fields.r === this.#nonce || !fields.s) {
      throw new SaslError("bad-server", "the challenge makes no sense");
    }
    if (!Number.isInteger(iterations) || iterations < MIN_ITERATIONS || iterations > MAX_ITERATIONS) {
      throw new SaslError("bad-server", `${fields.i} iterations`);
    }
    await this.#compare(fields.h);
    this.keys = await this.#derive(fields.s, iterations);
    const clientKey = base64.decode(this.keys.client);
    const bare = `c=biws,r=${fields.r}`;
    const auth = `${this.#first},${message},${bare}`;
    const stored = new Uint8Array(await crypto.subtle.digest(this.#hash, clientKey));
    const proof = await hmac(this.#hash, stored, auth);
    proof.forEach((b, i) => { proof[i] = b ^ clientKey[i]; });
    this.#signature = base64.encode(await hmac(this.#hash, base64.decode(this.keys.server), auth));
    return `${bare},p=${base64.encode(proof)}`;
  }

  /** Checks the server-final-message: that the server knows the password, too. */
  verify(message) {
    const fields = attributes(message);
    if (fields.e !== undefined) throw new SaslError("not-authorized", fields.e);
    if (this.#signature === undefined || fields.v !== this.#signature) {
      throw new SaslError("bad-server", "the server could not prove that it knows the password");
    }
  }

  async #derive(salt, iterations) {
    const kept = this.#secret.keys;
    if (kept) {
      if (kept.mechanism !== this.mechanism || kept.salt !== salt || kept.iterations !== iterations) {
        throw new SaslError("password-needed", "what was kept of the password fits no more");
      }
      return kept;
    }
    const password = new TextEncoder().encode(prepare(this.#secret.password));
    const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
    const size = { "SHA-1": 160, "SHA-256": 256, "SHA-512": 512 }[this.#hash];
    const salted = new Uint8Array(await crypto.subtle.deriveBits(
      { name: "PBKDF2", hash: this.#hash, salt: base64.decode(salt), iterations }, key, size));
    return {
      mechanism: this.mechanism, salt, iterations,
      client: base64.encode(await hmac(this.#hash, salted, "Client Key")),
      server: base64.encode(await hmac(this.#hash, salted, "Server Key")),
    };
  }

  /** XEP-0474 section 6.2: whether somebody changed what the server offered. */
  async #compare(told) {
    if (told === undefined || !this.#offered) return;
    const { mechanisms, bindings } = this.#offered;
    let text = [...mechanisms].sort().join("\x1e");
    if (bindings) text += "\x1f" + [...bindings].sort().join("\x1e");
    const hash = new Uint8Array(await crypto.subtle.digest(this.#hash, new TextEncoder().encode(text)));
    if (base64.encode(hash) !== told) throw new SaslError("downgrade", "the list of mechanisms was changed on its way");
  }
}

async function hmac(hash, key, text) {
  const k = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", k, new TextEncoder().encode(text)));
}

function attributes(message) {
  const all = {};
  for (const part of message.split(",")) {
    if (part[1] === "=") all[part[0]] ??= part.slice(2);
  }
  return all;
}
