package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTakeKernel(t *testing.T) {
	for name, c := range map[string]struct {
		files         []string
		want          string // --kernel
		release, from string // of the kernel that is taken, and the folder of its modules
		refused       string
	}{
		"Debian's":               {[]string{"boot/vmlinuz-6.12", "lib/modules/6.12/x"}, "", "6.12", "lib/modules/6.12", ""},
		"Fedora's":               {[]string{"usr/lib/modules/6.17.fc43/vmlinuz", "boot/vmlinuz-0-rescue"}, "", "6.17.fc43", "usr/lib/modules/6.17.fc43", ""},
		"one of two":             {[]string{"boot/vmlinuz-1", "boot/vmlinuz-2", "lib/modules/1/x", "lib/modules/2/x"}, "2", "2", "lib/modules/2", ""},
		"the one with modules":   {[]string{"boot/vmlinuz-1", "boot/vmlinuz-2", "lib/modules/2/x"}, "", "2", "lib/modules/2", ""},
		"none":                   {[]string{"lib/modules/1/x"}, "", "", "", "--kernel-from"},
		"two":                    {[]string{"boot/vmlinuz-1", "boot/vmlinuz-2", "lib/modules/1/x", "lib/modules/2/x"}, "", "", "", "1, 2; choose one with --kernel"},
		"not the one asked for":  {[]string{"boot/vmlinuz-1", "lib/modules/1/x"}, "2", "", "", "the kernels 1;"},
		"a kernel and no module": {[]string{"boot/vmlinuz-1"}, "", "", "", "--kernel-from"},
	} {
		t.Run(name, func(t *testing.T) {
			root, out := t.TempDir(), filepath.Join(t.TempDir(), "kernel")
			for _, file := range c.files {
				write(t, filepath.Join(root, file), "signed")
			}
			release, modules, err := takeKernel(root, c.want, out)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("takeKernel = %v; want %q", err, c.refused)
				}
				return
			}
			if err != nil || release != c.release || modules != filepath.Join(root, c.from) {
				t.Errorf("takeKernel = %q, %q, %v; want %q, %q", release, modules, err, c.release, c.from)
			}
			if data, err := os.ReadFile(out); err != nil || string(data) != "signed" {
				t.Errorf("kernel = %q, %v", data, err)
			}
		})
	}
}
