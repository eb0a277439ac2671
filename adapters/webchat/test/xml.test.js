import test from "node:test";
import assert from "node:assert/strict";
import { xml, parse, escape, XMLError } from "../client/xmpp/xml.js";

test("an element is written with its namespace where that changes", () => {
  const e = xml("message", { xmlns: "jabber:client", to: "a@b", id: undefined },
    xml("body", {}, "hi"), xml("x", { xmlns: "urn:x" }, xml("y")), undefined, false);
  assert.equal(e.toString(), "<message xmlns='jabber:client' to='a@b'><body>hi</body><x xmlns='urn:x'><y/></x></message>");
});

test("text and attributes are escaped, and what XML has no place for is left out", () => {
  assert.equal(escape(`<a href="x">&'`), "&lt;a href=&quot;x&quot;&gt;&amp;&apos;");
  assert.equal(escape("a\u0000b\u0008c\uFFFEd\uD800e\u{1F600}"), "abcde\u{1F600}");
  const e = xml("a", { k: "'><evil/>" }, "]]></a><evil/>");
  const back = parse(e.toString());
  assert.equal(back.attrs.k, "'><evil/>");
  assert.equal(back.text, "]]></a><evil/>");
  assert.equal(back.elements().length, 0);
});

test("what was written is read again, white space and line ends too", () => {
  for (const text of ["", " a ", "a\nb\tc", "a\r\nb", "“ü” \u{10FFFD}", "&amp;"]) {
    assert.equal(parse(xml("a", {}, text).toString()).text, text);
  }
});

test("prefixes are resolved, default namespaces inherited", () => {
  const f = parse(`<stream:features xmlns:stream="urn:s"><a xmlns='urn:a'><b/><stream:c xmlns=""><d/></stream:c></a></stream:features>`);
  assert.ok(f.is("features", "urn:s"));
  const a = f.child("a", "urn:a");
  assert.equal(a.child("b").ns, "urn:a");
  assert.equal(a.child("c").ns, "urn:s");
  assert.equal(a.child("c").child("d").ns, "");
});

test("entities, CDATA and references to characters", () => {
  assert.equal(parse("<a b='&quot;&#x41;&#66;'>&lt;<![CDATA[<&x;]]>&gt;</a>").text, "<<&x;>");
  assert.equal(parse("<a b='&quot;&#x41;&#66;'/>").attrs.b, '"AB');
});

for (const [name, text] of Object.entries({
  nothing: "", text: "hello", "two elements": "<a/><b/>", "text behind": "<a/>x", "no end": "<a>", "wrong end": "<a></b>", "end of another prefix": "<p:a xmlns:p='x'></a>",
  "document type": "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "processing instruction": "<?xml version='1.0'?><a/>", comment: "<a><!-- x --></a>",
  "unknown entity": "<a>&nbsp;</a>", "bare ampersand": "<a>&</a>", "null character": "<a>&#0;</a>", "a surrogate": "<a>&#xD800;</a>", "beyond Unicode": "<a>&#x110000;</a>",
  "undeclared prefix": "<p:a/>", "prefix that objects have": "<constructor:a/>", "attribute twice": "<a b='1' b='2'/>", "unquoted attribute": "<a b=1/>",
  "less-than in an attribute": "<a b='<'/>", "attributes run together": "<a b='1'c='2'/>", "too deep": "<a>".repeat(200) + "</a>".repeat(200),
})) {
  test(`refused: ${name}`, () => assert.throws(() => parse(text), XMLError));
}

test("no input throws anything but XMLError, or takes long", () => {
  const pieces = ["<", ">", "/", "a", ":", "=", "'", '"', "&", ";", "#x", "<![CDATA[", "]]>", " ", "xmlns", "__proto__", "\u{1F600}", "<a b='c'>", "</a>"];
  let seed = 7;
  const next = (n) => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed % n; };
  const begin = performance.now();
  for (let i = 0; i < 20000; i++) {
    let text = "";
    for (let j = next(12); j >= 0; j--) text += pieces[next(pieces.length)];
    try {
      parse(text);
    } catch (error) {
      assert.ok(error instanceof XMLError, `${text}: ${error}`);
    }
  }
  for (const text of ["<a " + " ".repeat(100000), "<a" + " b='c'".repeat(20000), "&".repeat(100000), "<a>" + "&amp".repeat(50000), "<" + "a".repeat(100000)]) {
    assert.throws(() => parse(text), XMLError);
  }
  assert.ok(performance.now() - begin < 10_000);
});
