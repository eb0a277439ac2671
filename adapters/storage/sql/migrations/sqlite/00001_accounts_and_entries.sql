-- +goose Up

-- Accounts of the hosted domains. Times are microseconds since 1970 in UTC:
--   SELECT local, datetime(last_login / 1000000, 'unixepoch') FROM accounts WHERE domain = 'example.org';
CREATE TABLE accounts (
    id         INTEGER PRIMARY KEY AUTOINCREMENT, -- what other tables point to; never used a second time
    domain     TEXT    NOT NULL,                  -- domainpart of the bare JID, canonical (RFC 7622)
    local      TEXT    NOT NULL,                  -- localpart, canonical
    created    INTEGER NOT NULL,                  -- time
    last_login INTEGER,                           -- time; NULL: never. Written some seconds late
    disabled   INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)) -- 1: can't log in
);
CREATE UNIQUE INDEX accounts_jid ON accounts (domain, local);

-- SCRAM keys (RFC 5802 section 3) of an account, one row for each hash. No
-- password can be read from them, but whoever has them can guess passwords
-- offline, and can play the server: keep them secret.
CREATE TABLE account_keys (
    account    INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash       TEXT    NOT NULL, -- SHA-1, SHA-256 or SHA-512
    salt       BLOB    NOT NULL,
    iterations INTEGER NOT NULL,
    stored_key BLOB    NOT NULL,
    server_key BLOB    NOT NULL
);
CREATE UNIQUE INDEX account_keys_hash ON account_keys (account, hash);

-- What extensions keep for an account; it goes with the account.
CREATE TABLE account_entries (
    owner    INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    space    TEXT    NOT NULL, -- name of the extension
    key      BLOB    NOT NULL, -- any bytes, mostly text: SELECT CAST(key AS TEXT)
    revision INTEGER NOT NULL, -- grows with each write of the key
    value    BLOB    NOT NULL
);
CREATE UNIQUE INDEX account_entries_key ON account_entries (owner, space, key);

-- What extensions keep for themselves.
CREATE TABLE extension_entries (
    space    TEXT    NOT NULL,
    key      BLOB    NOT NULL,
    revision INTEGER NOT NULL,
    value    BLOB    NOT NULL
);
CREATE UNIQUE INDEX extension_entries_key ON extension_entries (space, key);

-- The revision given out last, in one row. It is kept, and not looked up in
-- the entries, since it must grow over deleted ones too.
CREATE TABLE entries_revision (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    value INTEGER NOT NULL
);
INSERT INTO entries_revision (id, value) VALUES (1, 0);

-- Random bytes that must never change (salts of unknown users, ...).
CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
);
