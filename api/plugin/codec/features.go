package codec

import (
	"fmt"
	"slices"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Features makes the messages of stream features, as they are offered in domains.
func Features(list []extension.StreamFeature, domains []string) []*pluginv1.StreamFeatureElement {
	var out []*pluginv1.StreamFeatureElement
	for i, f := range list {
		if f.Element == nil {
			continue
		}
		for _, domain := range domains {
			if e := f.Element(domain); e != nil {
				out = append(out, &pluginv1.StreamFeatureElement{Feature: uint32(i), Domain: domain, Xml: Element(e)})
			}
		}
	}
	return out
}

// Unwanted returns which notices of a manifest a registration, made with options, has no
// use for. The error names one that the manifest has not.
func Unwanted(m *pluginv1.Manifest, r *extension.Registration) ([]pluginv1.NoticeKind, error) {
	var wanted []pluginv1.NoticeKind
	for i, e := range r.Notices {
		kind := noticeKind(e)
		if !slices.Contains(m.Notices, kind) {
			return nil, at("notices", i, fmt.Errorf("event %d is not in the manifest", e))
		}
		wanted = append(wanted, kind)
	}
	var list []pluginv1.NoticeKind
	for _, kind := range m.Notices {
		if !slices.Contains(wanted, kind) {
			list = append(list, kind)
		}
	}
	return list, nil
}

// DropUnwanted takes from a registration that Registration made the notices of a
// ConfigureResponse that are not wanted.
func DropUnwanted(r *extension.Registration, list []pluginv1.NoticeKind) error {
	for i, kind := range list {
		e, ok := notices[kind]
		if !ok || !slices.Contains(r.Notices, e) {
			return at("unwanted_notices", i, fmt.Errorf("the manifest does not ask for %s", kind))
		}
	}
	r.Notices = slices.DeleteFunc(r.Notices, func(e extension.Event) bool { return slices.Contains(list, noticeKind(e)) })
	if len(r.Notices) == 0 {
		r.Notice = nil
	}
	return nil
}

// SetFeatures gives the stream features of a registration that Registration made the
// elements of a ConfigureResponse. It is called before the kernel has the registration.
func SetFeatures(r *extension.Registration, list []*pluginv1.StreamFeatureElement) error {
	offered := make([]map[string]*stanza.Element, len(r.StreamFeatures))
	for i, p := range list {
		n := int(p.GetFeature())
		if n >= len(offered) {
			return at("stream_features", i, wrong("feature", "the manifest has %d", len(offered)))
		}
		if len(p.GetXml()) == 0 {
			continue
		}
		e, err := new(Limits).Element(p.Xml)
		if err != nil {
			return at("stream_features", i, in("xml", err))
		}
		if _, twice := offered[n][p.Domain]; twice {
			return at("stream_features", i, fmt.Errorf("a second one for %q", p.Domain))
		}
		if offered[n] == nil {
			offered[n] = map[string]*stanza.Element{}
		}
		offered[n][p.Domain] = e
	}
	for i := range r.StreamFeatures {
		r.StreamFeatures[i].Element = func(domain string) *stanza.Element { return offered[i][domain] }
	}
	return nil
}
