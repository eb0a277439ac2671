package adminapi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// maxSocketPath is what fits into a socket address on every system (104 bytes
// on some), with a margin.
const maxSocketPath = 100

// SocketPath returns where the socket of a data folder is: run/admin.sock in
// it, or, where that would be too long for a socket's address, in a folder of
// the system's folder for temporary files whose name is derived from data.
func SocketPath(data string) (string, error) {
	data, err := filepath.Abs(data)
	if err != nil {
		return "", fmt.Errorf("adminapi: %w", err)
	}
	if real, err := filepath.EvalSymlinks(data); err == nil {
		data = real // one folder, one socket, whatever name it is called by
	}
	if p := filepath.Join(data, "run", "admin.sock"); len(p) <= maxSocketPath {
		return p, nil
	}
	sum := sha256.Sum256([]byte(data))
	return filepath.Join(os.TempDir(), "hexmpp-"+hex.EncodeToString(sum[:8]), "admin.sock"), nil
}

// checkFolder refuses a folder into which others than we could have put a
// socket of theirs.
func checkFolder(folder string) error {
	info, err := os.Lstat(folder)
	if err != nil {
		return fmt.Errorf("adminapi: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("adminapi: %s is not a folder", folder)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("adminapi: %s has mode %o: others may look into it; run chmod 700 %s", folder, mode, folder)
	}
	if !mine(info) {
		return fmt.Errorf("adminapi: %s belongs to another user; run this as the user of the server", folder)
	}
	return nil
}
