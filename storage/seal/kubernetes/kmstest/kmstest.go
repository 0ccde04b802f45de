// Package kmstest is a key management plugin for tests: KMS v2 over a unix socket, with keys in memory that can be
// rotated, and failures on demand.
package kmstest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"net"
	"path/filepath"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kmsv2 "k8s.io/kms/apis/v2"
)

// TB is what of testing.TB is needed.
type TB interface {
	Helper()
	TempDir() string
	Cleanup(func())
	Fatal(args ...any)
}

// Plugin is a plugin that serves until the test ends. Its methods may be called concurrently.
type Plugin struct {
	kmsv2.UnimplementedKeyManagementServiceServer
	// Endpoint is where it is, as the configuration has it.
	Endpoint string

	mu        sync.Mutex
	keys      []cipher.AEAD
	failing   error
	decrypted int
}

// Start serves a plugin with one key.
func Start(t TB) *Plugin {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "kms.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	p := &Plugin{Endpoint: "unix://" + socket}
	p.Rotate()
	s := grpc.NewServer()
	kmsv2.RegisterKeyManagementServiceServer(s, p)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // it ends by Stop alone
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return p
}

// Rotate makes a new key. The old ones still open.
func (p *Plugin) Rotate() {
	var key [32]byte
	rand.Read(key[:])
	block, _ := aes.NewCipher(key[:]) // 32 bytes are right
	aead, _ := cipher.NewGCM(block)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append(p.keys, aead)
}

// Fail makes all calls end with an error; nil: not any more.
func (p *Plugin) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing = err
}

// Decrypted is how often it was asked to open something.
func (p *Plugin) Decrypted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.decrypted
}

func (p *Plugin) id() string { return fmt.Sprintf("key-%d", len(p.keys)) }

// Status implements the plugin's service.
func (p *Plugin) Status(context.Context, *kmsv2.StatusRequest) (*kmsv2.StatusResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing != nil {
		return nil, p.failing
	}
	return &kmsv2.StatusResponse{Version: "v2", Healthz: "ok", KeyId: p.id()}, nil
}

// Encrypt implements the plugin's service.
func (p *Plugin) Encrypt(_ context.Context, r *kmsv2.EncryptRequest) (*kmsv2.EncryptResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing != nil {
		return nil, p.failing
	}
	nonce := make([]byte, 12)
	rand.Read(nonce)
	out := p.keys[len(p.keys)-1].Seal(nonce, nonce, r.Plaintext, nil)
	return &kmsv2.EncryptResponse{Ciphertext: out, KeyId: p.id(), Annotations: map[string][]byte{
		"b.kmstest.example.com": []byte("2"), "a.kmstest.example.com": []byte("1"),
	}}, nil
}

// Decrypt implements the plugin's service.
func (p *Plugin) Decrypt(_ context.Context, r *kmsv2.DecryptRequest) (*kmsv2.DecryptResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decrypted++
	if p.failing != nil {
		return nil, p.failing
	}
	var n int
	if _, err := fmt.Sscanf(r.KeyId, "key-%d", &n); err != nil || n < 1 || n > len(p.keys) || len(r.Ciphertext) < 12 || len(r.Annotations) != 2 {
		return nil, status.Error(codes.InvalidArgument, "no such key")
	}
	plain, err := p.keys[n-1].Open(nil, r.Ciphertext[:12], r.Ciphertext[12:], nil)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "it was not sealed here")
	}
	return &kmsv2.DecryptResponse{Plaintext: plain}, nil
}
