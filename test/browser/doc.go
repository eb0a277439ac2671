// Package browser has headless Chromium use the web chat of the real binary as
// people would: the scenarios are the files *.mjs, on playwright-core; the Go
// tests start the server for them. It needs node, chromium, and `npm install
// --no-package-lock` in this folder.
//
// With HEXMPP_SCREENSHOTS=DIR the pictures of the pages are kept there, to be
// looked at. What it leaves out: other browsers.
package browser
