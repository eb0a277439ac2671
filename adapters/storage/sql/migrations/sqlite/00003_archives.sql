-- +goose Up

-- Archives of messages (XEP-0313), one for each account and extension. Of an
-- account that was removed owner is NULL: nobody finds such an archive any more,
-- and its messages are deleted some at a time.
CREATE TABLE archives (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    owner INTEGER REFERENCES accounts (id) ON DELETE SET NULL,
    space TEXT NOT NULL -- name of the extension
);
CREATE UNIQUE INDEX archives_owner ON archives (owner, space);

-- Their messages:
--   SELECT datetime(m.stamp / 1000000, 'unixepoch'), m.contact, m.xml FROM archived_messages m
--   JOIN archives a ON a.id = m.archive JOIN accounts u ON u.id = a.owner WHERE u.local = 'romeo' ORDER BY m.id;
CREATE TABLE archived_messages (
    archive       INTEGER NOT NULL, -- no REFERENCES: what that asks of each message is known already
    id            INTEGER NOT NULL, -- grows within an archive
    stamp         INTEGER NOT NULL, -- when it was sent or received: microseconds since 1970 in UTC
    contact       TEXT    NOT NULL, -- bare JID of whom it was exchanged with, canonical
    resource      TEXT    NOT NULL, -- resourcepart of that JID, or empty
    resource_hash INTEGER NOT NULL, -- CRC-32 (IEEE) of it, which has room in the index
    xml           TEXT    NOT NULL  -- the stanza
);
CREATE UNIQUE INDEX archived_messages_id ON archived_messages (archive, id);
CREATE INDEX archived_messages_contact ON archived_messages (archive, contact, id, resource_hash);
