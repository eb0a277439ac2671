// Package muc is Multi-User Chat (XEP-0045) as a component of each hosted domain.
//
// # Where the state of a room is
//
// A room's configuration, affiliations and subject are in Host.Store if it is
// persistent, else in Host.Memory (state.go). Its occupants are in Host.Memory, one entry for each
// session, and in a group of the kernel with the room's name, of which occupants who see real
// addresses are of the class "full". Its messages are in an archive of its own. So a room
// outlives the plugin's process; and all that is asked for while an event is handled is one
// transaction.
//
// What this process knows of a room (room.go) is a copy, read when the room is needed and
// dropped when it was not for a while, when Service.Forget says that something could not be
// applied, or when a handler failed half-way.
//
// # A stanza's way
//
// The kernel gives the stanzas to one room one after the other (the ordering key is the bare JID).
// Service.handle (handle.go) makes a turn of each, finds the room, and calls the use case, which reads and
// changes the room and says through the turn what goes out:
//
//	join.go, leave.go, nick.go   entering, leaving, changing nickname and status (7.1, 7.2, 7.6, 7.7, 7.14)
//	present.go                   who is told of an occupant's presence, and how
//	message.go, private.go       messages to all, the subject, private messages (7.3 to 7.5, 8.1)
//	history.go                   what was said before (7.2.13, 7.2.14)
//	mam.go                       queries of the archive, and its retention (XEP-0313)
//	retract.go, avatar.go        messages that are taken back (XEP-0424, 0425), the avatar of a room (XEP-0486)
//	hats.go                      hats (XEP-0317)
//	pace.go                      how much somebody may say (XEP-0500)
//	affiliation.go, admin.go     roles and affiliations, and changes of them (5, 8, 9, 10.3 to 10.8)
//	invite.go, voice.go          invitations, requests for voice (7.8, 7.13, 8.6)
//	register.go                  registration and reserved nicknames (7.10, 7.12)
//	relay.go                     requests between occupants (17.4)
//	owner.go, configform.go      configuration by owners, the end of a room (10)
//	disco.go                     what rooms there are, and of which kind (6); self-ping (XEP-0410)
//	ghost.go                     occupants whose server answers with errors (18.1.2)
//
// # What is not there yet
//
// docs/plugins/muc.md lists it. Not here either: running inside the server, where the stanzas to
// a room would have to be handled one after the other as they are in a process.
package muc
