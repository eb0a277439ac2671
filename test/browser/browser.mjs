// What the scenarios share: Chromium, pages that are logged in, and what a person
// would do in them. Every wait ends, and what a page did wrong by itself (an
// error, a breach of its policy, a request to elsewhere) fails the scenario.

import assert from "node:assert/strict";
import path from "node:path";
import { chromium } from "playwright-core";

/** {url, domain, chromium, accounts: {name: password}, shots}, from the Go test. */
export const setup = JSON.parse(process.env.HEXMPP_BROWSER ?? "{}");

const WAIT = 30_000;
export const WIDE = { viewport: { width: 1200, height: 780 } };
export const NARROW = { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true };

/** Runs a scenario: run(open), where open(options) makes a page of its own browser profile. */
export async function scenario(run) {
  const browser = await chromium.launch({ executablePath: setup.chromium, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
  const wrong = [];
  const pages = [];
  const open = async (options = WIDE) => {
    const context = await browser.newContext({ ...options, locale: "en-GB" });
    context.setDefaultTimeout(WAIT);
    const page = await context.newPage();
    page.expected = []; // what the console may say
    page.on("pageerror", (error) => wrong.push(`page error: ${error.stack}`));
    page.on("console", (m) => {
      if (["error", "warning"].includes(m.type()) && !page.expected.some((e) => e.test(m.text()))) wrong.push(`console: ${m.text()}`);
    });
    page.on("request", (request) => {
      const { protocol, host } = new URL(request.url());
      if (protocol.startsWith("http") && host !== new URL(setup.url).host && !page.expected.some((e) => e.test(host))) wrong.push(`a request to ${request.url()}`);
    });
    await page.goto(setup.url);
    pages.push(page);
    return page;
  };
  try {
    await run(open);
    assert.deepEqual(wrong, []);
  } catch (error) {
    if (wrong.length > 0) console.error("what pages did wrong:", wrong);
    for (const [i, page] of pages.entries()) await shot(page, `failed-${i}`).catch(() => {});
    throw error;
  } finally {
    await browser.close();
  }
}

/** Keeps what a page looks like. */
export async function shot(page, name) {
  if (setup.shots) await page.screenshot({ path: path.join(setup.shots, `${name}.png`) });
}

export async function logIn(page, user, password = setup.accounts[user]) {
  await page.getByLabel("Address").fill(user);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.locator(".frame").waitFor();
}

/** Begins a conversation with somebody, and asks to be contacts. */
export async function begin(page, user) {
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.getByRole("dialog").getByLabel("Address").fill(user);
  await page.getByRole("button", { name: "Begin" }).click();
  await title(page, user);
}

/** Waits until a conversation of this name is shown. */
export const title = (page, name) => page.getByRole("heading", { name, exact: true, level: 1 }).waitFor();

/** A row of the list. */
export const row = (page, name) => page.locator(".side .row", { has: page.locator(`strong:text-is("${name}")`) });

export async function openRow(page, name) {
  await row(page, name).click();
  await title(page, name);
}

export async function say(page, text) {
  await page.locator(".write textarea").fill(text);
  await page.keyboard.press("Enter");
}

/** The texts of the messages that are shown, in order. */
export const said = (page) => page.locator(".said .words").allTextContents();

/** Waits until the messages that begin with a text are these. */
export async function until(page, start, want) {
  let got;
  for (let i = 0; i < WAIT / 50; i++) {
    got = (await said(page)).filter((text) => text.startsWith(start));
    if (got.length >= want.length) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.deepEqual(got, want);
}

/** Waits until the server has all that was said. */
export const delivered = (page) => page.waitForFunction(() => !document.querySelector(".state-pending, .state-failed"));

/** What the page keeps over a reload: {jid, sm: {id, ...}}. */
export const kept = (page) => page.evaluate(() => JSON.parse(sessionStorage.getItem("hexmpp.client")));
