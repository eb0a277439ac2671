// What went wrong, in plain words. Conditions are those of RFC 6120, and some of
// our own: see xmpp/client.js, xmpp/sasl.js, chat/rooms.js.

const LOGIN = {
  "not-authorized": "The address or the password is wrong.",
  "credentials-expired": "This password has expired.",
  "account-disabled": "This account is disabled.",
  "password-needed": "Please enter the password again.",
  "temporary-auth-failure": "The server can't check passwords at the moment. Try again in a while.",
  "no-mechanism": "The server offers no way to log in that this chat knows (SCRAM).",
  "bad-server": "The server's answers make no sense. Is it an XMPP server?",
  downgrade: "Somebody between here and the server may be tampering with the connection, so the login was stopped.",
  "host-unknown": "The server does not serve this domain.",
  "host-gone": "The server does not serve this domain any more.",
  "connection-lost": "The server can't be reached. Is it running?",
  timeout: "The server does not answer.",
  "see-other-host": "The server sends its clients elsewhere:",
  "resource-constraint": "The server is too busy, or this account is logged in too often. Try again in a while.",
  "policy-violation": "The server refuses this for the moment: too many tries, perhaps. Wait a little.",
  "not-allowed": "The server does not let this account in.",
  conflict: "This chat was continued elsewhere.",
};

/** Why logging in failed. */
export function login(error) {
  const text = LOGIN[error.condition] ?? `That did not work (${error.condition ?? error.message}).`;
  return error.condition === "see-other-host" ? `${text} ${error.text}` : text;
}

/** What became of the connection; seconds: until the next try. */
export function lost(error, seconds) {
  const why = {
    timeout: "The server does not answer.",
    "system-shutdown": "The server is restarting.",
    "closed-by-server": "The server closed the connection.",
  }[error?.condition] ?? "No connection to the server.";
  return seconds > 0 ? `${why} Next try in ${seconds}\u00A0s.` : `${why} Trying again…`;
}

const ROOM = {
  "not-authorized": "This room needs a password, and this is not it.",
  "registration-required": "Only members may enter this room.",
  forbidden: "You are banned from this room.",
  conflict: "Somebody in the room has this nickname already. Choose another one.",
  "service-unavailable": "The room is full, or there is no such service.",
  "item-not-found": "The room is not there, or not open yet.",
  "not-allowed": "You may not make a new room here.",
  "not-acceptable": "The room does not take this nickname.",
  "jid-malformed": "That can't be the address of a room.",
  "remote-server-not-found": "The server of that room can't be found.",
  "remote-server-timeout": "The room does not answer.",
  "resource-constraint": "The service for rooms is too busy. Try again in a while.",
  banned: "You were banned from this room.",
  kicked: "You were removed from this room.",
  "member-no-more": "You are no member of this room any more.",
  "members-only": "The room is for members only now.",
  "room-shutdown": "The service for rooms is shutting down.",
  destroyed: "The room was removed.",
  left: "You left this room.",
  offline: "There is no connection to the server.",
};

/** Why one is not in a room. */
export function room({ condition, text }) {
  return (ROOM[condition] ?? `That did not work (${condition}).`) + (text ? ` “${text}”` : "");
}

const MESSAGE = {
  "service-unavailable": "could not be delivered",
  "item-not-found": "there is nobody at this address",
  "remote-server-not-found": "the other server can't be found",
  "remote-server-timeout": "the other server does not answer",
  "not-acceptable": "you are not in the room, or the server does not take it",
  "not-allowed": "you may not send this",
  forbidden: "you may not speak here",
  "resource-constraint": "too much waits there already; try later",
  "policy-violation": "the server refused it: too much, or too fast",
};

/** Why a message was not delivered. */
export const message = ({ condition, text }) => text || (MESSAGE[condition] ?? condition);

/** Why something else was refused. */
export function notice(error, what) {
  const asked = { subject: "The subject was not changed", invite: "The invitation was not sent" }[what] ?? "That did not work";
  return `${asked}: ${message(error)}.`;
}

export const SHOW = { "": "Online", chat: "Online", away: "Away", xa: "Away for long", dnd: "Do not disturb", offline: "Offline" };
