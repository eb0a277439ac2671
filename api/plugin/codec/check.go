package codec

import (
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

// maxSchema bounds the schema of options, and a form, in bytes.
const maxSchema = 1 << 20

// CheckManifest tells whether a manifest keeps the bounds of its fields. What it claims
// is checked by the kernel.
func CheckManifest(m *pluginv1.Manifest) error { return checkFields(m.ProtoReflect()) }

// checkFields bounds all lists and strings of a message. Messages of manifests are not
// recursive.
func checkFields(m protoreflect.Message) (err error) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := string(f.Name())
		if !f.IsList() {
			err = in(name, checkField(f, v))
			return err == nil
		}
		list := v.List()
		if list.Len() > maxClaims {
			err = wrong(name, "%d are too many, the limit is %d", list.Len(), maxClaims)
			return false
		}
		for i := range list.Len() {
			if err = at(name, i, checkField(f, list.Get(i))); err != nil {
				return false
			}
		}
		return true
	})
	return err
}

func checkField(f protoreflect.FieldDescriptor, v protoreflect.Value) error {
	most := maxText
	switch f.Kind() {
	case protoreflect.MessageKind:
		return checkFields(v.Message())
	case protoreflect.BytesKind:
		return checkLength(len(v.Bytes()), maxSchema)
	case protoreflect.StringKind:
		if f.Name() == "options_schema" {
			most = maxSchema
		}
		if !utf8.ValidString(v.String()) {
			return errText
		}
		return checkLength(len(v.String()), most)
	}
	return nil
}
