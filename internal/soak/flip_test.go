//go:build linux

package soak

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
)

// flips is a way to damage a file of a stopped member.
type flips struct {
	name    string
	pattern string
	at      func(text []byte, r *rand.Rand) int // the byte of which a bit is turned
	// blind: a lone member may not notice, or end without a word. Nothing in a database of etcd's is a checksum of
	// values, and bbolt ends the process where it comes upon a damaged page; see TestBitFlipsOfThree for members that
	// have others to ask.
	blind bool
}

// used is somewhere in the part of a file that is in use.
func used(text []byte, r *rand.Rand) int { return r.IntN(len(bytes.TrimRight(text, "\x00"))) }

// length is in the length of one of a WAL's last records: read as longer than the file, it looks like a write that
// was cut short, which etcd takes for the end.
func length(text []byte, r *rand.Rand) int {
	var starts []int
	for at := 0; at+8 < len(text); {
		frame := binary.LittleEndian.Uint64(text[at:])
		if frame == 0 {
			break
		}
		starts = append(starts, at)
		size := int(frame & (1<<56 - 1))
		if frame>>63 != 0 {
			size += int(frame >> 56 & 7)
		}
		at += 8 + size
	}
	return starts[max(0, len(starts)-1-r.IntN(50))] + r.IntN(7)
}

// TestBitFlips flips bits in the files of a stopped member: it then refuses to start and says where the damage is, or
// everything is there as it was.
func TestBitFlips(t *testing.T) {
	count := 5
	if *soakFor > 0 {
		count = 60
	}
	seed := cmp.Or(*soakSeed, rand.Uint64())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := shortDir(t)
	s := newSolo(dir, "")
	require.NoError(t, s.start(t.Context()), "%s", tail(s.log, 2000))
	d := s.door()
	for i := range 1500 {
		_, err := d.Commit(t.Context(), []write{{Key: fmt.Sprintf("a/%02d", i%50), Value: fmt.Sprint(i, strings.Repeat("v", 500)), At: storage.AnyRev}})
		require.NoError(t, err)
	}
	d.Close()
	want, err := s.all(t.Context())
	require.NoError(t, err)
	s.p.kill()
	for _, f := range []flips{
		{"WAL", "member/wal/*.wal", used, false},
		{"lengths in the WAL", "member/wal/*.wal", length, false},
		{"snapshots", "member/snap/*.snap", used, false},
		{"database", "member/snap/db", used, true},
	} {
		files, err := filepath.Glob(filepath.Join(s.c.Dir, f.pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files, f.pattern)
		results := map[string]int{}
		for range count {
			results[f.try(t, s, files[len(files)-1-random.IntN(min(2, len(files)))], random, want)]++
		}
		t.Logf("%s: %d flips: %v", f.name, count, results)
	}
}

// try damages a copy of the member and starts it.
func (f *flips) try(t *testing.T, s *solo, file string, random *rand.Rand, want []listing) string {
	sub := shortDir(t)
	again := newSolo(sub, "")
	require.NoError(t, os.CopyFS(again.c.Dir, os.DirFS(s.c.Dir)))
	rel, err := filepath.Rel(s.c.Dir, file)
	require.NoError(t, err)
	path := filepath.Join(again.c.Dir, rel)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	at, bit := f.at(text, random), random.IntN(8)
	text[at] ^= 1 << bit
	require.NoError(t, os.WriteFile(path, text, 0o600))
	what := fmt.Sprintf("%s at %d, bit %d", rel, at, bit)
	if err := again.start(t.Context()); err != nil {
		require.False(t, again.p.running(), "%s: neither started nor refused: %s", what, tail(again.log, 2000))
		log := tail(again.log, 4000)
		if f.blind && strings.Contains(log, "bbolt") && !strings.Contains(log, "member ended: ") {
			return "ended by bbolt"
		}
		if !strings.Contains(log, "member ended: ") || !strings.Contains(log, again.c.Dir) {
			t.Errorf("%s: refused without saying what is damaged: %s", what, log)
		}
		return "refused"
	}
	defer again.p.kill()
	got, err := again.all(t.Context())
	if err != nil {
		t.Errorf("%s: %v", what, err)
	} else if !assert.ObjectsAreEqual(want, got) {
		if f.blind {
			return "unnoticed"
		}
		t.Errorf("%s: served wrong: revision %d for %d: %s", what, got[0].Rev, want[0].Rev, tail(again.log, 2000))
		return "wrong"
	}
	return "harmless"
}

// TestBitFlipsOfThree changes what a member of three has stored. The others know better: it must not serve.
func TestBitFlipsOfThree(t *testing.T) {
	c, err := newCluster(t.Context(), shortDir(t), members)
	require.NoError(t, err)
	t.Cleanup(c.close)
	d := &socketDoor{path: c.members[0].c.Socket}
	defer d.Close()
	for i := range 300 {
		_, err := d.Commit(t.Context(), []write{{Key: fmt.Sprintf("a/%02d", i%50), Value: fmt.Sprintf("value-%04d", i), At: storage.AnyRev}})
		require.NoError(t, err)
	}
	m := c.members[2]
	require.NoError(t, m.life().signal(syscall.SIGTERM))
	<-m.life().done
	path := filepath.Join(m.c.Dir, "member/snap/db")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	n := bytes.Count(text, []byte("value-0270"))
	require.Positive(t, n)
	require.NoError(t, os.WriteFile(path, bytes.ReplaceAll(text, []byte("value-0270"), []byte("value-1270")), 0o600))
	require.NoError(t, m.start(c.net))
	require.Error(t, m.life().await(t.Context(), startLimit), "what was damaged is served")
	require.False(t, m.life().running())
	require.Contains(t, tail(m.log, 4000), "found data inconsistency with peers")
	require.Contains(t, tail(m.log, 4000), m.c.Dir, "it says which folder")
}
