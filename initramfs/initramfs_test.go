package initramfs

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/mkuimage/cpio"

	"swarmboot/initramfs/envelope"
)

// archiveOf is an archive with empty files of these names.
func archiveOf(t *testing.T, names ...string) string {
	t.Helper()
	format, err := cpio.Format(newc)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "raw.cpio")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := format.Writer(f)
	for _, name := range names {
		if err := w.WriteRecord(cpio.StaticFile(name, "", 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	return file
}

// namesIn lists the files of an uncompressed archive.
func namesIn(t *testing.T, archive []byte) string {
	t.Helper()
	format, err := cpio.Format(newc)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	if err := cpio.ForEachRecord(format.Reader(bytes.NewReader(archive)), func(r cpio.Record) error {
		names = append(names, r.Name)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestPackReadsBack(t *testing.T) {
	raw := archiveOf(t, required...)
	output := filepath.Join(t.TempDir(), "initramfs.cpio.zst")
	sizes, err := pack(raw, output)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(output)
	if err != nil || int64(len(packed)) != sizes.Compressed || len(packed)%Align != 0 {
		t.Errorf("packed %d bytes, %v; want the %d that pack tells, a multiple of %d", len(packed), err, sizes.Compressed, Align)
	}
	z, err := zstd.NewReader(bytes.NewReader(bytes.TrimRight(packed, "\x00")))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	unpacked, err := io.ReadAll(z)
	if err != nil || int64(len(unpacked)) != sizes.Raw {
		t.Fatalf("unpacked %d bytes, %v; want %d", len(unpacked), err, sizes.Raw)
	}
	if got, want := namesIn(t, unpacked), strings.Join(required, " "); got != want {
		t.Errorf("archive holds %q; want %q", got, want)
	}
}

func TestPackRefusesAnArchiveThatCannotBoot(t *testing.T) {
	output := filepath.Join(t.TempDir(), "initramfs.cpio.zst")
	if err := os.WriteFile(output, []byte("the last good one"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := pack(archiveOf(t, "init", "bbin/bb", "bbin/init", "bbin/gosh"), output)
	if err == nil || !strings.Contains(err.Error(), "bbin/peerd is not in it") {
		t.Errorf("pack = %v; want bbin/peerd named", err)
	}
	if got, _ := os.ReadFile(output); string(got) != "the last good one" {
		t.Errorf("a failure left %q as the output", got)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(output), ".*")); len(left) > 0 {
		t.Errorf("a failure left %q behind", left)
	}
}

func TestKeySegment(t *testing.T) {
	var keys []envelope.PublicKey
	for range 2 {
		key, err := envelope.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.Public())
	}
	segment, err := KeySegment(keys)
	if err != nil {
		t.Fatal(err)
	}
	if len(segment)%Align != 0 {
		t.Errorf("segment has %d bytes; want a multiple of %d", len(segment), Align)
	}
	format, err := cpio.Format(newc)
	if err != nil {
		t.Fatal(err)
	}
	files, err := cpio.ArchiveFromReader(format.Reader(bytes.NewReader(segment)))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		file, ok := files.Get(keysDir + "/" + key.ID() + ".pem")
		if !ok {
			t.Fatalf("no file for key %s in %s", key.ID(), files)
		}
		pem, err := io.ReadAll(io.NewSectionReader(file, 0, int64(file.FileSize)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := envelope.ParsePublicKey(pem); err != nil || got.ID() != key.ID() {
			t.Errorf("key reads back as %s, %v; want %s", got.ID(), err, key.ID())
		}
	}
	for _, dir := range []string{"etc", "etc/swarmboot", keysDir} {
		if _, ok := files.Get(dir); !ok {
			t.Errorf("no folder %s: the kernel makes none by itself", dir)
		}
	}
}
