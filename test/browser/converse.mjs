// converse.js, served in the place of our own client: logs in, has a chat, and a
// room, and goes on when the page is reloaded. Two pages of it talk to each other.

import assert from "node:assert/strict";
import { scenario, shot, setup } from "./browser.mjs";

// What it says of what this server does not have (PubSub), and of the pictures of
// its sponsors, which the policy keeps it from loading.
const expected = [/conversejs\.org/, /Failed to load resource.*(404|ERR_BLOCKED)/, /OMEMO/, /service-unavailable/, /PEP|PubSub/, /^tj$/, /emoji/i];

async function logIn(page, user) {
  page.expected.push(...expected);
  await page.locator("input[name=jid]").fill(`${user}@${setup.domain}`);
  await page.locator("input[name=password]").fill(setup.accounts[user]);
  await page.locator("input[type=submit], button[type=submit]").first().click();
  await page.locator("converse-user-profile").waitFor();
}

async function chat(page, what, jid) {
  await page.goto(`${setup.url}#converse/${what}?jid=${jid}`);
  await page.locator("textarea.chat-textarea").waitFor();
}

async function say(page, text) {
  await page.locator("textarea.chat-textarea").fill(text);
  await page.keyboard.press("Enter");
}

const heard = (page, text) => page.locator("converse-chat-message-body", { hasText: text }).waitFor();

await scenario(async (open) => {
  const romeo = await open();
  await logIn(romeo, "romeo");
  const juliet = await open();
  await logIn(juliet, "juliet");
  await chat(romeo, "chat", `juliet@${setup.domain}`);
  await chat(juliet, "chat", `romeo@${setup.domain}`);
  await say(romeo, "one");
  await heard(juliet, "one");
  await juliet.reload();
  await juliet.locator("textarea.chat-textarea").waitFor();
  assert.equal(await juliet.locator("input[name=password]").count(), 0, "the password is asked for again");
  await heard(juliet, "one");
  await say(juliet, "two");
  await heard(romeo, "two");
  await say(romeo, "three");
  await heard(juliet, "three");
  assert.equal(await juliet.locator("converse-chat-message-body", { hasText: "one" }).count(), 1);
  await shot(juliet, "converse");

  const room = `balcony@conference.${setup.domain}`;
  await chat(romeo, "room", room);
  await say(romeo, "in the room");
  await heard(romeo, "in the room");
  await chat(juliet, "room", room);
  await heard(juliet, "in the room");
  await say(juliet, "in the room, too");
  await heard(romeo, "in the room, too");
  await shot(romeo, "converse-room");
});
