// The page is reloaded while messages come and go: the session is resumed, and
// nothing is lost or doubled.

import assert from "node:assert/strict";
import { scenario, logIn, begin, openRow, say, until, delivered, kept } from "./browser.mjs";

const MESSAGES = 100;
const RELOADS = 5;

await scenario(async (open) => {
  const romeo = await open();
  await logIn(romeo, "romeo");
  const juliet = await open();
  await logIn(juliet, "juliet");
  await begin(romeo, "juliet");
  await say(romeo, "begin");
  await openRow(juliet, "romeo");
  await until(juliet, "begin", ["begin"]);

  const before = await kept(juliet);
  const speaking = (async () => {
    for (let i = 0; i < MESSAGES; i++) {
      await say(romeo, `romeo ${i}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  for (let i = 0; i < RELOADS; i++) {
    await until(juliet, `romeo ${i * 10 + 5}`, [`romeo ${i * 10 + 5}`]); // of two digits, but for the first
    await say(juliet, `juliet ${i}`);
    await juliet.reload(); // with that on its way
    await juliet.locator(".write textarea").waitFor();
  }
  await speaking;
  const lines = (name, n) => Array.from({ length: n }, (_, i) => `${name} ${i}`);
  for (const page of [romeo, juliet]) {
    await until(page, "romeo ", lines("romeo", MESSAGES));
    await until(page, "juliet ", lines("juliet", RELOADS));
    await delivered(page);
  }
  const after = await kept(juliet);
  assert.equal(after.jid, before.jid, "the session is another one");
  assert.equal(after.sm.id, before.sm.id);
  assert.equal(await juliet.locator(".banner").isVisible(), false);
  await juliet.locator(".about", { hasText: /romeo@/ }).waitFor();
});
