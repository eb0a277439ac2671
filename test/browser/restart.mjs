// The server goes and comes back: the page says so, keeps what is written
// meanwhile, and goes on. The Go test stops and starts the server when it is
// told to on standard output, and answers on standard input.

import readline from "node:readline";
import { scenario, shot, logIn, begin, openRow, say, until, delivered, title } from "./browser.mjs";

const input = readline.createInterface({ input: process.stdin });
const answers = input[Symbol.asyncIterator]();

async function tell(word) {
  console.log(word);
  await answers.next();
}

await scenario(async (open) => {
  const romeo = await open();
  await logIn(romeo, "romeo");
  const juliet = await open();
  await logIn(juliet, "juliet");
  for (const page of [romeo, juliet]) page.expected.push(/WebSocket connection to/, /ERR_CONNECTION_REFUSED/);
  await begin(romeo, "juliet");
  await say(romeo, "one");
  await openRow(juliet, "romeo");
  await until(juliet, "one", ["one"]);
  for (const how of ["stop", "kill"]) {
    await tell(how);
    for (const page of [romeo, juliet]) await page.getByText(/No connection to the server|The server is restarting|The server closed the connection/).waitFor();
    await say(romeo, `while it was away: ${how}`);
    await romeo.locator(".state-pending").waitFor();
    await shot(romeo, `away-${how}`);
    await tell("start");
    for (const page of [romeo, juliet]) {
      await page.locator(".banner").waitFor({ state: "hidden" });
      await title(page, page === romeo ? "juliet" : "romeo");
      await until(page, `while it was away: ${how}`, [`while it was away: ${how}`]);
      await until(page, "one", ["one"]);
    }
    await delivered(romeo);
  }
}).finally(() => input.close());
