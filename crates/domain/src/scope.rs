//! Scopes: what a key may do.

use std::fmt;
use std::str::FromStr;

/// One right of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scope {
    /// Chat, and change one's conversations.
    Chat,
    /// Embeddings.
    Embeddings,
    /// Read what the project recorded, and its usage.
    Read,
    /// Change prompts and their protected labels.
    Prompts,
    /// Write traces and scores.
    Traces,
    /// Make keys, stop the spending, see every project's usage. Includes all others.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Chat, Self::Embeddings, Self::Read, Self::Prompts, Self::Traces, Self::Admin];

    /// Its name in the API, the database and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Read => "read",
            Self::Prompts => "prompts",
            Self::Traces => "traces",
            Self::Admin => "admin",
        }
    }
}

/// No scope has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no scope is called `{0}`; there are chat, embeddings, read, prompts, traces, admin")]
pub struct UnknownScope(pub String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// The rights of a key. Written as names with spaces or commas between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// No right at all.
    pub const NONE: Self = Self(0);

    /// These rights.
    #[must_use]
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, &scope| bits | 1 << scope as u8))
    }

    /// Whether a right is among them. `admin` includes all.
    #[must_use]
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8 | 1 << Scope::Admin as u8) != 0
    }

    /// The rights that were given, by name.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Scope::ALL.into_iter().filter(move |&scope| self.0 & (1 << scope as u8) != 0).map(Scope::as_str)
    }
}

impl Default for Scopes {
    /// What a key gets when nobody says otherwise: to use models, to read, and to write traces.
    fn default() -> Self {
        Self::of(&[Scope::Chat, Scope::Embeddings, Scope::Read, Scope::Traces])
    }
}

impl FromStr for Scopes {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = text.split([' ', ',']).filter(|name| !name.is_empty());
        let scopes: Vec<Scope> = names.map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self::of(&scopes))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_back_and_admin_includes_all() {
        let scopes: Scopes = "chat,read".parse().unwrap();
        assert_eq!(scopes.to_string(), "chat read");
        assert!(scopes.allow(Scope::Chat) && !scopes.allow(Scope::Embeddings));
        let admin: Scopes = "admin".parse().unwrap();
        assert!(Scope::ALL.into_iter().all(|scope| admin.allow(scope)));
        assert!("chat wrte".parse::<Scopes>().unwrap_err().to_string().contains("`wrte`"));
    }
}
