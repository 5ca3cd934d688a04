-- What the migrations add up to; a test holds the two together. `run` is the log, the rest of it is derived or small.
CREATE TABLE run (
    position INTEGER PRIMARY KEY,
    instance INTEGER NOT NULL,
    entity TEXT,                      -- 'namespace/Entity', only in the first row of an instance
    id TEXT,                          -- likewise
    before INTEGER NOT NULL,
    events INTEGER NOT NULL,
    hashes TEXT NOT NULL,             -- JSON: the 63-bit hash of each turn's Command
    turns BLOB NOT NULL,              -- see layout.py
    state BLOB,                       -- NULL: unchanged, or written to instance by the same commit
    schema_id INTEGER NOT NULL,
    revision TEXT NOT NULL,
    state_checksum INTEGER NOT NULL,
    checksum INTEGER NOT NULL,        -- of this row
    chain INTEGER NOT NULL            -- of all rows up to this one
) STRICT;
CREATE TABLE instance (
    number INTEGER PRIMARY KEY,
    entity TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    state BLOB,
    schema_id INTEGER NOT NULL,
    revision TEXT NOT NULL,
    state_checksum INTEGER NOT NULL,
    UNIQUE (entity, id)
) STRICT;
-- Segments of 2^18 positions keep the pages that one index round touches few, however long the log is.
CREATE TABLE command_index (
    segment INTEGER NOT NULL,
    hash INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (segment, hash, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE run_index (
    segment INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    before INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (segment, instance, before)
) STRICT, WITHOUT ROWID;
CREATE TABLE pending (
    number INTEGER PRIMARY KEY,
    content BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE catalog (
    version INTEGER PRIMARY KEY,
    content BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('indexed_position', 0);
