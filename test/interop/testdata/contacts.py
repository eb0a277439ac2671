"""chat.py with contacts, a vCard, bookmarks, a block list, and stream management.

Out come also {"event": "presence", "from": ..., "type": ...}, {"event":
"pushed", "jid": ..., "subscription": ..., "ask": ...}, {"event": "managed"} when
stream management is on, {"event": "resumed"}, {"event": "bounced", "from": ...,
"condition": ...}, {"event": "blocked" or "unblocked", "fields": JIDS} for pushes, and
answers to orders. In go
{"subscription": TYPE, "to": ...}, {"show": ...}, {"vcard": NAME}, {"vcard of": JID},
{"bookmark": JID}, {"bookmarks": true}, {"block": JIDS}, {"unblock": JIDS},
{"block list": true}, {"last of": JID}, {"idle": SECONDS}, {"goodbye": STATUS},
which is unavailable presence, and {"cut": true}, which drops the socket
and connects again.
"""
import slixmpp

from chat import Chat, main, tell


def jids(items):
    return sorted(j.full for j in items["items"])


class Contacts(Chat):
    def __init__(self, jid, password, ca):
        super().__init__(jid, password, ca)
        self.auto_authorize = None  # the test decides
        self.auto_subscribe = False
        self.cutting = False
        self.register_plugin("xep_0012")
        self.register_plugin("xep_0048", {"storage_method": "xep_0049"})
        self.register_plugin("xep_0054")
        self.register_plugin("xep_0191")
        self.register_plugin("xep_0198")
        self.add_event_handler("presence", lambda p: tell("presence", **{"from": p["from"].full, "type": p["type"]}))
        self.add_event_handler("roster_update", self.pushed)
        self.add_event_handler("blocked", lambda iq: tell("blocked", fields=jids(iq["block"])))
        self.add_event_handler("unblocked", lambda iq: tell("unblocked", fields=jids(iq["unblock"])))
        self.add_event_handler("message_error", lambda m: tell("bounced", **{"from": m["from"].full, "condition": m["error"]["condition"]}))
        self.add_event_handler("sm_enabled", lambda _: tell("managed"))
        self.add_event_handler("session_resumed", lambda _: tell("resumed", jid=self.boundjid.full))
        self.add_event_handler("sm_failed", lambda _: tell("not resumed"))

    def pushed(self, iq):
        if iq["type"] == "set":
            for jid, item in iq["roster"]["items"].items():
                tell("pushed", jid=jid.bare, subscription=item["subscription"], ask=item["ask"])

    def leave(self):
        if self.cutting:
            self.cutting = False
            self.dial()
        else:
            super().leave()

    async def obey(self, order):
        match order:
            case {"subscription": kind, "to": to}:
                self.send_presence(pto=to, ptype=kind)
            case {"show": show}:
                self.send_presence(pshow=show)
            case {"vcard": name}:
                card = self["xep_0054"].make_vcard()
                card["FN"] = name
                await self["xep_0054"].publish_vcard(card, timeout=10)
                tell("published")
            case {"vcard of": jid}:
                try:
                    answer = await self["xep_0054"].get_vcard(slixmpp.JID(jid), timeout=10)
                    tell("vcard", name=answer["vcard_temp"]["FN"])
                except slixmpp.exceptions.IqError as e:
                    tell("vcard", condition=e.condition)
            case {"bookmark": jid}:
                marks = slixmpp.plugins.xep_0048.stanza.Bookmarks()
                marks.add_conference(jid, "me", name="Bookmark", autojoin=True)
                await self["xep_0048"].set_bookmarks(marks, timeout=10)
                tell("bookmarked")
            case {"bookmarks": _}:
                answer = await self["xep_0048"].get_bookmarks(timeout=10)
                tell("bookmarks", fields=[c["jid"] for c in answer["private"]["bookmarks"]["conferences"]])
            case {"block": who}:
                await self["xep_0191"].block(set(who), timeout=10)
                tell("done")
            case {"unblock": who}:
                await self["xep_0191"].unblock(set(who), timeout=10)
                tell("done")
            case {"block list": _}:
                answer = await self["xep_0191"].get_blocked(timeout=10)
                tell("block list", fields=jids(answer["blocklist"]))
            case {"last of": jid}:
                try:
                    answer = await self["xep_0012"].get_last_activity(jid, timeout=10)
                    last = answer["last_activity"]
                    tell("last", seconds=last["seconds"], body=last["status"])
                except slixmpp.exceptions.IqError as e:
                    tell("last", condition=e.condition)
            case {"idle": seconds}:
                await self["xep_0012"].set_last_activity(self.boundjid, seconds=seconds)
                tell("idle")
            case {"goodbye": status}:
                self.send_presence(ptype="unavailable", pstatus=status)
            case {"cut": _}:
                self.cutting = True
                self.transport.abort()
            case _:
                await super().obey(order)


if __name__ == "__main__":
    main(Contacts)
