package settings

import (
	"fmt"
	"strings"

	"github.com/invopop/jsonschema"
)

const referenceHead = `# Settings

Every key of the settings file, made from the comments that the JSON Schema has too (` + "`swarmboot schema`" + `). README has
examples; ` + "`swarmboot check FILE`" + ` tells every mistake in a file at once.
`

// reference is docs/settings.md: a table for each key of the file, and one for
// the keys of Boot, which five of them have.
func reference(file *jsonschema.Schema) string {
	boot, _ := file.Properties.Get("defaults")
	inherited := map[string]bool{}
	for p := boot.Properties.Oldest(); p != nil; p = p.Next() {
		inherited[p.Key] = true
	}
	var b strings.Builder
	b.WriteString(referenceHead)
	for p := file.Properties.Oldest(); p != nil; p = p.Next() {
		key, entry := p.Key, p.Value
		switch {
		case entry.AdditionalProperties != nil && entry.Properties == nil:
			key, entry = key+".NAME", entry.AdditionalProperties
		case entry.Items != nil:
			key, entry = key+"[]", entry.Items
		}
		what := cell(p.Value.Description)
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n", key, strings.ToUpper(what[:1])+what[1:])
		if entry.Properties == nil {
			continue
		}
		own := rows(entry, func(name string) bool { return entry == boot || !inherited[name] })
		if entry != boot && len(own) < entry.Properties.Len() {
			b.WriteString("Besides the keys below, each has those of [defaults](#defaults).\n")
		}
		if len(own) > 0 {
			b.WriteString("\n| key | value | what | if left out |\n|---|---|---|---|\n" + strings.Join(own, ""))
		}
	}
	return b.String()
}

// rows are the lines of an entry's table, an entry within it as keys with a dot.
func rows(entry *jsonschema.Schema, want func(string) bool) []string {
	var lines []string
	for p := entry.Properties.Oldest(); p != nil; p = p.Next() {
		if !want(p.Key) {
			continue
		}
		what, without, _ := strings.Cut(p.Value.Description, "; default: ")
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s | %s |\n", p.Key, value(p.Value), cell(what), cell(without)))
		if p.Value.Items != nil && p.Value.Items.Properties != nil {
			for _, l := range rows(p.Value.Items, func(string) bool { return true }) {
				lines = append(lines, strings.Replace(l, "`", "`"+p.Key+"[].", 1))
			}
		}
	}
	return lines
}

// value says what may stand at a key.
func value(s *jsonschema.Schema) string {
	switch {
	case s.AnyOf != nil && s.AnyOf[len(s.AnyOf)-1].Type == "array":
		return value(s.AnyOf[0]) + ", or a list"
	case s.AnyOf != nil:
		return value(s.AnyOf[0])
	case s.Enum != nil:
		words := make([]string, len(s.Enum))
		for i, word := range s.Enum {
			words[i] = fmt.Sprintf("`%v`", word)
		}
		return strings.Join(words, ", ")
	case len(s.Examples) > 0:
		return fmt.Sprintf("such as `%v`", s.Examples[0])
	case s.Type == "boolean":
		return "`true` or `false`"
	case s.Type == "integer":
		return "number"
	case s.Type == "array":
		return "list"
	}
	return "text"
}

// cell is a comment as it can stand in a table.
func cell(comment string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(comment), " "), "|", `\|`)
}
