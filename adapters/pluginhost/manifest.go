package pluginhost

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// Bounds of a manifest.
const (
	maxManifest   = 1 << 20 // bytes
	maxListed     = 1000    // handlers, features and the like, of each kind
	maxText       = 1000    // bytes of a text for people
	minFrame      = 2 << 20 // bytes: the largest event fits
	maxFrame      = 64 << 20
	defaultFrame  = 4 << 20
	maxShards     = 8
	maxCapability = 100
)

// checkManifest says what is wrong with what a plugin says of itself, beside what
// reading it as a registration finds.
func checkManifest(m *pluginv1.Manifest, name string) error {
	if m == nil {
		return errors.New("it answers Describe without a manifest")
	}
	if n := proto.Size(m); n > maxManifest {
		return fmt.Errorf("its manifest has %d bytes, at most %d are possible", n, maxManifest)
	}
	if m.Name != name {
		return fmt.Errorf("it calls itself %q: the plugin has to have the name %q, which the configuration gives it", short(m.Name), name)
	}
	if len(m.Version) > maxText || len(m.Description) > maxText || strings.ContainsFunc(m.Version+m.Description, unprintable) {
		return fmt.Errorf("manifest: version and description are of one line, and of %d bytes at most", maxText)
	}
	if missing := unavailable(m); len(missing) > 0 {
		return fmt.Errorf("it asks for what this version of hexmpp does not have: %s", strings.Join(missing, ", "))
	}
	for _, p := range m.Permissions {
		if !slices.Contains(extension.Permissions(), extension.Permission(p)) {
			return fmt.Errorf("it asks for the permission %q, which there is not; there are %s", short(p), permissionNames())
		}
	}
	lists := map[string]int{
		"xeps": len(m.Xeps), "iq": len(m.Iq), "stages": len(m.Stages), "elements": len(m.Elements), "components": len(m.Components),
		"stream_features": len(m.StreamFeatures), "residents": len(m.Residents), "marks": len(m.Marks), "notices": len(m.Notices),
		"permissions": len(m.Permissions), "capabilities": len(m.Capabilities), "listeners": len(m.Listeners), "certificates": len(m.Certificates), "calls": len(m.Calls),
		"http_routes": len(m.HttpRoutes),
	}
	for _, c := range m.Components {
		lists["components.iq"] += len(c.GetIq())
	}
	for what, n := range lists {
		if n > maxListed {
			return fmt.Errorf("manifest: %s: %d are too many, at most %d are possible", what, n, maxListed)
		}
	}
	for what, n := range map[string]uint32{"max_kernel_frame_bytes": m.MaxKernelFrameBytes, "max_plugin_frame_bytes": m.MaxPluginFrameBytes} {
		if n != 0 && (n < minFrame || n > maxFrame) {
			return fmt.Errorf("manifest: %s: %d bytes: between %d and %d are possible, or 0 for %d", what, n, minFrame, maxFrame, defaultFrame)
		}
	}
	return nil
}

// unavailable names what the contract defines and this version does not do.
func unavailable(m *pluginv1.Manifest) []string {
	var list []string
	for _, c := range []struct {
		asked bool
		what  string
	}{
		{len(m.Commands) > 0, "commands"},
		{len(m.Interests) > 0, "interests"},
		{m.OpensStreams, "opens_streams"},
	} {
		if c.asked {
			list = append(list, c.what)
		}
	}
	for _, n := range m.Notices {
		switch n {
		case pluginv1.NoticeKind_NOTICE_KIND_BECAME_UNAVAILABLE, pluginv1.NoticeKind_NOTICE_KIND_BECAME_AVAILABLE:
		default:
			list = append(list, "notices: "+n.String())
		}
	}
	return list
}

func permissionNames() string {
	var names []string
	for _, p := range extension.Permissions() {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

// compatible says how a manifest differs from the one that the kernel knows in what
// can't change while the server runs; "" if in nothing.
func compatible(old, now *pluginv1.Manifest) string {
	a, b := fixed(old), fixed(now)
	if proto.Equal(a, b) {
		return ""
	}
	var fields []string
	x, y := a.ProtoReflect(), b.ProtoReflect()
	for i := range x.Descriptor().Fields().Len() {
		f := x.Descriptor().Fields().Get(i)
		if !x.Get(f).Equal(y.Get(f)) {
			fields = append(fields, string(f.Name()))
		}
	}
	return strings.Join(fields, ", ")
}

// fixed is a manifest without what may change.
func fixed(m *pluginv1.Manifest) *pluginv1.Manifest {
	c := proto.CloneOf(m)
	c.Version, c.Description, c.OptionsSchema = "", "", ""
	c.Capabilities, c.Credit = nil, nil
	c.MaxKernelFrameBytes, c.MaxPluginFrameBytes, c.MaxShards = 0, 0, 0
	c.Drains = false
	for _, x := range c.Xeps {
		x.Version, x.Note = "", ""
	}
	for _, l := range c.Listeners {
		l.Address = ""
	}
	for _, l := range c.Calls {
		l.Help = ""
	}
	slices.Sort(c.Permissions)
	return c
}

// frameBytes is a bound of the manifest, or its default.
func frameBytes(n uint32) int {
	if n == 0 {
		return defaultFrame
	}
	return int(n)
}

// short is a text of a plugin for an error, which a terminal may show: one line of 200 bytes
// at most.
func short(s string) string {
	cut := ""
	if len(s) > 200 {
		s, cut = s[:200], "..."
	}
	return strings.Map(func(r rune) rune {
		if unprintable(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?")) + cut
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// defaultShards is how many Sessions a plugin gets at most.
const defaultShards = 4
