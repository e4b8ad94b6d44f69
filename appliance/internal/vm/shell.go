package vm

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	loginPrompt = regexp.MustCompile(`\S+ login:`)
	shellPrompt = regexp.MustCompile(`# (\x1b\[[0-9;?]*[A-Za-z])*$`) // shells set the terminal up around it
	password    = regexp.MustCompile(`(?i)password:`)
	entered     = regexp.MustCompile(`shell waits`)
)

// WaitLogin returns when the machine asks who is there. It fails when the
// machine says one of the words that mean it is lost.
func (c *Console) WaitLogin(ctx context.Context, lost ...*regexp.Regexp) error {
	which, said, err := c.Expect(ctx, append([]*regexp.Regexp{loginPrompt}, lost...)...)
	if err != nil || which == 0 {
		return err
	}
	return fmt.Errorf("wait for login: the machine says %q; its last words:\n%s", said[0], c.Tail(20))
}

// Login logs in as root, who must have no password, where WaitLogin has seen
// the login prompt. After it, Run can be used.
func (c *Console) Login(ctx context.Context) error {
	if err := c.Send("root\n"); err != nil {
		return err
	}
	which, _, err := c.Expect(ctx, shellPrompt, password)
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	if which == 1 {
		return errors.New("log in: root has a password; the image needs one whose root has none")
	}
	return c.enter(ctx)
}

// Shell makes Run usable where a shell is at its prompt without a login.
func (c *Console) Shell(ctx context.Context) error {
	if _, _, err := c.Expect(ctx, shellPrompt); err != nil {
		return fmt.Errorf("find a shell: %w", err)
	}
	return c.enter(ctx)
}

// enter replaces the shell by a plain one without prompt, line editing and echo,
// and quietens the console: the kernel keeps all but emergencies to itself
// (dmesg -n 1), and so does systemd (signal 55, SIGRTMIN+21).
func (c *Console) enter(ctx context.Context) error {
	// The echo of this line must not match what is expected, hence the %s.
	if err := c.Send("exec env PS1= PS2= sh\nstty -echo; dmesg -n 1; kill -55 1; printf 'shell %s\\n' waits\n"); err != nil {
		return err
	}
	if _, _, err := c.Expect(ctx, entered); err != nil {
		return fmt.Errorf("enter a shell: %w", err)
	}
	return nil
}

// A Result is what a command said, standard output and error together, and the
// status that it ended with.
type Result struct {
	Output string
	Status int
}

// Run runs a shell command on the machine after Login. A status that is not 0
// is no error.
//
// The output is kept on the machine and sent in base64 with its SHA-256, again
// if other words came between.
func (c *Console) Run(ctx context.Context, command string) (Result, error) {
	mark := strconv.FormatInt(time.Now().UnixNano(), 36)
	file := "/run/console." + mark
	line := fmt.Sprintf("(%s\n) >%s 2>&1 </dev/null; printf '\\nstatus %%s %%d\\n' %s $?\n", command, file, mark)
	if len(line) > 4000 {
		return Result{}, fmt.Errorf("run on the console: %d letters are more than a terminal takes", len(line))
	}
	if err := c.Send(line); err != nil {
		return Result{}, err
	}
	_, groups, err := c.Expect(ctx, regexp.MustCompile(`status `+mark+` (\d+)\r`))
	if err != nil {
		return Result{}, fmt.Errorf("run %q: %w", command, err)
	}
	status, err := strconv.Atoi(groups[1])
	if err != nil {
		return Result{}, fmt.Errorf("run %q: %w", command, err)
	}
	for range 5 {
		output, intact, err := c.fetch(ctx, file, mark)
		if err != nil {
			return Result{}, fmt.Errorf("run %q: %w", command, err)
		}
		if intact {
			return Result{strings.TrimSuffix(output, "\n"), status}, nil
		}
	}
	return Result{}, fmt.Errorf("run %q: other words on the console garble its output:\n%s", command, c.Tail(20))
}

// fetch reads a file of the machine over the console.
func (c *Console) fetch(ctx context.Context, file, mark string) (content string, intact bool, err error) {
	err = c.Send(fmt.Sprintf("printf '\\nsum %%s %%s\\n' %s $(sha256sum <%s); base64 <%s; printf '\\nend %%s\\n' %s\n", mark, file, file, mark))
	if err != nil {
		return "", false, err
	}
	_, groups, err := c.Expect(ctx, regexp.MustCompile(`sum `+mark+` ([0-9a-f]{64})`))
	if err != nil {
		return "", false, err
	}
	var encoded strings.Builder
	end := regexp.MustCompile(`end ` + mark)
	for {
		which, line, err := c.Expect(ctx, end, regexp.MustCompile(`^[A-Za-z0-9+/=]+\r$`))
		if err != nil {
			return "", false, err
		}
		if which == 0 {
			break
		}
		encoded.WriteString(strings.TrimSpace(line[0]))
	}
	data, err := base64.StdEncoding.DecodeString(encoded.String())
	sum := sha256.Sum256(data)
	return string(data), err == nil && hex.EncodeToString(sum[:]) == groups[1], nil
}
