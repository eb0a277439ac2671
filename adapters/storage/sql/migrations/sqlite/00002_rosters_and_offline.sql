-- +goose Up

-- Rosters (RFC 6121 section 2) that were changed at least once; all others are
-- empty, at version 0.
CREATE TABLE rosters (
    owner   INTEGER PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    version INTEGER NOT NULL -- grows by one with each change
);

-- Their items, one row each. Groups are in the row, not in a table of their
-- own, since they are read and written with the item only, in their order:
--   SELECT i.contact, g.value FROM roster_items i, json_each(i.groups) g;
CREATE TABLE roster_items (
    owner        INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    contact      TEXT    NOT NULL, -- bare JID, canonical
    name         TEXT    NOT NULL, -- as the user calls the contact, or empty
    groups       TEXT    NOT NULL, -- a JSON array of strings
    subscription TEXT    NOT NULL CHECK (subscription IN ('none', 'to', 'from', 'both')),
    ask          INTEGER NOT NULL CHECK (ask IN (0, 1)),      -- 1: the user's request waits for the contact
    approved     INTEGER NOT NULL CHECK (approved IN (0, 1)), -- 1: a request of the contact is approved beforehand
    request      BLOB,                                        -- the contact's request that waits for the user, as XML: CAST(request AS TEXT)
    hidden       INTEGER NOT NULL CHECK (hidden IN (0, 1))    -- 1: not in the roster as the user sees it
);
CREATE UNIQUE INDEX roster_items_contact ON roster_items (owner, contact);

-- Messages that wait for their recipient (XEP-0160):
--   SELECT datetime(stamp / 1000000, 'unixepoch'), CAST(xml AS TEXT) FROM offline_messages;
CREATE TABLE offline_messages (
    id    INTEGER PRIMARY KEY AUTOINCREMENT, -- grows, also over deleted ones
    owner INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    stamp INTEGER NOT NULL, -- when it was received: microseconds since 1970 in UTC
    xml   BLOB    NOT NULL  -- the stanza
);
CREATE INDEX offline_messages_owner ON offline_messages (owner, id);
