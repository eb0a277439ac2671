package client

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

const streamHead = "<stream:stream xmlns='jabber:client' id=\"a>b\">"

var pieces = []string{
	streamHead,
	"<stream:features><a/><b x='/>'>t</b></stream:features>",
	"<message id='1'><body>a &lt; b</body><x xmlns='y'/></message>",
	"<r xmlns='urn:xmpp:sm:3'/>",
	"<presence/>",
	"</stream:stream>",
}

func scanAll(r io.Reader) (all []string, err error) {
	s := NewScanner(r)
	for {
		item, err := s.Next()
		if err != nil {
			return all, err
		}
		all = append(all, string(item))
	}
}

// However the stream comes in, the pieces are the same.
func TestScanner(t *testing.T) {
	text := "<?xml version='1.0'?>" + strings.Join(pieces, " \n")
	for name, r := range map[string]io.Reader{
		"whole":        strings.NewReader(text),
		"byte by byte": iotest.OneByteReader(strings.NewReader(text)),
		"with the end": iotest.DataErrReader(strings.NewReader(text)),
	} {
		if got, err := scanAll(r); !slices.Equal(got, pieces) || err != io.EOF {
			t.Errorf("%s: %v: %q", name, err, got)
		}
	}
}

func TestScannerRefusesMoreEndsThanBeginnings(t *testing.T) {
	if _, err := scanAll(strings.NewReader("<a></a></b>")); !errors.Is(err, errItem) {
		t.Error(err)
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte(strings.Join(pieces, "")))
	f.Add([]byte("<a b='<"))
	f.Add([]byte("</><>"))
	f.Fuzz(func(t *testing.T, p []byte) {
		whole, err := scanAll(bytes.NewReader(p))
		if err == nil {
			t.Fatal("no end")
		}
		split, _ := scanAll(iotest.OneByteReader(bytes.NewReader(p)))
		if !slices.Equal(whole, split) {
			t.Errorf("%q, and byte by byte %q", whole, split)
		}
		for _, item := range whole {
			Name([]byte(item))
			Attr([]byte(item), "id")
			Content([]byte(item), "body")
		}
	})
}

func TestParts(t *testing.T) {
	item := []byte("<message xid='0' id='1' to=\"a@b\"><bodyguard>no</bodyguard><body a='>'>yes</body></message>")
	body, ok := Content(item, "body")
	_, none := Content(item, "subject")
	if Name(item) != "message" || Attr(item, "id") != "1" || Attr(item, "to") != "a@b" || Attr(item, "a") != "" || body != "yes" || !ok || none {
		t.Errorf("%q %q %q %q %q", Name(item), Attr(item, "id"), Attr(item, "to"), Attr(item, "a"), body)
	}
	if Name([]byte("</stream:stream>")) != "" {
		t.Error("an end has a name")
	}
}

// RFC 7677 3.
func TestScram(t *testing.T) {
	s, err := NewScram("SCRAM-SHA-256", "user", "pencil")
	if err != nil {
		t.Fatal(err)
	}
	s.nonce, s.bare = "rOprNGfwEbeRWgbNEkqO", "n=user,r=rOprNGfwEbeRWgbNEkqO"
	final, err := s.Final("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
	if err != nil || final != "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=" {
		t.Error(final, err)
	}
	if err := s.Verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="); err != nil {
		t.Error(err)
	}
	if s.Verify("v=AAAA") == nil {
		t.Error("any signature will do")
	}
	for _, bad := range []string{"", "r=other,s=AAAA,i=4096", "r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=0", "r=rOprNGfwEbeRWgbNEkqOx,s=,i=1"} {
		if _, err := s.Final(bad); err == nil {
			t.Errorf("%q is answered", bad)
		}
	}
}
