-- A source of Commands may be deleted and made anew: which one it was, and whether one before it had the same name.
ALTER TABLE input ADD COLUMN identity TEXT NOT NULL DEFAULT '';
ALTER TABLE input ADD COLUMN anew INTEGER NOT NULL DEFAULT 0;
