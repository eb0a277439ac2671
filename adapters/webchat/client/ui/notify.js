// The browser's notifications: off until the user turns them on.

const SETTING = "hexmpp.notify";

export const possible = () => "Notification" in globalThis && Notification.permission !== "denied";
export const on = () => possible() && Notification.permission === "granted" && localStorage.getItem(SETTING) === "on";

/** Turns them on or off; resolves with what they are now. */
export async function turn(wanted) {
  if (wanted && await Notification.requestPermission() === "granted") localStorage.setItem(SETTING, "on");
  else localStorage.removeItem(SETTING);
  return on();
}

/** Shows one, if the page is not in sight; click() when it is clicked. */
export function show(title, body, tag, click) {
  if (!on() || document.visibilityState === "visible") return;
  try {
    const n = new Notification(title, { body: body.slice(0, 200), tag, icon: "icon.svg" });
    n.onclick = () => {
      window.focus();
      click();
      n.close();
    };
  } catch { // browsers of phones show none of pages
  }
}
