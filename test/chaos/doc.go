// Package chaos kills the real process while clients with stream management talk
// through it, and checks what they were promised: every message that the server
// acknowledged reaches its recipient, in order, and a second time only if the
// recipient's acknowledgement may not have arrived. It also stops the process in good
// order and starts it again: then every session is resumed, and nothing comes twice.
//
// HEXMPP_CHAOS_KILLS says how often it is killed (3 if it is not set; 100 for a long
// run), HEXMPP_CHAOS_RESTARTS how often it is stopped (likewise),
// HEXMPP_CHAOS_CUTOFFS how often it is killed amid a stop or behind a start (4), and
// HEXMPP_CHAOS_PAIRS how many pairs of clients talk (25). A message that comes twice
// for no good reason behind a kill fails a long run only: the short one, which shares its machine
// with all other tests, tells of it.
//
// It also kills and reloads plugins (a component and a filter, built from test/plugins) while
// clients talk to them, and through them, and checks of each stanza that what had to come
// of it came once and in order. HEXMPP_CHAOS_CLIENTS says how many clients there are (20),
// HEXMPP_CHAOS_RATE how many stanzas a second all of them send (200),
// HEXMPP_CHAOS_PLUGIN_KILLS how often each of the two is killed (3), and
// HEXMPP_CHAOS_PLUGIN_RELOADS how often it is reloaded (3), HEXMPP_CHAOS_PLUGIN_AMID how
// often a process is killed amid a reload (2). docs/plugins/figures.md tells of a
// long run. It does so with the processes of two servers that federate, between which
// HEXMPP_CHAOS_FEDERATION_USERS (10 each) write HEXMPP_CHAOS_FEDERATION_MESSAGES (10,000),
// HEXMPP_CHAOS_FEDERATION_KILLS (4) and HEXMPP_CHAOS_FEDERATION_RELOADS (2) times. And it kills and restarts the whole server while clients ask a component.
//
// It also cuts connections behind single bytes of a login, a resumption and an
// exchange of messages: HEXMPP_CHAOS_STEP is the distance of these bytes (13; 1 is
// all of them).
package chaos
