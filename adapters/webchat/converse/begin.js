// Starts converse.js for the server that this page came from;
// docs/web-chat.md says how it comes here.

import "./dist/converse.min.js";

const answer = await fetch("config.json", { cache: "no-cache" });
const { domains, websocket, bosh } = await answer.json();
const domain = domains.includes(location.hostname) ? location.hostname : domains[0];
const socket = new URL(websocket, location.href);
socket.protocol = socket.protocol.replace("http", "ws");

globalThis.converse.initialize({
  view_mode: "fullscreen",
  assets_path: new URL("dist/", location.href).pathname,
  websocket_url: socket.href,
  bosh_service_url: bosh ? new URL(bosh, location.href).href : undefined,
  discover_connection_methods: false, // host-meta is for who does not know the server yet
  default_domain: domain,
  muc_domain: `conference.${domain}`,
  enable_smacks: false, // after a reload it resumes, and then says that it is another resource (RFC 6120 8.1.2.1)
  allow_registration: false,
  loglevel: "warn",
});
