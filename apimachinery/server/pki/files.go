package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

const (
	certificateType = "CERTIFICATE"
	keyType         = "EC PRIVATE KEY"
)

// WriteFile writes a file so that a crash leaves the old content or the new, never a part. The mode is set
// before anything is written. Missing folders are made with mode 0700.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	if err := replace(path, data, mode, true); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// replace is [WriteFile] without the folder's own sync, and without the file's where a power cut may take it.
func replace(path string, data []byte, mode fs.FileMode, sync bool) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err = fill(f, data, mode, sync); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

func fill(f *os.File, data []byte, mode fs.FileMode, sync bool) error {
	err := f.Chmod(mode)
	if runtime.GOOS == "windows" {
		err = nil // it has no such modes
	}
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a folder can't be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// readKey reads a private key; the error is fs.ErrNotExist if there is no such file.
func readKey(path string) (*ecdsa.PrivateKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s can be read by others (mode %04o): run chmod 600 on it, and replace it if it may have leaked", path, mode)
	}
	der, err := readPEM(path, keyType)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		return nil, damaged(path, err)
	}
	return key, nil
}

func readCertificate(path string) (*x509.Certificate, error) {
	der, err := readPEM(path, certificateType)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, damaged(path, err)
	}
	return c, nil
}

func readPEM(path, kind string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, damaged(path, fmt.Errorf("it holds no PEM block of type %q", kind))
	}
	return block.Bytes, nil
}

func damaged(path string, why error) error {
	return fmt.Errorf("%s is damaged (%w): restore it from a copy, or delete it to have a new one made", path, why)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func encodeKey(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: der}), nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: der})
}
