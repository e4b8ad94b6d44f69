package settings

import _ "embed"

// Schema is the JSON Schema of the settings file, for editors. TestSchema makes
// it from File and its comments.
//
//go:embed swarmboot.schema.json
var Schema []byte
