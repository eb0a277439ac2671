// A room: made, entered, spoken in, its subject, who is there, on a wide screen and
// a narrow one; with the keyboard alone where that is possible.

import assert from "node:assert/strict";
import { scenario, shot, logIn, title, row, openRow, say, until, NARROW } from "./browser.mjs";

await scenario(async (open) => {
  const romeo = await open();
  await logIn(romeo, "romeo");
  const juliet = await open(NARROW);
  await logIn(juliet, "juliet");

  await romeo.getByRole("button", { name: "Enter a room" }).click();
  await romeo.getByLabel("Room", { exact: true }).fill("Garden");
  await romeo.keyboard.press("Enter");
  await romeo.getByRole("heading", { name: "A new room" }).waitFor();
  await shot(romeo, "room-new");
  await romeo.getByLabel("Name", { exact: true }).fill("The garden");
  await romeo.keyboard.press("Enter");
  await title(romeo, "The garden");
  await say(romeo, "He jests at scars that never felt a wound.");
  await romeo.locator(".state-sent").waitFor();

  // Listed for others; what was said is there for who comes later.
  await juliet.getByRole("button", { name: "Enter a room" }).click();
  await juliet.getByRole("dialog").getByRole("button", { name: "The garden" }).waitFor();
  await shot(juliet, "room-list-narrow");
  await juliet.getByRole("dialog").getByRole("button", { name: "The garden" }).click();
  await title(juliet, "The garden");
  await until(juliet, "He jests", ["He jests at scars that never felt a wound."]);
  await say(juliet, "Ay me!");
  await until(romeo, "Ay me!", ["Ay me!"]);
  await shot(juliet, "room-narrow");
  await juliet.getByRole("button", { name: "Back to the list" }).click();
  await row(juliet, "The garden").waitFor();
  assert.equal(await juliet.locator(".talk").isVisible(), false);
  await say(romeo, "She speaks. O juliet, speak again.");
  await row(juliet, "The garden").getByText("1 unread, you are named").waitFor({ state: "attached" });
  await shot(juliet, "list-narrow");
  await openRow(juliet, "The garden");

  await romeo.getByRole("button", { name: "Who is here: 2" }).click();
  await romeo.locator(".people").getByText("Moderator").waitFor();
  assert.deepEqual(await romeo.locator(".people .row strong").allTextContents(), ["romeo", "juliet"]);
  await romeo.getByRole("button", { name: "More" }).click();
  await romeo.getByLabel("Subject").fill("But, soft!");
  await romeo.keyboard.press("Enter");
  for (const page of [romeo, juliet]) await page.locator(".about", { hasText: "But, soft!" }).waitFor();
  await shot(romeo, "room");

  // The keyboard: search, arrows, Escape, and the focus where one looks for it.
  await romeo.keyboard.press("Control+k");
  await romeo.keyboard.type("gard");
  await romeo.keyboard.press("ArrowDown");
  assert.equal(await romeo.evaluate(() => document.activeElement.querySelector("strong").textContent), "The garden");
  await romeo.keyboard.press("Enter");
  await romeo.waitForFunction(() => document.activeElement.tagName === "TEXTAREA");
  await romeo.keyboard.press("Escape");
  await romeo.getByText("Choose a conversation").waitFor();
  await romeo.keyboard.press("Alt+ArrowDown");
  await title(romeo, "The garden");

  // The room is entered again at the next login, and left for good when one leaves.
  await juliet.getByRole("button", { name: "Back to the list" }).click();
  await juliet.locator(".me").click();
  await juliet.getByRole("button", { name: "Log out" }).click();
  await logIn(juliet, "juliet");
  await openRow(juliet, "The garden");
  await until(juliet, "She speaks", ["She speaks. O juliet, speak again."]);
  await juliet.getByRole("button", { name: "More" }).click();
  await juliet.getByRole("button", { name: "Leave the room" }).click();
  await row(juliet, "The garden").waitFor({ state: "detached" });
  await romeo.getByRole("button", { name: "Who is here: 1" }).waitFor();
});
