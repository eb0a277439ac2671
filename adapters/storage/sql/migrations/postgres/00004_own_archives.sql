-- +goose Up

-- An archive that is an extension's own, such as that of a room, has a name, and
-- no owner. One that has neither was removed: nobody finds it any more, and its
-- messages are deleted some at a time.
ALTER TABLE archives ADD COLUMN name TEXT COLLATE "C"; -- bare JID, canonical
CREATE UNIQUE INDEX archives_name ON archives (space, name) WHERE name IS NOT NULL;
CREATE INDEX archives_removed ON archives (owner) WHERE owner IS NULL AND name IS NULL;
