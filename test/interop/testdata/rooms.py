"""contacts.py in rooms (XEP-0045, 0249, 0313, 0421, 0425).

Orders name the room in "room". {"enter": NICK, "password": ..., "max": HISTORY} is answered
by "entered" (occupants in "fields", status codes in "codes", the subject in "body", bodies
of the history in "ids") or "not entered"; {"leave": NICK}; {"says": BODY, "id": ID};
{"whisper": BODY, "nick": ...}; {"subject": TEXT}; {"nick": NEW}; {"role": ROLE, "nick": ...},
{"affiliation": AFFILIATION, "jid": ...}, each with "reason"; {"roles": ROLE} and
{"affiliations": AFFILIATION}, which tell "listed"; {"fields of": ROOM} and {"configure":
VALUES}; {"destroy": ALTERNATE}; {"invite": JID}, {"invite directly": JID}; {"voice": true};
{"allow": true} grants the last request for voice; {"register": NICK}; {"registered": true},
which tells the reserved nickname; {"ping": JID}; {"features": JID}; {"items": JID};
{"history": MAX}, which pages through the archive; {"moderate": ID}. What has no answer of
its own is answered by "done", and an error by "failed".

Out come "presence refused", "said", "whispered", "topic", "occupant" for each presence, "status" for status codes in
messages, "invited", "invited directly", "asked for voice" and "moderated".
"""
import sys
import xml.etree.ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError, PresenceError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath

from chat import main, tell
from contacts import Contacts

sys.stdout = sys.stderr  # slixmpp prints while it enters a room

USER = "{http://jabber.org/protocol/muc#user}"
MODERATE = "urn:xmpp:message-moderate:1"


class Rooms(Contacts):
    def __init__(self, jid, password, ca):
        super().__init__(jid, password, ca)
        for plugin in "xep_0045", "xep_0249", "xep_0313", "xep_0359", "xep_0421":
            self.register_plugin(plugin)
        self.asked = None  # the last request for voice
        for event, f in {
            "groupchat_message": self.said,
            "groupchat_subject": lambda m: tell("topic", **{"from": m["from"].full, "body": m["subject"]}),
            "groupchat_presence": self.occupant,
            "groupchat_config_status": lambda m: tell("status", **{"from": m["from"].full, "codes": sorted(m["muc"]["status_codes"])}),
            "groupchat_direct_invite": lambda m: tell("invited directly", **{"from": m["from"].full, "jid": m["groupchat_invite"]["jid"], "reason": m["groupchat_invite"]["reason"]}),
        }.items():
            self.add_event_handler(event, f)
        # no event tells of errors from rooms that one is in, of invitations to rooms that one has tried to
        # enter, and of messages without a body
        for name, path, f in (
            ("refused", "presence@type=error", lambda p: tell("presence refused", **{"from": p["from"].full, "condition": p["error"]["condition"]})),
            ("invitations", "message/muc/invite", lambda m: tell("invited", **{"from": m["from"].full, "jid": m["muc"]["invite"]["from"].full, "reason": m["muc"]["invite"]["reason"]})),
            ("other messages", "message", self.other),
        ):
            self.register_handler(Callback(name, StanzaPath(path), f))

    def heard(self, msg):
        if msg["type"] != "groupchat":
            super().heard(msg)

    def said(self, msg):
        stable = msg.get_plugin("stanza_id", check=True)
        tell("said", id=stable["id"] if stable is not None else "", **{"from": msg["from"].full, "body": msg["body"], "name": msg["occupant-id"]["id"]})

    def other(self, msg):
        form = msg.xml.find("{jabber:x:data}x")
        if form is not None:
            self.asked = form
            tell("asked for voice", **{"from": msg["from"].full, "fields": [f.get("var") for f in form.findall("{jabber:x:data}field")]})
        moderated = msg.xml.find("{urn:xmpp:message-retract:1}retract")
        if moderated is not None and moderated.find("{%s}moderated" % MODERATE) is not None:
            tell("moderated", **{"from": msg["from"].full, "id": moderated.get("id"), "reason": moderated.findtext("{urn:xmpp:message-retract:1}reason", "")})

    def occupant(self, presence):
        x = presence["muc"]
        item = presence.xml.find(f"{USER}x/{USER}item")
        more = {} if item is None else {"reason": item.findtext(USER + "reason", ""), "nick": item.get("nick", ""), "jid": item.get("jid", "")}
        destroyed = presence.xml.find(f"{USER}x/{USER}destroy")
        if destroyed is not None:
            more = {"reason": destroyed.findtext(USER + "reason", ""), "jid": destroyed.get("jid", "")}
        tell("occupant", type=presence["type"], role=x["role"], affiliation=x["affiliation"], codes=sorted(x["status_codes"]), **{"from": presence["from"].full}, **more)

    async def obey(self, order):
        room = slixmpp.JID(order.get("room", ""))
        rooms = self["xep_0045"]
        try:
            match order:
                case {"enter": nick}:
                    own, topic, there, history = await rooms.join_muc_wait(room, nick, password=order.get("password"), maxstanzas=order.get("max"), timeout=20)
                    tell("entered", codes=sorted(own["muc"]["status_codes"]), nick=own["from"].resource, fields=sorted(p["from"].resource for p in there),
                         body=topic["subject"], ids=[m["body"] for m in history], role=own["muc"]["role"], affiliation=own["muc"]["affiliation"])
                    return
                case {"leave": nick}:
                    self.send_presence(pto=f"{room}/{nick}", ptype="unavailable")  # leave_muc sends an available one
                    return
                case {"says": body}:
                    msg = self.make_message(mto=room, mbody=body, mtype="groupchat")
                    msg["id"] = order.get("id") or msg["id"]
                    msg.send()
                    return
                case {"whisper": body, "nick": nick}:
                    self.send_message(mto=f"{room}/{nick}", mbody=body, mtype="chat")
                    return
                case {"subject": text}:
                    rooms.set_subject(room, text)
                    return
                case {"role": role, "nick": nick}:
                    await rooms.set_role(room, nick, role, reason=order.get("reason", ""), timeout=20)
                case {"affiliation": affiliation, "jid": jid}:
                    await rooms.set_affiliation(room, affiliation, jid=jid, reason=order.get("reason", ""), timeout=20)
                case {"roles": role}:
                    tell("listed", fields=sorted(str(i) for i in await rooms.get_roles_list(room, role, timeout=20)))
                    return
                case {"affiliations": affiliation}:
                    tell("listed", fields=sorted(str(i) for i in await rooms.get_affiliation_list(room, affiliation, timeout=20)))
                    return
                case {"fields of": which}:
                    form = await rooms.get_room_config(slixmpp.JID(which), timeout=20)
                    tell("form", fields=list(form.get_fields()))
                    return
                case {"configure": values}:
                    form = self["xep_0004"].make_form(ftype="submit")
                    form.add_field(var="FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/muc#roomconfig")
                    for name, value in values.items():
                        form.add_field(var="muc#roomconfig_" + name, value=value)
                    await rooms.set_room_config(room, form, timeout=20)
                case {"destroy": alternate}:
                    await rooms.destroy(room, reason=order.get("reason", ""), altroom=alternate, timeout=20)
                case {"invite": jid}:
                    rooms.invite(room, jid, reason=order.get("reason", ""))
                    return
                case {"invite directly": jid}:
                    self["xep_0249"].send_invitation(jid, room, reason=order.get("reason", ""))
                    return
                case {"voice": _}:
                    rooms.request_voice(room, "participant")
                    return
                case {"allow": _}:
                    answer = ET.fromstring(ET.tostring(self.asked))
                    answer.set("type", "submit")
                    answer.find("*[@var='muc#request_allow']/{jabber:x:data}value").text = "true"
                    msg = self.make_message(mto=room)
                    msg.append(answer)
                    msg.send()
                    return
                case {"register": nick}:
                    iq = self.make_iq_set(ito=room)
                    query = ET.SubElement(iq.xml, "{jabber:iq:register}query")
                    x = ET.SubElement(query, "{jabber:x:data}x", type="submit")
                    for var, value in ("FORM_TYPE", "http://jabber.org/protocol/muc#register"), ("muc#register_roomnick", nick):
                        ET.SubElement(ET.SubElement(x, "{jabber:x:data}field", var=var), "{jabber:x:data}value").text = value
                    await iq.send(timeout=20)
                case {"registered": _}:
                    info = await self["xep_0030"].get_info(jid=room, node="x-roomuser-item", timeout=20)
                    tell("registered", fields=[i[3] or "" for i in info["disco_info"]["identities"]])
                    return
                case {"nick": nick}:
                    self.send_presence(pto=f"{room}/{nick}")
                    return
                case {"ping": jid}:
                    await self["xep_0199"].send_ping(slixmpp.JID(jid), timeout=20)
                case {"features": jid}:
                    info = await self["xep_0030"].get_info(jid=jid, timeout=20)
                    tell("features", fields=sorted(info["disco_info"]["features"]), name=" ".join(sorted(i[0] + "/" + i[1] for i in info["disco_info"]["identities"])))
                    return
                case {"items": jid}:
                    items = await self["xep_0030"].get_items(jid=jid, timeout=20)
                    tell("items", fields=sorted(str(i[0]) for i in items["disco_items"]["items"]))
                    return
                case {"history": most}:
                    bodies, ids = [], []
                    async for found in self["xep_0313"].iterate(jid=room, rsm={"max": most}):
                        result = found["mam_result"]
                        bodies.append(result["forwarded"]["stanza"]["body"])
                        ids.append(result["id"])
                    tell("archived", fields=bodies, ids=ids)
                    return
                case {"moderate": which}:
                    iq = self.make_iq_set(ito=room)
                    moderate = ET.SubElement(iq.xml, "{%s}moderate" % MODERATE, id=which)
                    ET.SubElement(moderate, "{urn:xmpp:message-retract:1}retract")
                    if order.get("reason"):
                        ET.SubElement(moderate, "{%s}reason" % MODERATE).text = order["reason"]
                    await iq.send(timeout=20)
                case _:
                    await super().obey(order)
                    return
        except IqError as e:
            tell("failed", condition=e.condition, type=e.etype)
        except PresenceError as e:
            tell("not entered", condition=e.condition, type=e.etype)
        else:
            tell("done")


if __name__ == "__main__":
    main(Rooms)
