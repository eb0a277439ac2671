// Times, as the reader's language writes them.

const time = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });
const date = new Intl.DateTimeFormat([], { dateStyle: "medium" });
const full = new Intl.DateTimeFormat([], { dateStyle: "full", timeStyle: "short" });
const DAY = 86_400_000;

const midnight = (ms) => new Date(ms).setHours(0, 0, 0, 0);

/** Whether two times are on one day. */
export const sameDay = (a, b) => midnight(a) === midnight(b);

export const clock = (ms) => time.format(ms);
export const exact = (ms) => full.format(ms);

/** A heading for a day. */
export function heading(ms, now = Date.now()) {
  const days = Math.round((midnight(now) - midnight(ms)) / DAY);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  return days < 300 ? day.format(ms) : date.format(ms);
}

/** As short as can be: for a list. */
export function short(ms, now = Date.now()) {
  const days = Math.round((midnight(now) - midnight(ms)) / DAY);
  if (days === 0) return clock(ms);
  if (days === 1) return "Yesterday";
  return new Date(ms).toLocaleDateString([], days < 7 ? { weekday: "short" } : { day: "numeric", month: "short" });
}
