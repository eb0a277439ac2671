import test from "node:test";
import assert from "node:assert/strict";
import { StreamManagement, count } from "../client/xmpp/sm.js";

const ids = (stanzas) => stanzas?.map((s) => s.id);

function begun(n) {
  const sm = new StreamManagement();
  sm.enabled("session");
  for (let i = 1; i <= n; i++) sm.sent(`<${i}/>`, String(i));
  return sm;
}

test("an acknowledgement takes from the queue what it covers", () => {
  const sm = begun(3);
  assert.deepEqual(ids(sm.acknowledge(2)), ["1", "2"]);
  assert.deepEqual(ids(sm.acknowledge(2)), []);
  assert.deepEqual(ids(sm.queue), ["3"]);
  assert.deepEqual(ids(sm.acknowledge(3)), ["3"]);
});

test("one that can't be is refused, and changes nothing", () => {
  const sm = begun(3);
  sm.acknowledge(2);
  for (const h of [1, 4, -1, 1.5, NaN, undefined, 2 ** 32]) assert.equal(sm.acknowledge(h), undefined, String(h));
  assert.equal(sm.acked, 2);
  assert.deepEqual(ids(sm.queue), ["3"]);
});

test("counters begin again behind 2^32 - 1", () => {
  const sm = begun(3);
  sm.acked = 2 ** 32 - 2;
  assert.deepEqual(ids(sm.acknowledge(0)), ["1", "2"]);
  assert.deepEqual(ids(sm.acknowledge(1)), ["3"]);
  sm.received = 2 ** 32 - 1;
  sm.handled();
  assert.equal(sm.received, 0);
});

test("nothing is counted before it is enabled", () => {
  const sm = new StreamManagement();
  sm.handled();
  assert.equal(sm.received, 0);
});

test("what is saved goes on", () => {
  const sm = begun(3);
  sm.acknowledge(1);
  sm.handled();
  const again = new StreamManagement(JSON.parse(JSON.stringify(sm.save())));
  again.sent("<4/>", "4");
  assert.equal(again.received, 1);
  assert.deepEqual(ids(again.acknowledge(4)), ["2", "3", "4"]);
  assert.deepEqual(ids(sm.queue), ["2", "3"]);
});

test("the attribute h", () => {
  assert.equal(count("0"), 0);
  assert.equal(count("4294967295"), 4294967295);
  for (const bad of [undefined, "", "-1", "1.0", "0x1", " 1", "99999999999"]) assert.equal(count(bad), undefined);
});
