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
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        // Parameters may hold a password too.
        let host = host.split_once('?').map_or(host, |(host, _)| host);
        write!(f, "{scheme}://{host}")
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
    }
}
