// Package websocket connects to the real binary by WebSocket (RFC 7395): with xmpp.js
// and Strophe.js under node (`npm install` in this folder brings them), and with
// frames that no good client sends.
package websocket
