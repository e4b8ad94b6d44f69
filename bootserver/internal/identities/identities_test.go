package identities

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestTokenIsGoodOnceInABoot(t *testing.T) {
	ids, err := Open(filepath.Join(t.TempDir(), "identities"))
	if err != nil {
		t.Fatal(err)
	}
	const mac, other = "52:54:00:77:00:01", "52:54:00:77:00:02"
	word, _ := ids.Token(mac)
	if again, _ := ids.Token(mac); again != word || word == "" {
		t.Errorf("the script of a second attempt has the token %q; want %q", again, word)
	}
	if ids.Spend(mac, "") || ids.Spend(mac, "guess") || ids.Spend(other, word) {
		t.Error("a wrong token was taken")
	}
	if !ids.Spend(mac, word) {
		t.Error("the token was not taken")
	}
	if ids.Spend(mac, word) {
		t.Error("the token was taken twice")
	}
	if later, _ := ids.Token(mac); later != "" {
		t.Errorf("after the token is spent, a script has %q; want none", later)
	}
	ids.Begin(mac)
	if next, _ := ids.Token(mac); next == "" || next == word {
		t.Errorf("the next boot has the token %q; want another than %q", next, word)
	}
	if ids.Spend(mac, word) {
		t.Error("the token of the boot before was taken")
	}
}

// A server that was restarted meanwhile takes the token of a boot that goes on,
// once, and no other.
func TestTokenOutlivesARestart(t *testing.T) {
	const mac, other = "52:54:00:77:00:01", "52:54:00:77:00:02"
	dir := t.TempDir()
	open := func() *Store {
		t.Helper()
		ids, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	word, _ := open().Token(mac)
	ids := open()
	for _, wrong := range []string{"", "a.b.c", word[:len(word)-1], word + "0", "0" + word} {
		if ids.Spend(mac, wrong) {
			t.Errorf("%q was taken", wrong)
		}
	}
	if ids.Spend(other, word) {
		t.Error("another machine's token was taken")
	}
	if !ids.Spend(mac, word) || ids.Spend(mac, word) {
		t.Error("the token is not good once after a restart")
	}
	ids = open()
	ids.Begin(mac)
	if ids.Spend(mac, word) || ids.Spend(mac, "") {
		t.Error("the token of the boot before was taken after a restart")
	}
	if ids := open(); ids.made(mac, word, time.Now().Add(2*tokenLife)) {
		t.Error("a token is good for ever")
	}
	stranger, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if stranger.Spend(mac, word) {
		t.Error("another server takes the token")
	}
}

func TestSeedIsOpenUntilReady(t *testing.T) {
	ids, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const mac = "52:54:00:77:00:01"
	if got, ok := ids.Seeded(""); ok {
		t.Errorf("no word opens the data of %s", got)
	}
	word, seed := ids.Token(mac)
	ids.Spend(mac, word) // init has done so long before cloud-init runs
	if got, ok := ids.Seeded(seed); !ok || got != mac {
		t.Errorf("seeded = %q, %v; want %s", got, ok, mac)
	}
	ids.Ready(mac)
	if _, ok := ids.Seeded(seed); ok {
		t.Error("the data can be had after the machine is ready")
	}
	if got, ok := ids.Seeded(""); ok {
		t.Errorf("no word opens the data of %s, which is ready", got)
	}
}

func TestIdentityIsKept(t *testing.T) {
	dir := t.TempDir()
	of := func(mac string) Identity {
		t.Helper()
		ids, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		k, err := ids.Of(mac)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	one := of("52:54:00:77:00:01")
	if again := of("52:54:00:77:00:01"); again != one {
		t.Errorf("after a restart it is %+v; want %+v", again, one)
	}
	if other := of("52:54:00:77:00:02"); other.MachineID == one.MachineID || other.HostKey == one.HostKey {
		t.Error("two machines are the same")
	}
	if keys, err := HostKeys(dir); err != nil || len(keys) != 2 || keys["52:54:00:77:00:01"] != one.HostKeyPublic {
		t.Errorf("HostKeys = %v, %v; want those of both", keys, err)
	}
	private, err := ssh.ParsePrivateKey([]byte(one.HostKey))
	if err != nil {
		t.Fatal(err)
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(one.HostKeyPublic))
	if err != nil || string(private.PublicKey().Marshal()) != string(public.Marshal()) {
		t.Errorf("the halves of the host key differ (%v)", err)
	}
	if len(one.MachineID) != 32 || one.MachineID[12] != '4' {
		t.Errorf("machine ID %s; want a version 4 UUID", one.MachineID)
	}
	file := filepath.Join(dir, "52-54-00-77-00-01.json")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v; want it for its owner alone", file, info.Mode(), err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ids, _ := Open(dir); ids != nil {
		if _, err := ids.Of("52:54:00:77:00:01"); err == nil {
			t.Error("a damaged identity was replaced in silence")
		}
	}
}
