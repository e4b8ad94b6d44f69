package main

import (
	"os"
	"path/filepath"
	"regexp"
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
			command, _, _ = strings.Cut(command, " >")
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

var (
	makeCommand = regexp.MustCompile("(?m)(?:^ *|`)make ([a-z0-9-]+)")
	makeTarget  = regexp.MustCompile(`(?m)^([a-z0-9-]+):`)
)

// Every target of make in the documentation is there.
func TestTargetsInDocs(t *testing.T) {
	makefile, err := os.ReadFile("../../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, m := range makeTarget.FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = true
	}
	seen := 0
	for _, pattern := range []string{"../../../docs/*.md", "../../../docs/bench/*.md", "../../../*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range makeCommand.FindAllStringSubmatch(string(text), -1) {
				seen++
				if !targets[m[1]] {
					t.Errorf("%s: make %s: there is no such target", filepath.Base(file), m[1])
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("%d targets found; want to have looked at those that are there", seen)
	}
}
