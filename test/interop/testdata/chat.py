"""A slixmpp client that a test drives by lines of JSON.

    chat.py JID PASSWORD HOST PORT CA starttls|direct

Out come {"event": "online", "jid": ...}, {"event": "message", "from": ...,
"body": ...}, {"event": "refused", ...} and {"event": "offline"}. In go
{"to": ..., "body": ...} to send a chat message, {"remove": true} to remove the
account, and the end of input to leave.
"""
import asyncio
import json
import sys

import slixmpp


out = sys.stdout


def tell(event, **more):
    print(json.dumps({"event": event, **more}), file=out, flush=True)


class Chat(slixmpp.ClientXMPP):
    def __init__(self, jid, password, ca):
        super().__init__(jid, password)
        self.ca_certs = ca
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0077")
        self.register_plugin("xep_0092")
        self.register_plugin("xep_0199")
        self["xep_0077"].create_account = False
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("message", self.heard)
        self.add_event_handler("failed_auth", lambda e: tell("refused", condition=e["condition"]))
        self.add_event_handler("failed_all_auth", lambda _: self.disconnect())
        self.add_event_handler("stream_error", lambda e: tell("error", condition=e["condition"]))
        self.add_event_handler("disconnected", lambda _: self.leave())
        self.left = asyncio.get_event_loop().create_future()

    async def start(self, _):
        self.send_presence()
        try:
            await self.get_roster(timeout=10)
            roster = "yes"
        except slixmpp.exceptions.IqError as e:
            roster = e.condition
        pong = await self["xep_0199"].ping(self.boundjid.domain, timeout=10)
        version = await self["xep_0092"].get_version(self.boundjid.domain, timeout=10)
        tell("online", jid=self.boundjid.full, roster=roster, pong=pong > 0,
             version=version["software_version"]["name"])

    def heard(self, msg):
        if msg["body"]:
            tell("message", **{"from": msg["from"].full, "type": msg["type"], "body": msg["body"]})

    def leave(self):
        if not self.left.done():
            tell("offline")
            self.left.set_result(None)

    async def listen(self):
        reader = asyncio.StreamReader()
        await self.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            await self.obey(json.loads(line))
        self.disconnect()

    async def obey(self, order):
        if order.get("remove"):
            iq = self.make_iq_set()
            iq["register"]["remove"] = True
            try:
                await iq.send(timeout=10)
                tell("removed")
            except slixmpp.exceptions.IqTimeout:
                tell("removed")  # some servers end the stream in place of an answer
        else:
            self.send_message(mto=order["to"], mbody=order["body"], mtype="chat")


def main(make=Chat):
    jid, password, host, port, ca, way = sys.argv[1:]
    client = make(jid, password, ca)

    def dial():
        client.connect((host, int(port)), use_ssl=way == "direct", disable_starttls=way == "direct")

    client.dial = dial
    dial()
    client.listening = client.loop.create_task(client.listen())  # a task that nobody holds may be collected
    client.loop.run_until_complete(client.left)


if __name__ == "__main__":
    main()
