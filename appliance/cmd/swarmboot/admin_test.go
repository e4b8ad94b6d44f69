package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"swarmboot/appliance/internal/access"
	"swarmboot/appliance/internal/api"
	"swarmboot/appliance/internal/api/apitest"
	"swarmboot/appliance/internal/settings"
	"swarmboot/appliance/internal/state"
	"swarmboot/appliance/webui/webuitest"
	"swarmboot/bootserver"
	"swarmboot/bootserver/fleet"
)

// measured is a boot server with metrics of its own, all 0.
type measured struct{ *apitest.Server }

func (measured) Stays() []fleet.Stays                   { return nil }
func (measured) DHCPStats() bootserver.DHCPStats        { return bootserver.DHCPStats{} }
func (measured) Refusals() map[bootserver.Refusal]int64 { return nil }

// TestAdminPlane comes from elsewhere, over TLS, as nobody should. All of it is
// refused and counted; and since it is a bubble, which ends only when all that was
// started in it has ended, nothing is left of it.
func TestAdminPlane(t *testing.T) {
	folder := state.Folder(t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		server := measured{&apitest.Server{Known: make([]fleet.MachineStatus, 2000)}}
		log := slog.New(slog.DiscardHandler)
		l, done := make(webuitest.Wires), make(chan error)
		go func() {
			done <- answerAdmins(ctx, l, settings.Admin{Listen: netip.MustParseAddrPort("192.0.2.1:8470"), Names: []string{"boot.example"}}, folder, api.Handler(server, server, "1", log), server, log)
		}()
		dial := func(context.Context, string, string) (net.Conn, error) {
			return tls.Client(l.Dial(), &tls.Config{InsecureSkipVerify: true}), nil
		}
		transport := &http.Transport{DialTLSContext: dial}
		jar, _ := cookiejar.New(nil)
		program, browser := &http.Client{Transport: transport}, &http.Client{Transport: transport, Jar: jar}
		send := func(client *http.Client, method, url, token, body string, header ...string) *http.Response {
			r, err := http.NewRequest(method, url, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			if len(header) > 0 {
				r.Header.Set(header[0], header[1])
			}
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			return response
		}
		secrets := map[access.Scope]string{}
		for _, scope := range []access.Scope{access.Read, access.Write, access.Metrics} {
			var err error
			if secrets[scope], err = access.Tokens(folder.Tokens()).New(string(scope), scope, 0); err != nil {
				t.Fatal(err)
			}
		}
		const there = "https://boot.example:8470"
		for _, c := range []struct {
			name, method, url, token, body string
			header                         []string
			code                           int
		}{
			{"nobody", "GET", there + "/api/v1/machines", "", "", nil, 401},
			{"nobody, for metrics", "GET", there + "/metrics", "", "", nil, 401},
			{"a wrong token", "GET", there + "/api/v1/machines", "swarmboot_WRONG", "", nil, 401},
			{"a token that may not change anything", "POST", there + "/api/v1/machines", secrets[access.Read], "{}", nil, 403},
			{"a token that may only scrape", "GET", there + "/api/v1/machines", secrets[access.Metrics], "", nil, 403},
			{"a name that was pointed here", "GET", "https://evil.example/api/v1/machines", secrets[access.Read], "", nil, 421},
			{"a foreign page", "POST", there + "/api/v1/machines", secrets[access.Write], "{}", []string{"Sec-Fetch-Site", "cross-site"}, 403},
			{"a large body", "POST", there + "/api/v1/machines", secrets[access.Write], `{"name":"` + strings.Repeat("x", 2<<20) + `"}`, nil, 413},
			{"a large form", "POST", there + "/login", "", "token=" + strings.Repeat("x", 2<<20), []string{"Content-Type", "application/x-www-form-urlencoded"}, 401},
			{"nonsense", "POST", there + "/api/v1/machines", secrets[access.Write], "\x00", nil, 400},
			{"who may", "GET", there + "/api/v1/machines", secrets[access.Read], "", nil, 200},
		} {
			response := send(program, c.method, c.url, c.token, c.body, c.header...)
			if io.Copy(io.Discard, response.Body); response.StatusCode != c.code {
				t.Errorf("%s: %s; want %d", c.name, response.Status, c.code)
			}
			response.Body.Close()
		}

		// A login ends, and with it the stream that it has opened.
		response, err := browser.PostForm(there+"/login", url.Values{"token": {secrets[access.Read]}})
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if cookies := response.Cookies(); len(cookies) != 1 || !cookies[0].Secure {
			t.Errorf("cookies %v; want one that stays on TLS", cookies)
		}
		stream := send(browser, "GET", there+"/api/v1/events", "", "")
		if stream.StatusCode != 200 {
			t.Errorf("events for who is logged in: %s", stream.Status)
		}
		begun := time.Now()
		io.Copy(io.Discard, stream.Body)
		stream.Body.Close()
		if lasted := time.Since(begun); lasted < time.Hour || lasted > 13*time.Hour {
			t.Errorf("the stream lasted %v; want as long as the login", lasted)
		}
		response = send(browser, "GET", there+"/api/v1/machines", "", "", "Cookie", response.Header.Get("Set-Cookie"))
		if response.Body.Close(); response.StatusCode != 401 {
			t.Errorf("a login that has ended: %s; want 401", response.Status)
		}

		// Guesses; a request that never ends; events that nobody takes.
		for range 6 {
			response = send(program, "GET", there+"/api/v1/machines", "swarmboot_GUESS", "")
			response.Body.Close()
		}
		if response.StatusCode != 429 {
			t.Errorf("one guess too many: %s; want 429", response.Status)
		}
		slow, _ := dial(ctx, "", "")
		io.WriteString(slow, "GET / HTTP/1.1\r\n")
		bufio.NewReader(slow).ReadString('\n') // until it is cut
		slow.Close()
		deaf, _ := dial(ctx, "", "")
		io.WriteString(deaf, "GET /api/v1/events HTTP/1.1\r\nHost: boot.example\r\nAuthorization: Bearer "+secrets[access.Read]+"\r\n\r\n")
		if answer, _ := bufio.NewReader(deaf).ReadString('\n'); answer != "HTTP/1.1 200 OK\r\n" {
			t.Errorf("events for who has a token: %s", answer)
		}
		time.Sleep(time.Minute)
		synctest.Wait()

		response = send(program, "GET", there+"/metrics", secrets[access.Metrics], "")
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		counted := map[string]string{}
		for _, match := range regexp.MustCompile(`(?m)^swarmboot_admin_refused_total{why="(.*)"} (\d+)$`).FindAllStringSubmatch(string(text), -1) {
			counted[match[1]] = match[2]
		}
		if want := map[string]string{"400": "1", "401": "10", "403": "3", "413": "1", "421": "1", "429": "1", "unfinished": "2"}; !maps.Equal(counted, want) {
			t.Errorf("counted are %v; want %v", counted, want)
		}
		deaf.Close()
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
