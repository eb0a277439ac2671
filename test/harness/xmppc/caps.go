package xmppc

import (
	"encoding/base64"
	"encoding/xml"
	"hash"
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

// VerOf is Ver for the content of an answer, which is XML.
func VerOf(content string, h hash.Hash) (string, error) {
	dec := xml.NewDecoder(strings.NewReader("<query xmlns='" + NSInfo + "'>" + content + "</query>"))
	start, err := dec.Token()
	if err != nil {
		return "", err
	}
	query, err := readElement(dec, start.(xml.StartElement))
	if err != nil {
		return "", err
	}
	return Ver(query, h), nil
}

// Ver is the verification string of a <query/> of disco#info (XEP-0115 5.1): each
// part of it is a line, and lines are sorted by bytes.
func Ver(query *Element, h hash.Hash) string {
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
	for _, line := range slices.Concat(ids, vars, forms) {
		h.Write([]byte(line))
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
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
