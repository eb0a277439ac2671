// Package session is a session of BOSH (XEP-0124, XEP-0206) as a machine without
// sockets and clocks: it is told of requests, of what the server has for the client, and
// of the time, and says what is to be answered and what is for the server.
//
// # Exactly once
//
// The state is a few values that Append writes and Decode reads; connections are numbers
// (tickets) of the caller and no part of it. Whoever keeps the state, together with what
// it handed to the server, before he answers, can lose a process at any moment: either the
// request was not heard, and its repetition is the first, or it was, and the repetition is
// given the same answer, byte for byte (XEP-0124 14.3). Requests that came early (14.2) are
// no part of the state either, since their clients have no answer and repeat them.
//
// # Files
//
// body.go reads what clients send, request.go takes it, answer.go makes what they are
// answered, end.go has all ways to end, state.go writes and reads the state.
//
// A Session belongs to one goroutine at a time. Section numbers in comments are those of XEP-0124
// unless another specification is named.
package session
