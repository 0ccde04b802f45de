package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// tlsFolder is where, in the data folder, certificates are and what else a member must know before etcd runs.
const tlsFolder = "tls"

const stateFile = "cluster.json"

// state is what the folder says of the member.
type state struct {
	Name  string     `json:"name"`
	ID    uint64     `json:"id,omitempty"`    // of a member that has joined
	Nonce []byte     `json:"nonce,omitempty"` // a secret that makes repeated tries to join one
	Peers []string   `json:"peers,omitempty"` // URLs of the other members, when last seen
	Left  *time.Time `json:"left,omitempty"`
}

// loadState returns nil if there is none.
func loadState(dir string) (*state, error) {
	path := filepath.Join(dir, tlsFolder, stateFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	st := new(state)
	if err == nil {
		err = json.Unmarshal(text, st)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return st, nil
}

func (st *state) store(dir string) error {
	text, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return fmt.Errorf("encode state of member: %w", err)
	}
	return writeFile(filepath.Join(dir, tlsFolder, stateFile), append(text, '\n'))
}

// hasWAL tells whether etcd has been started in the folder before.
func hasWAL(dir string) bool {
	found, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	return err == nil && len(found) > 0
}
