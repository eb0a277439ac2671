"""chat.py with stream management, that connects again when its connection is gone.

Out come also {"event": "managed"} and {"event": "lost"}, and behind the latter
{"event": "resumed"}, or {"event": "failed"} and "online" again. In go {"leave": true}
to leave.
"""
from chat import Chat, main, tell


class Resume(Chat):
    def __init__(self, jid, password, ca):
        self.leaving = False
        super().__init__(jid, password, ca)
        self.register_plugin("xep_0198")
        self.add_event_handler("sm_enabled", lambda _: tell("managed"))
        self.add_event_handler("session_resumed", lambda _: tell("resumed"))
        self.add_event_handler("sm_failed", lambda _: tell("failed"))

    def leave(self):  # the connection is gone
        if self.leaving:
            super().leave()
        else:
            tell("lost")
            self.loop.call_soon(self.dial)

    async def obey(self, order):
        if order.get("leave"):
            self.leaving = True
            self.disconnect()
        else:
            await super().obey(order)


if __name__ == "__main__":
    main(Resume)
