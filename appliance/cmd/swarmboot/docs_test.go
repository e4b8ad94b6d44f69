package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every command in the documentation is one, with flags that it has.
func TestCommandsInDocs(t *testing.T) {
	files, err := filepath.Glob("../../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range append(files, "../../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code := false
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "```") {
				code = !code
			}
			command, _, _ := strings.Cut(line, " #")
			command, _, _ = strings.Cut(command, " |")
			words, ok := strings.CutPrefix(command, "swarmboot ")
			if !code || !ok {
				continue
			}
			seen++
			cmd, rest, err := rootCommand().Find(strings.Fields(words))
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err == nil && cmd.Args != nil {
				err = cmd.Args(cmd, cmd.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: %s: %v", filepath.Base(file), command, err)
			}
		}
	}
	if seen < 20 {
		t.Errorf("%d commands found; want to have looked at those that are there", seen)
	}
}
