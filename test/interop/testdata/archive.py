"""contacts.py with the archive.

Out come also answers to orders. In go {"archive": MAX, "with": JID or "", "reverse":
true or false}, which pages through the archive and tells the bodies in "fields" and the
IDs in "ids", {"told": true}, which tells the IDs of messages that came, {"form": true},
{"ends": true}, which tells the IDs of the first and the last message, and {"prefs":
DEFAULT, "never": JIDS}.
"""
from chat import main, tell
from contacts import Contacts


class Archive(Contacts):
    def __init__(self, jid, password, ca):
        super().__init__(jid, password, ca)
        for plugin in "xep_0313", "xep_0359", "xep_0441":
            self.register_plugin(plugin)
        self.told = []
        self.add_event_handler("message", self.came)

    def came(self, message):
        if message["body"]:
            self.told.append(message["stanza_id"]["id"] if message["stanza_id"]["by"] == self.boundjid.bare else "")

    async def obey(self, order):
        match order:
            case {"archive": most, "with": who, "reverse": reverse}:
                bodies, ids = [], []
                rsm = {"max": most}
                async for found in self["xep_0313"].iterate(with_jid=who or None, reverse=reverse, rsm=rsm):
                    result = found["mam_result"]
                    bodies.append(result["forwarded"]["stanza"]["body"])
                    ids.append(result["id"])
                tell("archived", fields=bodies, ids=ids)
            case {"told": _}:
                tell("told", fields=self.told)
            case {"form": _}:
                form = await self["xep_0313"].get_fields(timeout=10)
                tell("form", fields=list(form.get_fields()))
            case {"ends": _}:
                answer = await self["xep_0313"].get_archive_metadata(timeout=10)
                tell("ends", fields=[answer["mam_metadata"]["start"]["id"], answer["mam_metadata"]["end"]["id"]])
            case {"prefs": preset, "never": never}:
                await self["xep_0441"].set_preferences(default=preset, always=[], never=never, timeout=10)
                preset, _, listed = await self["xep_0441"].get_preferences(timeout=10)
                tell("prefs", name=preset, fields=sorted(str(j) for j in listed))
            case _:
                await super().obey(order)


if __name__ == "__main__":
    main(Archive)
