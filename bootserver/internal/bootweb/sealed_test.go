package bootweb

import (
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// What only the machine itself may have goes to the machine's own address, and
// its token to nobody else either.
func TestSecretsAreTheMachinesOwn(t *testing.T) {
	machines, base := start(t)
	machines.claim = []string{"swarmboot.token=word"}
	ask := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(data)
	}
	identity, script := "/identity/"+known.String(), ScriptPath+"?mac="+known.String()
	for _, c := range []struct {
		about, method, path, body string
		absent                    bool
		status                    int
		want, not                 string
	}{
		{"its token", "POST", identity, "word", false, 200, "sealed identity", ""},
		{"another token", "POST", identity, "guess", false, 410, "new boot", "sealed"},
		{"another address", "POST", identity, "word", true, 403, "", "sealed"},
		{"another machine", "POST", "/identity/" + stranger.String(), "word", false, 403, "", "sealed"},
		{"no token", "POST", identity, strings.Repeat("guess", 100), false, 413, "larger than 256 bytes", "sealed"},
		{"no MAC", "POST", "/identity/x", "word", false, 400, "", "sealed"},
		{"its script", "GET", script, "", false, 200, "swarmboot.token=word", ""},
		{"its script, to another address", "GET", script, "", true, 200, "kernel", "token"},
		{"its data for cloud-init", "GET", "/nocloud/seed/user-data", "", false, 200, "data", ""},
		{"what there is not", "GET", "/nocloud/seed/network-config", "", false, 404, "", "data"},
		{"the same, to another address", "GET", "/nocloud/seed/user-data", "", true, 404, "", "data"},
		{"the same, by a guess", "GET", "/nocloud/guess/user-data", "", false, 404, "", "data"},
	} {
		machines.absent = c.absent
		status, body := ask(c.method, c.path, c.body)
		if status != c.status || !strings.Contains(body, c.want) || c.not != "" && strings.Contains(body, c.not) {
			t.Errorf("%s: %d %q; want %d with %q, without %q", c.about, status, body, c.status, c.want, c.not)
		}
	}
	if want := map[string]int{"identity 403": 2, "identity 410": 1, "identity 413": 1, "cloud-init 404": 2}; !maps.Equal(machines.refused, want) {
		t.Errorf("counted as refused are %v; want %v", machines.refused, want)
	}
}

func TestLogsHaveNoSecrets(t *testing.T) {
	if got := withoutSecrets(&url.URL{Path: "/nocloud/seed/user-data"}); strings.Contains(got, "seed") {
		t.Errorf("a log says %q; want it without the word that opens the data", got)
	}
	if got := withoutSecrets(&url.URL{Path: "/failed", RawQuery: "mac=x"}); got != "/failed?mac=x" {
		t.Errorf("a log says %q; want the whole URL", got)
	}
}
