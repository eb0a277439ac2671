package codec

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func (r recStanzas) Send(s *stanza.Stanza) error    { return r.note("Send", s) }
func (r recStanzas) Precede(s *stanza.Stanza) error { return r.note("Precede", s) }
func (r recStanzas) SendAs(a jid.JID, s *stanza.Stanza) error {
	return r.note("SendAs", a, s)
}
func (r recStanzas) Request(s *stanza.Stanza, d time.Duration, state []byte) error {
	return r.note("Request", s, d, string(state))
}

func (r recStanzas) RequestFor(order string, s *stanza.Stanza, d time.Duration, state []byte) error {
	return r.note("RequestFor", order, s, d, string(state))
}

func (r recStore) Get(_ context.Context, owner jid.JID, key string) (extension.Entry, bool, error) {
	err := r.note("Get", owner, key)
	e, ok := got(r.entries, key)
	return e, ok, err
}
func (r recStore) Scan(_ context.Context, owner jid.JID, prefix, after string, limit int) ([]extension.Entry, error) {
	err := r.note("Scan", owner, prefix)
	return shown(r.entries, prefix, after, limit), err
}
func (r recStore) Put(o jid.JID, k string, v []byte) { _ = r.note("Put", o, k, string(v)) }
func (r recStore) Delete(o jid.JID, k string)        { _ = r.note("Delete", o, k) }
func (r recStore) Swap(o jid.JID, k string, v []byte, rev uint64) {
	_ = r.note("Swap", o, k, string(v), rev)
}

func (r recArchive) NewID() uint64          { return 77 }
func (r recArchive) Append(row storage.Row) { _ = r.note("Append", row) }
func (r recArchive) Remove(owner jid.JID)   { _ = r.note("Archive.Remove", owner) }
func (r recArchive) Replace(owner jid.JID, id uint64, xml string) {
	_ = r.note("Archive.Replace", owner, id, xml)
}
func (r recArchive) Rows(_ context.Context, owner jid.JID, f storage.Filter, p storage.Page) ([]storage.Row, bool, error) {
	err := r.note("Rows", owner, f.With, f.IDs)
	var out []storage.Row
	bytes := 0
	take := func(row storage.Row) (full bool) {
		if !f.Matches(&row) {
			return false
		}
		if len(out) >= p.Limit || p.Bytes > 0 && bytes >= p.Bytes {
			return true
		}
		bytes += len(row.XML)
		if p.Backwards {
			out = append([]storage.Row{row}, out...)
		} else {
			out = append(out, row)
		}
		return false
	}
	for i := range r.rows {
		row := r.rows[i]
		if p.Backwards {
			row = r.rows[len(r.rows)-1-i]
		}
		if take(row) {
			return out, true, err
		}
	}
	return out, false, err
}
func (r recArchive) Count(_ context.Context, owner jid.JID, f storage.Filter, most int) (int, bool, error) {
	return min(most, len(r.rows)), most >= len(r.rows), r.note("Count", owner, f, most)
}
func (r recArchive) Between(start, end time.Time) (uint64, uint64) {
	_ = r.note("Between", start, end)
	return 5, 9
}
func (r recArchive) Expire(_ context.Context, before time.Time, limit int) (int, error) {
	err := r.note("Expire", before)
	n := min(limit, len(r.rows))
	r.rows = r.rows[n:]
	return n, err
}

func (r recTimers) Set(k string, d time.Duration, state []byte) error {
	return r.note("Set", k, d, string(state))
}
func (r recTimers) SetFor(order, k string, d time.Duration, state []byte) error {
	return r.note("SetFor", order, k, d, string(state))
}
func (r recTimers) Cancel(k string) { _ = r.note("Cancel", k) }

func (r recMemory) Get(_ context.Context, key string) (extension.Entry, bool, error) {
	err := r.note("Memory.Get", key)
	e, ok := got(r.entries, key)
	return e, ok, err
}
func (r recMemory) Scan(_ context.Context, prefix, after string, limit int) ([]extension.Entry, error) {
	err := r.note("Memory.Scan", prefix)
	return shown(r.entries, prefix, after, limit), err
}
func (r recMemory) Put(k string, v []byte) error { return r.note("Memory.Put", k, string(v)) }
func (r recMemory) Delete(k string)              { _ = r.note("Memory.Delete", k) }

func (r recGroups) Join(g string, m extension.Member) error { return r.note("Join", g, m) }
func (r recGroups) Leave(g string, m jid.JID)               { _ = r.note("Leave", g, m) }
func (r recGroups) Remove(g string)                         { _ = r.note("Groups.Remove", g) }
func (r recGroups) Send(g string, c extension.Cast) error {
	err := r.note("Groups.Send", g, c.Except, c.Only)
	for _, s := range append([]*stanza.Stanza{c.Stanza}, stanzas(c.Variants)...) {
		if s != nil {
			_ = r.note("-", s)
		} else {
			_ = r.note("- none")
		}
	}
	return err
}

func stanzas(list []extension.Variant) (out []*stanza.Stanza) {
	for _, v := range list {
		out = append(out, v.Stanza)
	}
	return out
}

func (r recGroups) Members(_ context.Context, g string, after jid.JID, limit int) (out []extension.Member, err error) {
	err = r.note("Members", g)
	for _, m := range r.members {
		if m.JID.String() > after.String() && len(out) < limit {
			out = append(out, m)
		}
	}
	return out, err
}
func (r recGroups) Size(_ context.Context, g string) (int, error) {
	return len(r.members), r.note("Size", g)
}

func (r recSessions) Of(a jid.JID) []extension.Session { _ = r.note("Of", a); return r.sessions }
func (r recSessions) End(a jid.JID, c, t string) error { return r.note("End", a, c, t) }
func (r recSessions) Mark(s jid.JID, n string, on bool) error {
	return r.note("Mark", s, n, on)
}
func (r recSessions) Room(s jid.JID) int { _ = r.note("Room", s); return 4711 }
func (r recSessions) Release(s jid.JID)  { _ = r.note("Release", s) }
func (r recSessions) Withdraw(a jid.JID, p, e []jid.JID) error {
	return r.note("Withdraw", a, p, e)
}
func (r recSessions) Announce(a jid.JID, p []jid.JID) error { return r.note("Announce", a, p) }

func (r recRosters) Subscribed(_ context.Context, a, c jid.JID) (bool, error) {
	return true, r.note("Subscribed", a, c)
}
func (r recRosters) Known(a, c jid.JID) (bool, error)  { return true, r.note("Known", a, c) }
func (r recRosters) Listed(a, c jid.JID) (bool, error) { return true, r.note("Listed", a, c) }

func (r recAccounts) VerifyPassword(_ context.Context, u jid.JID, p string) error {
	return r.note("VerifyPassword", u, p)
}
func (r recAccounts) Create(_ context.Context, u jid.JID, p string) error {
	return r.note("Create", u, p)
}
func (r recAccounts) SetPassword(_ context.Context, u jid.JID, p string) error {
	return r.note("SetPassword", u, p)
}
func (r recAccounts) Remove(_ context.Context, u jid.JID) error { return r.note("Remove", u) }
func (r recAccounts) Get(_ context.Context, u jid.JID) (auth.Account, error) {
	return r.accounts[0], r.note("Account", u)
}
func (r recAccounts) List(_ context.Context, domain, after string, limit int) (out []auth.Account, err error) {
	for _, a := range r.accounts {
		if a.User.Local() > after && len(out) < limit {
			out = append(out, a)
		}
	}
	return out, r.note("List", domain)
}

func (r recSecrets) Secret(_ context.Context, n string) ([]byte, error) {
	return []byte("secret"), r.note("Secret", n)
}

func (r recCertificates) Certificate(_ context.Context, domain string) (*tls.Certificate, error) {
	return recCertificate(), r.note("Certificate", domain)
}

// recCertificate is one that was signed by itself.
var recCertificate = sync.OnceValue(func() *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"example.org"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, der}, PrivateKey: key, Leaf: leaf}
})
