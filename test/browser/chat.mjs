// Two people: login, contacts, a chat, unread marks, logging out.

import assert from "node:assert/strict";
import { scenario, shot, logIn, begin, title, row, openRow, say, said, until, delivered, WIDE } from "./browser.mjs";

await scenario(async (open) => {
  const romeo = await open();
  await shot(romeo, "login");
  await romeo.getByLabel("Address").fill("romeo");
  await romeo.getByLabel("Password").fill("wrong");
  await romeo.keyboard.press("Enter");
  await romeo.getByRole("alert").filter({ hasText: "The address or the password is wrong." }).waitFor();
  await romeo.getByLabel("Address").fill("a b");
  await romeo.keyboard.press("Enter");
  await romeo.getByRole("alert").filter({ hasText: "That is no address" }).waitFor();
  await logIn(romeo, "romeo");
  const juliet = await open({ ...WIDE, colorScheme: "dark" });
  await logIn(juliet, "juliet");

  // To be contacts: one question, one answer, and both see each other.
  await begin(romeo, "juliet");
  await juliet.locator(".ask", { hasText: "asks to be your contact" }).waitFor();
  await shot(juliet, "request-dark");
  await juliet.getByRole("button", { name: /^Accept romeo@/ }).click();
  await romeo.locator(".about", { hasText: /^Online/ }).waitFor();
  await row(juliet, "romeo").locator(".dot-online").waitFor();
  await assert.rejects(romeo.locator(".ask").waitFor({ timeout: 500 }));

  // Text is text, whatever is in it.
  const hostile = "<img src=x onerror=alert(1)> &lt;b&gt; <script>alert(2)</script> https://example.org/a?b=c&d. javascript:alert(3)";
  await say(romeo, hostile);
  await row(juliet, "romeo").getByText("1 unread").waitFor({ state: "attached" });
  assert.match(await juliet.title(), /^\(1\) /);
  await shot(juliet, "unread-dark");
  await openRow(juliet, "romeo");
  await until(juliet, "<img", [hostile]);
  assert.equal(await juliet.locator(".said img, .said script, .said b").count(), 0);
  const links = juliet.locator(".said a");
  assert.equal(await links.count(), 1);
  assert.deepEqual(await links.evaluate((a) => [a.href, a.rel, a.target]), ["https://example.org/a?b=c&d", "noopener noreferrer", "_blank"]);
  assert.doesNotMatch(await juliet.title(), /^\(/);

  // Both ways, quickly, in order.
  const lines = (name) => Array.from({ length: 20 }, (_, i) => `${name} ${i}`);
  await Promise.all([romeo, juliet].map(async (page, who) => {
    for (const line of lines(["romeo", "juliet"][who])) await say(page, line);
  }));
  for (const page of [romeo, juliet]) {
    await until(page, "romeo ", lines("romeo"));
    await until(page, "juliet ", lines("juliet"));
  }
  for (const page of [romeo, juliet]) await delivered(page);
  await shot(romeo, "chat");
  await shot(juliet, "chat-dark");

  // Another client of the same account: history from the archive, copies from then on.
  const phone = await open();
  await logIn(phone, "romeo");
  await openRow(phone, "juliet");
  await until(phone, "juliet ", lines("juliet"));
  await say(phone, "from the phone");
  for (const page of [phone, romeo, juliet]) await until(page, "from the phone", ["from the phone"]);
  await romeo.locator(".said.mine", { hasText: "from the phone" }).waitFor();
  await say(juliet, "to both");
  for (const page of [phone, romeo]) await until(page, "to both", ["to both"]);

  // Logging out forgets.
  await phone.locator(".me").click();
  await phone.getByRole("button", { name: "Log out" }).click();
  await phone.getByLabel("Password").waitFor();
  assert.equal(await phone.evaluate(() => Object.keys(sessionStorage).filter((k) => k.startsWith("hexmpp.")).length), 0);
  await phone.reload();
  await phone.getByLabel("Password").waitFor();
  await title(romeo, "juliet");
  assert.ok((await said(romeo)).length > 40);
});
