package settings

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"swarmboot/appliance/internal/power"
	"swarmboot/bootserver"
	"swarmboot/bootserver/loaders"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const (
	ipv4 = `\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}`
	ipv6 = `[0-9A-Fa-f:]{2,39}`
	mac  = `[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}`
)

// single are the values of scalars as an editor sees them. What a pattern does
// not catch, check does.
var single = map[reflect.Type]*jsonschema.Schema{
	reflect.TypeFor[*bool]():                   {Type: "boolean"},
	reflect.TypeFor[uint16]():                  {Type: "integer", Minimum: "1", Maximum: "65535"},
	reflect.TypeFor[time.Duration]():           {Type: "string", Pattern: `^(\d+(\.\d+)?(h|m|s))+$`, Examples: []any{"24h"}},
	reflect.TypeFor[netip.Addr]():              {Type: "string", Pattern: "^" + ipv4 + "$", Examples: []any{"10.77.0.254"}},
	reflect.TypeFor[netip.AddrPort]():          {Type: "string", Pattern: `^(` + ipv4 + `|\[[0-9a-fA-F:.]+\]):\d{1,5}$`, Examples: []any{"127.0.0.1:8470"}},
	reflect.TypeFor[netip.Prefix]():            {Type: "string", Pattern: "^" + ipv4 + `/\d{1,2}$`},
	reflect.TypeFor[bootserver.Range]():        {Type: "string", Pattern: "^" + ipv4 + ` *- *` + ipv4 + "$", Examples: []any{"10.77.0.100-10.77.0.199"}},
	reflect.TypeFor[Prefix6]():                 {Type: "string", Pattern: "^" + ipv6 + "/64$", Examples: []any{"fd77::1/64"}},
	reflect.TypeFor[Network6]():                {Type: "string", Pattern: "^" + ipv6 + "/64$", Examples: []any{"fd78::/64"}},
	reflect.TypeFor[Range6]():                  {Type: "string", Pattern: "^" + ipv6 + " *- *" + ipv6 + "$", Examples: []any{"fd77::100-fd77::1ff"}},
	reflect.TypeFor[bootserver.Route]():        {Type: "string", Pattern: "^" + ipv4 + `/\d{1,2} via ` + ipv4 + "$", Examples: []any{"10.80.0.0/16 via 10.77.0.254"}},
	reflect.TypeFor[bootserver.Policy]():       {Type: "string", Enum: []any{bootserver.Deny, bootserver.Default, bootserver.Discover}},
	reflect.TypeFor[bootserver.Mode]():         {Type: "string", Enum: []any{bootserver.Full, bootserver.Proxy, bootserver.Reservations, bootserver.Off}},
	reflect.TypeFor[loaders.Policy]():          {Type: "string", Enum: []any{loaders.GRUB, loaders.SecureBoot, loaders.SNPOnly, loaders.IPXE}},
	reflect.TypeFor[Image]():                   {Type: "string", Examples: []any{"lab@1"}},
	reflect.TypeFor[PartitionName]():           {Type: "string", Pattern: partitionName.String(), Examples: []any{"swarmboot"}},
	reflect.TypeFor[DiskName]():                {Type: "string", Examples: []any{"nvme0n1"}},
	reflect.TypeFor[bootserver.Over]():         {Type: "string", Enum: []any{bootserver.OverVersion, bootserver.OverImage}},
	reflect.TypeFor[SSHKey]():                  {Type: "string", Examples: []any{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI... anna@example.org"}},
	reflect.TypeFor[fs.FileMode]():             {AnyOf: []*jsonschema.Schema{{Type: "integer"}, {Type: "string", Pattern: "^(0o)?[0-7]{3,4}$"}}},
	reflect.TypeFor[power.Kind]():              {Type: "string", Enum: []any{power.IPMI, power.Redfish, power.Command}},
	reflect.TypeFor[bootserver.NetworkSetup](): {Type: "string", Enum: []any{bootserver.ImageSetup, bootserver.DHCPSetup}},
}

// several are those that may be a list too.
var several = map[reflect.Type]*jsonschema.Schema{
	reflect.TypeFor[[]string]():           {Type: "string"},
	reflect.TypeFor[[]bootserver.Route](): single[reflect.TypeFor[bootserver.Route]()],
	reflect.TypeFor[[]netip.Addr]():       {Type: "string", Pattern: "^" + ipv4 + "( *- *" + ipv4 + ")?$", Examples: []any{"10.77.0.11"}},
	reflect.TypeFor[Addresses6]():         {Type: "string", Pattern: "^" + ipv6 + "( *- *" + ipv6 + ")?$", Examples: []any{"fd77::11"}},
	reflect.TypeFor[[]net.HardwareAddr](): {Type: "string", Pattern: "^" + mac + "( *- *" + mac + ")?$", Examples: []any{"52:54:00:77:00:01"}},
}

func schemaOf(t reflect.Type) *jsonschema.Schema {
	if s := single[t]; s != nil {
		own := *s // the field's comment is written into it
		return &own
	}
	if s := several[t]; s != nil {
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, {Type: "array", Items: s}}}
	}
	return nil
}

// TestSchema checks that the published schema and reference are those of File,
// with the comments on its fields, and that the schema takes every setting there is.
func TestSchema(t *testing.T) {
	r := jsonschema.Reflector{FieldNameTag: "yaml", Anonymous: true, DoNotReference: true, RequiredFromJSONSchemaTags: true, Mapper: schemaOf}
	if err := r.AddGoComments("swarmboot/appliance/internal/settings", "."); err != nil {
		t.Fatal(err)
	}
	schema := r.Reflect(File{})
	schema.Title = "Settings of a Swarmboot server"
	want, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	for name, content := range map[string][]byte{
		"swarmboot.schema.json":     want,
		"../../../docs/settings.md": []byte(reference(schema)),
	} {
		if *update {
			if err := os.WriteFile(name, content, 0o644); err != nil {
				t.Fatal(err)
			}
		} else if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s is not that of File; make it anew: go test ./appliance/internal/settings -update", name)
		}
	}

	parsed, err := validator.UnmarshalJSON(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("swarmboot.schema.json", parsed); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("swarmboot.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	validate := func(name string) error {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := yaml.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		return compiled.Validate(v)
	}
	if err := validate("full.yaml"); err != nil {
		t.Errorf("the schema refuses full.yaml: %v", err)
	}
	for _, name := range strings.Fields("unknown-keys wrong-types mode macs-malformed routes ipv6-for-ipv4") {
		if err := validate(filepath.Join("mistakes", name+".yaml")); err == nil {
			t.Errorf("the schema takes %s.yaml", name)
		}
	}
}
