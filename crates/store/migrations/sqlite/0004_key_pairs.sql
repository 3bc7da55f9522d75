-- The public key of a pair that somebody chose; NULL where it follows from public_id.
ALTER TABLE api_keys ADD COLUMN public_key TEXT;

-- What an installation that moved here called its project: SDKs print links with this id.
ALTER TABLE projects ADD COLUMN given_id TEXT;
ALTER TABLE projects ADD COLUMN given_name TEXT;

-- Whoever may chat may write traces of it.
UPDATE api_keys SET scopes = scopes || ' traces'
WHERE ' ' || scopes || ' ' LIKE '% chat %' AND ' ' || scopes || ' ' NOT LIKE '% traces %';
