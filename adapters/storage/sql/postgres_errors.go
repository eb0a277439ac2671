package sql

import (
	"errors"

	"github.com/lib/pq"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// resultOfPostgres tells the one result that only the database knows: between
// a look for the account and the write, another node has removed it.
func resultOfPostgres(err error) error {
	if e := sqlState(err); e != nil && e.Code == "23503" { // foreign_key_violation
		return storage.ErrNotFound
	}
	return nil
}

func sqlState(err error) *pq.Error {
	var e *pq.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// diagnosePostgres goes by SQLSTATE (PostgreSQL, appendix A). A failed fsync
// is not among them: the server then ends itself and recovers from its log.
func diagnosePostgres(err error) (effect, string) {
	e := sqlState(err)
	if e == nil {
		return connectionLost, "the connection to the database failed: check that it runs and can be reached"
	}
	switch e.Code {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return transactionLost, "two servers wrote the same at once"
	case "53100": // disk_full
		return statementFailed, "the disk of the database is full"
	case "57014": // query_canceled
		return statementFailed, "it took longer than a statement may"
	case "55P03": // lock_not_available
		return statementFailed, "another process holds a lock"
	case "42501": // insufficient_privilege
		return statementFailed, "the database user must be allowed to do that: make it the owner of the database"
	case "25006": // read_only_sql_transaction
		return connectionLost, "the database can only be read: is it a standby server?"
	case "53300": // too_many_connections
		return connectionLost, "the database has too many connections: raise its max_connections"
	case "3D000": // invalid_catalog_name
		return connectionLost, "create the database: CREATE DATABASE hexmpp OWNER hexmpp ENCODING 'UTF8' TEMPLATE template0"
	case "XX001", "XX002": // data_corrupted, index_corrupted
		return statementFailed, "the database is damaged: restore a backup"
	}
	switch e.Code.Class() {
	case "08", "57", "58": // connection, operator intervention, the server's system
		return connectionLost, "the database ended the connection"
	case "28": // authorization
		return connectionLost, "the database doesn't accept user and password: CREATE ROLE hexmpp LOGIN PASSWORD '...' makes a user, and pg_hba.conf says who may come from where"
	case "0A": // a prepared statement that is out of date, after a migration by another node
		return connectionLost, ""
	}
	if e.Fatal() {
		return connectionLost, "the database ended the connection"
	}
	return statementFailed, ""
}
