import test from "node:test";
import assert from "node:assert/strict";
import { segments, safe } from "../client/ui/text.js";
import { mentions } from "../client/chat/talk.js";
import { typed, split } from "../client/xmpp/jid.js";

const links = (text) => segments(text).filter((s) => s.href).map((s) => s.text);

test("links are found, and the text stays what it was", () => {
  for (const [text, want] of [
    ["see https://example.org.", ["https://example.org"]],
    ["(https://example.org/a_(b)) and http://b.example/?q=1&r=2#x!", ["https://example.org/a_(b)", "http://b.example/?q=1&r=2#x"]],
    ["xmpp:coven@conference.localhost?join", ["xmpp:coven@conference.localhost?join"]],
    ["<https://example.org>", ["https://example.org"]],
    ["HTTPS://EXAMPLE.ORG", ["HTTPS://EXAMPLE.ORG"]],
    ["no link: https:// or http or example.org", []],
  ]) {
    assert.deepEqual(links(text), want, text);
    assert.equal(segments(text).map((s) => s.text).join(""), text);
  }
});

test("nothing else is a link", () => {
  for (const text of ["javascript:alert(1)", "data:text/html,<script>", "vbscript:x", "file:///etc/passwd", "blob:https://example.org/1", "java\nscript:alert(1)",
    "https://bank.example@evil.example/", "https://user:secret@example.org/", "about:blank", "ftp://example.org", "xmpp:"]) {
    assert.deepEqual(links(text), [], text);
    assert.equal(safe(text), undefined, text);
  }
});

test("invisible characters end a link", () => {
  assert.deepEqual(links("https://example.org/\u202Egpj.exe"), ["https://example.org/"]);
});

test("a name is mentioned as a word only", () => {
  for (const [text, want] of [["hi Ann!", true], ["ann: hello", true], ["@ann", true], ["Anna", false], ["banann", false], ["", false]]) {
    assert.equal(mentions(text, "Ann"), want, text);
  }
});

test("addresses as they are typed", () => {
  assert.equal(typed(" Juliet ", "localhost"), "juliet@localhost");
  assert.equal(typed("xmpp:Juliet@Example.org?message", "localhost"), "juliet@example.org");
  for (const bad of ["", "@", "a@", "@b", "a b@c", "a@b@c", "a@b/c", "<x>@y"]) assert.equal(typed(bad, undefined), undefined, bad);
  assert.deepEqual(split("a@b/c/d@e"), { local: "a", domain: "b", resource: "c/d@e" });
});
