//! The URL of a PostgreSQL server, which may hold a password and is never printed whole.

use std::fmt;

/// The URL of a PostgreSQL server. `Debug` and `Display` leave user and password out.
#[derive(Clone)]
pub struct PostgresUrl(pub(crate) String);

impl From<String> for PostgresUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("postgres", &self.0));
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(authority_end).unwrap_or_default();
        let host = match authority.rsplit_once('@') {
            Some((_, host)) => host,
            // A password that was not escaped ends the authority too early: what is left may hold it, on either side.
            None if rest.contains('@') => "(host not shown)",
            None if self.0.contains("://") => authority,
            None => "(host not shown)",
        };
        // Parameters may hold a password too.
        let path = rest.split(['?', '#', '@']).next().filter(|_| !rest.contains('@')).unwrap_or_default();
        write!(f, "{scheme}://{host}{path}")
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        for url in ["postgres://me:s3cret@db.example/privet", "postgres://db.example/privet?user=me&password=s3cret"] {
            let printed = format!("{} {0:?}", PostgresUrl::from(url.to_owned()));
            assert!(!printed.contains("s3cret"), "{printed}");
            assert!(printed.contains("db.example/privet"), "{printed}");
        }
        for url in [
            "postgres://db.example/privet?user=me&password=half@s3cret",
            "postgres://me:s3@s3cret@db.example/privet?password=s3cret@s3cret",
            "postgres://me:slash/s3cret@db.example/privet",
            "postgres://me:s3cret/slash@db.example/privet",
            "postgres://me:question?s3cret@db.example/privet",
            "postgres://me:hash#s3cret@db.example/privet",
            "me:s3cret@db.example/privet",
            "me:s3cret",
        ] {
            let printed = format!("{} {0:?}", PostgresUrl::from(url.to_owned()));
            assert!(!printed.contains("s3cret"), "{url}: {printed}");
        }
    }
}
