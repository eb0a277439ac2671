package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"
)

// createTime bounds the making of a database.
const createTime = time.Minute

var databases atomic.Int64

// NewDatabase makes an empty database, for whoever knows no more of a server
// than the folder of its socket (Server.Folder): a test process may be another
// one than that which has started the server. It returns a connection string.
func NewDatabase(socket string) (dsn string, err error) {
	bin, err := folder()
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), databases.Add(1))
	ctx, cancel := context.WithTimeout(context.Background(), createTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "createdb"), "--host="+socket, "--port="+port, "--username="+administrator,
		"--no-password", "--template=template0", name).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("pgtest: createdb: %w\n%s", err, out)
	}
	return connection(socket, name), nil
}

const (
	port          = "5432" // names the socket; nothing listens on TCP
	administrator = "postgres"
)

func connection(socket, database string) string {
	return fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable", socket, port, administrator, database)
}
