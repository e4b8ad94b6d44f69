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
	file     string
	places   map[string]*yaml.Node // by path, such as machines[2].mac
	broken   map[string]bool       // paths whose value is known to be wrong
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
		d.problems = append(d.problems, Problem{File: d.file, Line: line, Text: "no valid YAML: " + m[2]})
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
	switch {
	case isScalar && n.Kind == yaml.ScalarNode:
		x, err := parse(n.Value)
		if err != nil {
			d.broken[path] = true
			d.note(place, path, "%v", err)
			return
		}
		v.Set(reflect.ValueOf(x))
	case !isScalar && v.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		d.mapping(n, path, v)
	case !isScalar && v.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			d.value(item, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	default:
		d.broken[path] = true
		d.note(place, path, "found %s; want %s", describeNode(n), describeType(v.Type(), isScalar))
	}
}

func (d *decoder) mapping(n *yaml.Node, path string, v reflect.Value) {
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		fields[v.Type().Field(i).Tag.Get("yaml")] = v.Field(i)
	}
	lines := map[string]int{} // of the keys seen
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field, known := fields[key.Value]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		switch first := lines[key.Value]; {
		case !known:
			d.note(key, at, "no such setting; %s", suggest(key.Value, fields))
		case first > 0:
			d.note(key, at, "is set in line %d already", first)
		default:
			lines[key.Value] = key.Line
			d.value(value, at, field)
		}
	}
}

// note remembers a mistake that stands at n.
func (d *decoder) note(n *yaml.Node, path, format string, args ...any) {
	d.problems = append(d.problems, Problem{d.file, n.Line, n.Column, path, fmt.Sprintf(format, args...)})
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
	case isScalar:
		return "a single value"
	case t.Kind() == reflect.Slice:
		return "a list"
	}
	return "a group of settings"
}

// suggest names the key that was probably meant, or all there are.
func suggest(key string, fields map[string]reflect.Value) string {
	names := slices.Sorted(maps.Keys(fields))
	best, bestEdits := "", 3 // more edits than two make another word
	for _, name := range names {
		if n := edits(key, name); n < bestEdits {
			best, bestEdits = name, n
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "there are " + strings.Join(names, ", ")
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
