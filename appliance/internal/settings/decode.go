package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A decoder fills Go values from YAML nodes. Unlike the library's own decoder
// it goes on after a mistake and remembers where each value stands, so that
// what is found wrong later (a second machine with the same address) is told
// with its line, and together with everything else.
type decoder struct {
	source   string                // name of the file
	places   map[string]*yaml.Node // by path, such as machines[2].mac
	broken   map[string]bool       // paths whose value is known to be wrong
	order    map[string][]string   // names in a table such as networks, as they stand
	problems Problems
}

// syntax picks apart the library's message about a file that is no YAML.
var syntax = regexp.MustCompile(`(?s)^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// document reads data, one YAML document, into the struct that into points to.
func (d *decoder) document(data []byte, into any) {
	stream := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := stream.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF): // an empty file: every default, and what is missing is told below
		d.places[""] = &yaml.Node{Line: 1, Column: 1}
		return
	case err == nil:
		err = stream.Decode(&more)
	}
	switch {
	case err == nil:
		d.note(&more, "", "a second document begins; put all settings into one")
	case !errors.Is(err, io.EOF):
		m := syntax.FindStringSubmatch(err.Error())
		line, err := strconv.Atoi(m[1])
		if err == nil && strings.HasPrefix(m[2], "did not find") {
			line++ // the library's parser, unlike its scanner, counts from 0
		}
		text := "no valid YAML: " + m[2]
		if lines := strings.Split(string(data), "\n"); 0 < line && line <= len(lines) && strings.Contains(m[2], "cannot start any token") && strings.Contains(lines[line-1], "\t") {
			text = "no valid YAML: a tab; indent with spaces"
		}
		d.problems = append(d.problems, Problem{File: d.source, Line: line, Text: text})
		d.broken[""] = true
		return
	}
	d.value(doc.Content[0], "", reflect.ValueOf(into).Elem())
}

// value reads n into the settable v. A null leaves v as it is, at its default.
func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	d.places[path] = n
	place := n
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.ShortTag() == "!!null" {
		return
	}
	parse, isScalar := scalars[v.Type()]
	if n.Kind == yaml.ScalarNode && !isScalar && v.Kind() == reflect.Slice {
		n = &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{n}} // one value is a list of one
	}
	switch {
	case isScalar && n.Kind == yaml.ScalarNode:
		x, err := parse(n.Value)
		if err != nil {
			d.broken[path] = true
			if strings.HasSuffix(path, "]") { // the list is not what was meant either
				d.broken[parent(path)] = true
			}
			d.note(place, path, "%v", err)
			return
		}
		v.Set(reflect.ValueOf(x).Convert(v.Type()))
	case v.Kind() == reflect.Struct && !isScalar && n.Kind == yaml.MappingNode:
		d.mapping(n, path, v)
	case v.Kind() == reflect.Map && n.Kind == yaml.MappingNode:
		d.table(n, path, v)
	case v.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, one := range n.Content {
			d.value(one, item(path, i), v.Index(i))
		}
	default:
		d.broken[path] = true
		d.note(place, path, "found %s; want %s", describeNode(n), describeType(v.Type(), isScalar))
	}
}

// mapping reads settings whose keys are the fields of a struct.
func (d *decoder) mapping(n *yaml.Node, path string, v reflect.Value) {
	fields := map[string]reflect.Value{}
	for _, f := range reflect.VisibleFields(v.Type()) {
		if !f.Anonymous {
			fields[f.Tag.Get("yaml")] = v.FieldByIndex(f.Index)
		}
	}
	d.entries(n, path, func(key, value *yaml.Node, at string) {
		if field, known := fields[key.Value]; known {
			d.value(value, at, field)
		} else {
			d.note(key, at, "no such setting%s", d.suggest(key.Value, slices.Sorted(maps.Keys(fields))))
		}
	})
}

// name is what a network, rack, group or image of the admin's may be called.
var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// table reads settings whose keys are names that the admin gives.
func (d *decoder) table(n *yaml.Node, path string, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	d.entries(n, path, func(key, value *yaml.Node, at string) {
		if !name.MatchString(key.Value) {
			d.note(key, at, "%q is no name; want letters, digits, '_' and '-', 63 at most", key.Value)
			return
		}
		one := reflect.New(v.Type().Elem()).Elem()
		d.value(value, at, one)
		v.SetMapIndex(reflect.ValueOf(key.Value), one)
		d.order[path] = append(d.order[path], key.Value)
	})
}

// entries calls do for each pair of a mapping, but for a key's second.
func (d *decoder) entries(n *yaml.Node, path string, do func(key, value *yaml.Node, at string)) {
	lines := map[string]int{} // of the keys seen
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		if first := lines[key.Value]; first > 0 {
			d.note(key, at, "is set in line %d already", first)
			continue
		}
		lines[key.Value] = key.Line
		do(key, value, at)
	}
}

// note remembers a mistake that stands at n.
func (d *decoder) note(n *yaml.Node, path, format string, args ...any) {
	d.problems = append(d.problems, Problem{d.source, n.Line, n.Column, path, fmt.Sprintf(format, args...)})
}

// fail remembers that the value at path is wrong, or missing. Where the value,
// or what holds it, has a problem already, that one is enough.
func (d *decoder) fail(path, format string, args ...any) {
	for p := path; ; p = parent(p) {
		if d.broken[p] {
			return
		}
		if p == "" {
			break
		}
	}
	d.broken[path] = true
	d.note(d.place(path), path, format, args...)
}

// has tells whether the file has a value at path.
func (d *decoder) has(path string) bool {
	n := d.places[path]
	return n != nil && n.ShortTag() != "!!null"
}

// place is where path stands; for what is missing, where it would belong.
func (d *decoder) place(path string) *yaml.Node {
	for d.places[path] == nil {
		path = parent(path)
	}
	return d.places[path]
}

// parent of machines[2].mac is machines[2], whose parent is machines.
func parent(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

func describeNode(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a group of settings"
	case yaml.SequenceNode:
		return "a list"
	}
	return strconv.Quote(n.Value)
}

func describeType(t reflect.Type, isScalar bool) string {
	switch {
	case isScalar && t.Kind() == reflect.Slice:
		return "a value or a list"
	case isScalar:
		return "a single value"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Map:
		return "names, each with its settings"
	}
	return "a group of settings"
}

// suggest names the one that was probably meant, or all there are.
func (d *decoder) suggest(meant string, names []string) string {
	best, bestEdits := "", 3 // more edits than two make another word
	for _, name := range names {
		if n := edits(meant, name); n < bestEdits {
			best, bestEdits = name, n
		}
	}
	switch {
	case len(names) == 0:
		return "; there is none"
	case best != "":
		return fmt.Sprintf("; did you mean %q?", best)
	case len(names) == 1:
		return "; there is only " + names[0]
	}
	return "; there are " + strings.Join(names, ", ")
}

// edits is the Levenshtein distance of a and b.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
