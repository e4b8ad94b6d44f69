package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// After a failure the next try comes after firstPause, then after twice as long
// each time, maxPause at most. An event that was not taken for giveUp is dropped:
// what it says is old then.
const (
	firstPause = time.Second
	maxPause   = time.Minute
	giveUp     = 15 * time.Minute
)

// deliver tells hook the events of queue one after the other until ctx is done.
func deliver(ctx context.Context, client *http.Client, hook Hook, queue <-chan Event, log *slog.Logger) {
	for {
		var event Event
		select {
		case <-ctx.Done():
			return
		case event = <-queue:
		}
		log := log.With("machine", event.Machine.MAC, "stage", event.stage)
		id := "msg_" + rand.Text() // the same at each try: a receiver can tell what it has had
		begun, pause, warned := time.Now(), firstPause, false
		for {
			err := send(ctx, client, hook, id, event)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return
			}
			if time.Since(begun) >= giveUp {
				log.Error("webhook was not told: given up", "err", err)
				break
			}
			if !warned {
				log.Warn("webhook was not told yet; trying again", "err", err)
				warned = true
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, maxPause)
		}
	}
}

// send tries once. Only an answer of 2xx counts.
func send(ctx context.Context, client *http.Client, hook Hook, id string, event Event) error {
	body, err := json.Marshal(event)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "swarmboot")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", at)
	req.Header.Set("webhook-signature", sign(hook.Secret, id, at, body))
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return nil
}

// sign is the header webhook-signature of Standard Webhooks: of ID, time and
// body, so that none of them can be changed, and old ones cannot be sent again.
func sign(secret []byte, id, at string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
