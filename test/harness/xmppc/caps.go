package xmppc

import (
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"strings"
)

// Namespaces of service discovery and entity capabilities.
const (
	NSInfo  = "http://jabber.org/protocol/disco#info"
	NSItems = "http://jabber.org/protocol/disco#items"
	NSCaps  = "http://jabber.org/protocol/caps"
	NSForms = "jabber:x:data"
)

// Ver is the verification string of a <query/> of disco#info by the hash sha-1
// (XEP-0115 5.1): each part of it is a line, and lines are sorted by bytes.
func Ver(query *Element) string {
	var ids, vars, forms []string
	for _, e := range query.Children {
		switch {
		case e.Is(NSInfo, "identity"):
			ids = append(ids, strings.Join([]string{e.Attr("category"), e.Attr("type"), e.Lang(), e.Attr("name")}, "/")+"<")
		case e.Is(NSInfo, "feature"):
			vars = append(vars, e.Attr("var")+"<")
		case e.Is(NSForms, "x"):
			forms = append(forms, formString(e))
		}
	}
	slices.Sort(ids)
	slices.Sort(vars)
	slices.Sort(forms)
	sum := sha1.Sum([]byte(strings.Join(slices.Concat(ids, vars, forms), "")))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func formString(x *Element) string {
	var typ string
	var fields []string
	for _, f := range x.All(NSForms, "field") {
		var values []string
		for _, v := range f.All(NSForms, "value") {
			values = append(values, v.Text+"<")
		}
		slices.Sort(values)
		if f.Attr("var") == "FORM_TYPE" {
			typ = strings.Join(values, "")
		} else {
			fields = append(fields, f.Attr("var")+"<"+strings.Join(values, ""))
		}
	}
	slices.Sort(fields)
	return typ + strings.Join(fields, "")
}
