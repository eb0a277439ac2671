import test from "node:test";
import assert from "node:assert/strict";
import { Conversation, Conversations } from "../client/chat/conversations.js";

let n = 0;
const said = (body, time, more = {}) => ({ uid: `u${n += 1}`, from: "juliet@localhost", mine: false, body, time, ...more });
const bodies = (c) => c.messages.map((m) => m.body).join("");

test("what comes now is at the end, whatever its stamp says", () => {
  const c = new Conversation("juliet@localhost", "chat");
  for (const [body, time] of [["a", 1700], ["b", 1000], ["c", 1900], ["d", 1000], ["e", 2000]]) c.add(said(body, time));
  assert.equal(bodies(c), "abcde");
  assert.deepEqual(c.messages.map((m) => m.time), [1700, 1700, 1900, 1900, 2000]);
});

test("what is read forward goes behind its neighbour, and before what came since", () => {
  const c = new Conversation("juliet@localhost", "chat");
  const known = c.add(said("a", 1900, { archive: "1" })).message;
  c.add(said("d", 5500, { archive: "4" })); // came while the archive was read
  let neighbour = known;
  for (const m of [said("b", 1000, { archive: "2" }), said("c", 5000, { archive: "3" }), said("d", 5000, { archive: "4" }), said("e", 5000, { archive: "5" })]) {
    neighbour = c.add(m, "after", neighbour).message;
  }
  assert.equal(bodies(c), "abcde");
});

test("older pages go before what has the same time", () => {
  const c = new Conversation("juliet@localhost", "chat");
  c.add(said("c", 5, { archive: "3" }));
  c.add(said("d", 6, { archive: "4" }));
  for (const m of [said("a", 5, { archive: "1" }), said("b", 5, { archive: "2" })].reverse()) c.add(m, "before");
  assert.equal(bodies(c), "abcd");
  c.add(said("0", 9, { archive: "0" }), "before", c.oldest);
  assert.equal(bodies(c), "0abcd");
  assert.equal(c.oldest.archive, "0");
  assert.equal(c.newest.archive, "4");
});

test("a copy from the archive is the message that is there already", () => {
  const c = new Conversation("juliet@localhost", "chat");
  c.add(said("hi", 1, { id: "x" }));
  const { added, message } = c.add(said("hi", 2, { id: "x", archive: "7" }), "before");
  assert.equal(added, false);
  assert.equal(message.archive, "7");
  assert.equal(c.add(said("hi", 3, { archive: "7" })).added, false);
  assert.equal(c.messages.length, 1);
});

test("two ids of the archive are two messages, though their sender counts from one again", () => {
  const c = new Conversation("juliet@localhost", "chat");
  c.add(said("a", 1, { id: "1", archive: "7" }));
  assert.equal(c.add(said("b", 2, { id: "1", archive: "8" })).added, true);
  assert.equal(c.add(said("c", 3, { id: "1", from: "romeo@localhost" })).added, true, "another sender's");
  assert.equal(c.add(said("a", 1, { archive: "7" })).added, false);
});

test("an own message that comes back was sent", () => {
  const c = new Conversation("coven@conference.localhost", "room");
  const mine = { from: "coven@conference.localhost/me", mine: true, id: "x" };
  c.add(said("a", 1, { ...mine, state: "pending" }));
  c.add(said("a", 2, { ...mine, archive: "9" }));
  assert.deepEqual([c.messages.length, c.last.state, c.last.archive], [1, "sent", "9"]);
});

test("no more than the newest are held, and forgotten ones may come again", () => {
  const c = new Conversation("juliet@localhost", "chat");
  c.complete = true;
  for (let i = 0; i < 2500; i++) c.add(said("", i, { id: `i${i}`, archive: `a${i}` }));
  assert.equal(c.messages.length, 2000);
  assert.equal(c.oldest.archive, "a500");
  assert.equal(c.complete, false);
  assert.equal(c.add(said("", 499, { id: "i499", archive: "a499" }), "before").added, true);
});

test("what is saved is the newest, and known again", () => {
  const c = new Conversation("juliet@localhost", "chat");
  for (let i = 0; i < 300; i++) c.add(said("", i, { id: `i${i}`, archive: `a${i}` }));
  c.unread = 3;
  c.complete = true;
  const again = Conversation.restore(JSON.parse(JSON.stringify(c.save())));
  assert.deepEqual([again.messages.length, again.oldest.archive, again.unread, again.complete], [200, "a100", 3, false]);
  assert.equal(again.add(said("", 250, { archive: "a250" })).added, false);
});

test("forgetting keeps what is still to be sent", () => {
  const c = new Conversation("juliet@localhost", "chat");
  c.add(said("a", 1, { archive: "1" }));
  c.add(said("b", 2, { mine: true, state: "pending", id: "x" }));
  c.forget();
  assert.equal(bodies(c), "b");
  assert.equal(c.add(said("a", 1, { archive: "1" }), "before").added, true);
  assert.equal(bodies(c), "ab");
});

test("the list has the latest first, and counts what is unread", () => {
  const all = new Conversations();
  all.open("a", "chat").add(said("", 1));
  all.open("c", "room");
  all.open("b", "chat").add(said("", 2));
  all.get("a").unread = 2;
  all.get("b").unread = 1;
  assert.deepEqual(all.recent().map((c) => c.key), ["b", "a", "c"]);
  assert.equal(all.unread, 3);
});
