import test from "node:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Scram, SaslError, choose, prepare } from "../client/xmpp/sasl.js";

const condition = (name) => (error) => error instanceof SaslError && error.condition === name;

const VECTORS = [{
  name: "RFC 5802 section 5", mechanism: "SCRAM-SHA-1", nonce: "fyko+d2lbbFgONRv9qkxdawL", first: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
  challenge: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
  response: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
}, {
  name: "RFC 7677 section 3", mechanism: "SCRAM-SHA-256", nonce: "rOprNGfwEbeRWgbNEkqO", first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
  challenge: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
  response: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
  final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
}];

for (const v of VECTORS) {
  test(`${v.name}: with the password, then with what was kept of it`, async () => {
    const scram = new Scram(v.mechanism, "user", { password: "pencil" }, { nonce: v.nonce });
    assert.equal(scram.first(), v.first);
    assert.equal(await scram.respond(v.challenge), v.response);
    scram.verify(v.final);
    assert.ok(!JSON.stringify(scram.keys).includes("pencil"));
    const again = new Scram(v.mechanism, "user", { keys: scram.keys }, { nonce: v.nonce });
    assert.equal(await again.respond(v.challenge), v.response);
    again.verify(v.final);
  });
}

const [, v] = VECTORS;
const begun = (options) => new Scram(v.mechanism, "user", { password: "pencil" }, { nonce: v.nonce, ...options });

test("a server that does not know the password is refused", async () => {
  const scram = begun();
  assert.throws(() => scram.verify(v.final), condition("bad-server"), "before the challenge");
  await scram.respond(v.challenge);
  assert.throws(() => scram.verify("v=AAAA"), condition("bad-server"));
  assert.throws(() => scram.verify(""), condition("bad-server"));
  assert.throws(() => scram.verify("e=invalid-proof"), condition("not-authorized"));
});

for (const [name, challenge] of Object.entries({
  "another nonce": "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "no nonce of its own": "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
  "too few iterations": v.challenge.replace("4096", "1"), "too many": v.challenge.replace("4096", "999999999"), "no number": v.challenge.replace("4096", "x"),
  "no salt": v.challenge.replace("s=", "t="), "an extension that is a must": `m=x,${v.challenge}`, nothing: "",
})) {
  test(`a challenge is refused: ${name}`, () => assert.rejects(begun().respond(challenge), condition("bad-server")));
}

test("what was kept does not do for another salt or mechanism", async () => {
  const scram = begun();
  await scram.respond(v.challenge);
  const again = () => new Scram(v.mechanism, "user", { keys: scram.keys }, { nonce: v.nonce });
  await assert.rejects(again().respond(v.challenge.replace("W22Z", "W22A")), condition("password-needed"));
  await assert.rejects(again().respond(v.challenge.replace("4096", "8192")), condition("password-needed"));
});

test("XEP-0474 section 6: a list that was changed on its way", async () => {
  const text = "SCRAM-SHA-1\x1eSCRAM-SHA-256\x1eSCRAM-SHA-256-PLUS\x1ftls-exporter\x1etls-server-end-point";
  const challenge = `${v.challenge},h=${createHash("sha256").update(text).digest("base64")}`;
  const bindings = ["tls-server-end-point", "tls-exporter"];
  await begun({ offered: { mechanisms: ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1"], bindings } }).respond(challenge);
  await assert.rejects(begun({ offered: { mechanisms: ["SCRAM-SHA-256", "SCRAM-SHA-1"], bindings } }).respond(challenge), condition("downgrade"));
  await assert.rejects(begun({ offered: { mechanisms: ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1"] } }).respond(challenge), condition("downgrade"));
});

test("the mechanism: none but SCRAM, that of what was kept first", () => {
  assert.equal(choose(["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"]), "SCRAM-SHA-256");
  assert.equal(choose(["SCRAM-SHA-1", "SCRAM-SHA-256"], { mechanism: "SCRAM-SHA-1" }), "SCRAM-SHA-1");
  assert.equal(choose(["PLAIN", "EXTERNAL"]), undefined);
});

test("RFC 4013: names and passwords are prepared", () => {
  assert.equal(prepare("I\u00ADX"), "IX");
  assert.equal(prepare("\u00AA"), "a");
  assert.equal(prepare("\u2168"), "IX");
  assert.equal(prepare("a\u00A0b"), "a b");
  assert.equal(new Scram("SCRAM-SHA-1", "a=b,c", { password: "" }, { nonce: "n" }).first(), "n,,n=a=3Db=2Cc,r=n");
});
