package config

// Web is the chat for browsers.
type Web struct {
	Chat     bool
	Converse string // folder of the npm package converse.js, absolute; "" for hexmpp's own client
}

func webOptions(w *Web) []option {
	return []option{
		{key: "chat", value: one(&w.Chat, boolean), note: "false; true when there is no configuration file",
			doc: "Whether the chat is served, at / of listen.http and listen.https. Browsers let it log in where they have a secure connection: over https, or at localhost."},
		{key: "converse", value: one(&w.Converse, path), note: "none: the client that is part of hexmpp", open: true,
			doc: "Folder of an installed npm package of converse.js, such as /srv/chat/node_modules/converse.js. It is served in place of the client that is part of hexmpp."},
	}
}

// checkWeb refuses what can't be meant.
func checkWeb(c *Config, bad func(path, format string, args ...any)) {
	if c.Web.Converse != "" && !c.Web.Chat {
		bad("web.converse", "it has no effect without web.chat: true")
	}
	if c.Web.Chat && len(c.Listen.HTTP)+len(c.Listen.HTTPS) == 0 {
		bad("web.chat", "nobody can open it: listen has neither http nor https")
	}
	if c.Web.Chat && !c.HTTP.WebSocket {
		bad("web.chat", "it needs http.websocket: true")
	}
}
