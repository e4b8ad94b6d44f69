package settings

import (
	"maps"
	"net/url"
	"slices"

	"swarmboot/initramfs/stage"
)

// Hook is a webhook without mistakes.
type Hook struct {
	Name, URL  string
	SecretFile string
	Stages     []stage.Stage
}

func (c *checker) checkWebhooks() {
	for _, name := range slices.Sorted(maps.Keys(c.file.Webhooks)) {
		w, path := c.file.Webhooks[name], "webhooks."+name
		if w.URL == "" {
			c.fail(path+".url", "is missing; say where the program listens")
		}
		c.checkURL(path+".url", w.URL, "https://chat.example.org/hooks/boot")
		if w.Secret == "" {
			c.fail(path+".secret", "is missing; name a file with what 'openssl rand -base64 32' prints, and give the program the same")
		}
		hook := Hook{Name: name, URL: w.URL, SecretFile: w.Secret, Stages: []stage.Stage{stage.Ready, stage.Failed}}
		if len(w.Stages) > 0 {
			hook.Stages = nil
		}
		for i, text := range w.Stages {
			s := stage.Stage(text)
			if !s.Valid() {
				c.fail(item(path+".stages", i), "%q is no stage; want some of %v and %s", text, stage.All, stage.Failed)
			}
			hook.Stages = append(hook.Stages, s)
		}
		c.settings.Hooks = append(c.settings.Hooks, hook)
	}
}

// checkURL looks at a URL of HTTP, if there is one.
func (c *checker) checkURL(path, text, example string) {
	if u, err := url.Parse(text); text != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		c.fail(path, "%q is no URL; want one such as %s", text, example)
	}
}
