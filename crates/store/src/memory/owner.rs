//! The owner of a representation, in one word: project, user and kind together. It stands in the keyword index, so that a search
//! by words never leaves it, and it groups the codes of vectors.

use privet_domain::memory::{MemoryScope, Representation};

/// What is mixed into the hash.
const CONTEXT: &str = "privet 2026-11 owner of a memory's representation";
const BYTES: usize = 16;

/// Project, user and kind of representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Owner(u128);

impl Owner {
    pub(super) fn of(scope: &MemoryScope, representation: Representation) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(scope.project.as_uuid().as_bytes());
        hasher.update(representation.as_str().as_bytes()).update(b"\0").update(scope.user.as_bytes());
        let mut bytes = [0; BYTES];
        hasher.finalize_xof().fill(&mut bytes);
        Self(u128::from_be_bytes(bytes))
    }

    /// The owners of one representation, or of every one.
    pub(super) fn all(scope: &MemoryScope, representation: Option<Representation>) -> Vec<(Representation, Self)> {
        let wanted = |kind: &Representation| representation.is_none_or(|wanted| wanted == *kind);
        Representation::ALL.into_iter().filter(wanted).map(|kind| (kind, Self::of(scope, kind))).collect()
    }

    /// As it stands in the database and in the keyword index.
    pub(super) fn token(self) -> String {
        format!("{:032x}", self.0)
    }

    /// As it was kept.
    pub(super) fn read(token: &str) -> Option<Self> {
        u128::from_str_radix(token, 16).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use privet_domain::id::ProjectId;

    use super::*;

    #[test]
    fn owners_differ_by_project_user_and_representation() {
        let (one, other) = (ProjectId::new(), ProjectId::new());
        let scopes = [(one, "ada"), (one, "bob"), (one, ""), (other, "ada"), (one, "ada\0")];
        let owners: HashSet<Owner> = scopes
            .iter()
            .flat_map(|(project, user)| Owner::all(&MemoryScope::new(*project, *user), None))
            .map(|(_, owner)| owner)
            .collect();
        assert_eq!(owners.len(), scopes.len() * Representation::ALL.len());
        for owner in owners {
            assert_eq!((owner.token().len(), Owner::read(&owner.token())), (32, Some(owner)));
        }
    }
}
