// A tab that is duplicated has a copy of its sessionStorage, and two tabs can't go
// on with one session. Who holds a lock by the tab's name is the original.

const NAME = "hexmpp-tab"; // not of the vault: it outlives a session
const WAIT = 2000; // ms in which a page that is being reloaded gives its lock back

/** Claims what is kept in this tab; resolves with whether it is this tab's own. */
export async function claim(storage, locks) {
  const name = storage.getItem(NAME);
  if (name && await hold(locks, name)) return true;
  const fresh = crypto.randomUUID();
  storage.setItem(NAME, fresh);
  await hold(locks, fresh);
  return name === null;
}

/** Holds a lock for as long as the page lives. */
function hold(locks, name) {
  if (!locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    locks.request(NAME + name, { signal: AbortSignal.timeout(WAIT) }, () => {
      resolve(true);
      return new Promise(() => {}); // until the page goes
    }).catch(() => resolve(false));
  });
}

/** What a copy may use of what is saved: who it is, and what was said, but not the session. */
export function withoutSession(saved) {
  return {
    ...saved,
    client: { ...saved.client, sm: undefined },
    rooms: saved.rooms?.map((r) => ({ ...r, state: "out", occupants: [] })),
    conversations: saved.conversations.map((c) => ({ ...c, messages: c.messages.filter((m) => m.state !== "pending") })),
  };
}
