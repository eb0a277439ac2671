"""contacts.py with carbons, client state and chat states.

Out come also {"event": "carbon", "type": "sent" or "received", "from": ..., "jid":
RECIPIENT, "body": ...}, {"event": "state", "from": ..., "type": STATE}, and answers to
orders. In go {"carbons": true or false}, {"active": true or false}, and {"state": STATE,
"to": ...}.
"""
from chat import main, tell
from contacts import Contacts


class Carbons(Contacts):
    def __init__(self, jid, password, ca):
        super().__init__(jid, password, ca)
        self.register_plugin("xep_0085")
        self.register_plugin("xep_0280")
        self.register_plugin("xep_0352")
        for way in "sent", "received":
            self.add_event_handler("carbon_" + way, lambda m, way=way: self.copied(way, m["carbon_" + way]))
        self.add_event_handler("chatstate", lambda m: tell("state", **{"from": m["from"].full, "type": m["chat_state"]}))

    def copied(self, way, message):
        tell("carbon", type=way, jid=message["to"].full, body=message["body"], **{"from": message["from"].full})

    async def obey(self, order):
        match order:
            case {"carbons": True}:
                await self["xep_0280"].enable(timeout=10)
                tell("carbons on")
            case {"carbons": False}:
                await self["xep_0280"].disable(timeout=10)
                tell("carbons off")
            case {"active": True}:
                self["xep_0352"].send_active()
            case {"active": False}:
                self["xep_0352"].send_inactive()
                await self["xep_0199"].ping(self.boundjid.domain, timeout=10)
                tell("inactive")
            case {"state": state, "to": to}:
                message = self.make_message(mto=to, mtype="chat")
                message["chat_state"] = state
                message.send()
            case _:
                await super().obey(order)


if __name__ == "__main__":
    main(Carbons)
