"""Registers an account with slixmpp's XEP-0077, without logging in.

    register.py JID PASSWORD HOST PORT CA

Prints one line of JSON: {"event": "registered"} or {"event": "refused", ...}.
"""
import asyncio
import json
import sys

import slixmpp


class Register(slixmpp.ClientXMPP):
    def __init__(self, jid, password, ca):
        super().__init__(jid, password)
        self.ca_certs = ca
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0077")
        # slixmpp 1.8 queues every iq but bind until there is a session, and so
        # its own registration request too.
        self._always_send_everything = True
        self.add_event_handler("register", self.register)
        self.add_event_handler("disconnected", lambda _: self.over("disconnected"))
        self.done = asyncio.get_event_loop().create_future()

    async def register(self, form):
        iq = self.make_iq_set()
        iq["register"]["username"] = self.boundjid.user
        iq["register"]["password"] = self.password
        try:
            await iq.send(timeout=10)
            self.over("registered", fields=sorted(form["register"]["fields"]))
        except slixmpp.exceptions.IqError as e:
            self.over("refused", condition=e.condition)

    def over(self, event, **more):
        if not self.done.done():
            print(json.dumps({"event": event, **more}), flush=True)
            self.done.set_result(None)


def main():
    jid, password, host, port, ca = sys.argv[1:]
    client = Register(jid, password, ca)
    client.connect((host, int(port)))
    client.loop.run_until_complete(client.done)


main()
