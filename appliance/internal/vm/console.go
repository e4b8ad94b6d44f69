package vm

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Stall is how long a console may be silent while something is expected on it.
// There is no limit on the whole: a busy computer emulates a boot ten times
// slower than an idle one, but never stands still.
const Stall = 150 * time.Second

// A Console is a machine's serial port. QEMU keeps all that it said in
// console.log; what is expected here is read on from the last thing expected.
type Console struct {
	conn net.Conn
	done chan struct{} // read has ended

	mu     sync.Mutex
	unread []byte        // what Expect has not passed; guarded by mu
	recent []byte        // the last words, for error messages; guarded by mu
	news   chan struct{} // closed when unread grows or the console ends; guarded by mu
	ended  bool          // guarded by mu
}

func dialConsole(path string) (*Console, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	c := &Console{conn: conn, done: make(chan struct{}), news: make(chan struct{})}
	go c.read()
	return c, nil
}

func (c *Console) read() {
	defer close(c.done)
	buf := make([]byte, 4096)
	for {
		n, err := c.conn.Read(buf)
		c.mu.Lock()
		c.unread = append(c.unread, buf[:n]...)
		c.recent = append(c.recent, buf[:n]...)
		c.recent = c.recent[max(0, len(c.recent)-8192):]
		c.ended = err != nil
		close(c.news)
		c.news = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Expect waits until one of the patterns matches a line (also one that has not
// ended yet), and returns the number of the pattern and what its groups
// matched. It fails when the console is silent for Stall. Other words may stand
// around a match: the kernel writes to the same console.
func (c *Console) Expect(ctx context.Context, patterns ...*regexp.Regexp) (which int, groups []string, err error) {
	stall := time.NewTimer(Stall)
	defer stall.Stop()
	for {
		c.mu.Lock()
		which, groups, rest := match(c.unread, patterns)
		c.unread = rest
		news, ended := c.news, c.ended
		c.mu.Unlock()
		if groups != nil {
			return which, groups, nil
		}
		if ended {
			return 0, nil, fmt.Errorf("expect %v: the machine is off; its last words:\n%s", patterns, c.Tail(20))
		}
		select {
		case <-news:
			stall.Reset(Stall)
		case <-stall.C:
			return 0, nil, fmt.Errorf("expect %v: the console is silent for %v; its last words:\n%s", patterns, Stall, c.Tail(20))
		case <-ctx.Done():
			return 0, nil, fmt.Errorf("expect %v: %w; last words:\n%s", patterns, context.Cause(ctx), c.Tail(20))
		}
	}
}

// match looks for the first line that matches a pattern. rest is what comes
// behind the match or, without one, the last line, which may still grow.
func match(text []byte, patterns []*regexp.Regexp) (which int, groups []string, rest []byte) {
	for {
		line, next, whole := bytes.Cut(text, []byte("\n"))
		for i, p := range patterns {
			if at := p.FindSubmatchIndex(line); at != nil {
				for _, g := range p.FindSubmatch(line) {
					groups = append(groups, string(g))
				}
				return i, groups, text[at[1]:]
			}
		}
		if !whole {
			return 0, nil, text
		}
		text = next
	}
}

// Send types text.
func (c *Console) Send(text string) error {
	if _, err := c.conn.Write([]byte(text)); err != nil {
		return fmt.Errorf("type on the console: %w", err)
	}
	return nil
}

// Tail returns the last n lines of the console for people to read.
func (c *Console) Tail(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return tail(c.recent, n)
}

// LogTail returns the last n lines of a console.log.
func LogTail(path string, n int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return tail(data[max(0, len(data)-8192):], n)
}

// escapes are what terminals obey and people cannot read.
var escapes = regexp.MustCompile(`\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b\[[0-9;?=!]*[A-Za-z]|\x1b[()c>=][A-Z0-9]?|[\x00-\x08\x0b-\x1f]`)

func tail(text []byte, n int) string {
	var lines []string
	for line := range strings.Lines(string(escapes.ReplaceAll(text, nil))) {
		if line = strings.TrimRight(line, " \n"); line != "" {
			lines = append(lines, "  | "+line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (c *Console) close() {
	if c == nil {
		return // there is no such port, or no machine yet
	}
	c.conn.Close()
	<-c.done
}
