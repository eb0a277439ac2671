package sasl

import "strings"

// plain takes the only message of PLAIN (RFC 4616 2), of which the caller has
// checked that it is UTF-8:
//
//	[authzid] NUL authcid NUL passwd
func (x *Exchange) plain(msg string) Result {
	authz, rest, ok := strings.Cut(msg, "\x00")
	if !ok {
		return x.fail(MalformedRequest, "PLAIN: separator is missing")
	}
	user, password, ok := strings.Cut(rest, "\x00")
	if !ok {
		return x.fail(MalformedRequest, "PLAIN: separator is missing")
	}
	if strings.IndexByte(password, 0) >= 0 {
		return x.fail(MalformedRequest, "PLAIN: too many separators")
	}
	if user == "" || password == "" {
		return x.fail(MalformedRequest, "PLAIN: user name or password is empty")
	}
	// A session may keep the names: not in one piece of memory with the password.
	x.user, x.authz = strings.Clone(user), strings.Clone(authz)
	x.state = awaitVerdict
	return Result{Status: NeedVerify, User: x.user, Authzid: x.authz, Password: password}
}
