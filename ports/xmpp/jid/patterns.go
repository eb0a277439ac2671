package jid

// Patterns is a set of patterns as Matches takes them. The nil set stands for
// nothing.
type Patterns map[JID]struct{}

// PatternsOf returns the set of these.
func PatternsOf(list []JID) Patterns {
	p := make(Patterns, len(list))
	for _, j := range list {
		if !j.IsZero() {
			p[j] = struct{}{}
		}
	}
	return p
}

// Match says whether j matches one of the patterns; it costs the same however many
// there are.
func (p Patterns) Match(j JID) bool {
	if len(p) == 0 || j.IsZero() {
		return false
	}
	return p.has(j) || p.has(j.Bare()) || p.has(j.DomainJID())
}

func (p Patterns) has(j JID) bool { _, there := p[j]; return there }
