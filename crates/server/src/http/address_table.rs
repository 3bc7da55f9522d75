//! What the limiter remembers of each address, in memory of a fixed size.
//!
//! A set-associative table: an address belongs to one bucket of a few places, and when they are full it takes that of the
//! entry which is nearest to forgiveness. So a million addresses cost no more memory and no more time than one, and forget
//! only each other. Which bucket an address belongs to, only this process knows: nobody can aim at another's.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;

/// Places of a bucket.
const WAYS: usize = 8;
/// Buckets under one lock.
const STRIPE_BUCKETS: usize = 64;
/// Locks. All in all 65,536 buckets of 8 places of 16 bytes: 8 MB.
const STRIPES: usize = 1024;

/// What is known of one address: who, and the limiter's word.
#[derive(Clone, Copy)]
struct Place {
    /// 0 is a free place.
    fingerprint: u64,
    /// The theoretical arrival time of the limiter's algorithm, in nanoseconds. In the past, it says nothing any more.
    state: u64,
}

const FREE: Place = Place { fingerprint: 0, state: 0 };

/// The table.
pub(super) struct AddressTable {
    hasher: RandomState,
    /// A stripe has no memory until one of its addresses comes.
    stripes: Box<[Mutex<Vec<Place>>]>,
}

/// An address under one limit, as the table knows it; and whether the limiter's word is kept or only asked for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    fingerprint: u64,
    keep: bool,
}

impl AddressTable {
    pub(super) fn new() -> Arc<Self> {
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        Arc::new(Self { hasher: RandomState::new(), stripes })
    }

    /// Where something is counted.
    pub(super) fn counted(&self, who: impl Hash) -> Slot {
        Slot { fingerprint: self.hasher.hash_one(who).max(1), keep: true }
    }

    /// Where it is looked at only.
    pub(super) fn looked_at(&self, who: impl Hash) -> Slot {
        Slot { keep: false, ..self.counted(who) }
    }

    fn measure<T, E>(&self, slot: &Slot, decide: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>) -> Result<T, E> {
        let (stripe, first) = position(slot.fingerprint);
        let Some(stripe) = self.stripes.get(stripe) else { return decide(None).map(|(answer, _)| answer) };
        let mut places = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        if places.is_empty() && slot.keep {
            *places = vec![FREE; STRIPE_BUCKETS * WAYS];
        }
        let bucket = places.get_mut(first..first + WAYS).unwrap_or_default();
        let known = bucket.iter().position(|place| place.fingerprint == slot.fingerprint);
        let state = known.and_then(|known| bucket.get(known)).map(|place| Nanos::from(place.state));
        let (answer, state) = decide(state)?;
        if slot.keep {
            let place = match known {
                Some(known) => bucket.get_mut(known),
                None => bucket.iter_mut().min_by_key(|place| place.state),
            };
            if let Some(place) = place {
                *place = Place { fingerprint: slot.fingerprint, state: state.as_u64() };
            }
        }
        Ok(answer)
    }

    /// How much memory it uses now.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let places: usize = self.stripes.iter().map(|stripe| stripe.lock().unwrap().capacity()).sum();
        places * size_of::<Place>() + STRIPES * size_of::<Mutex<Vec<Place>>>()
    }
}

/// The stripe of a fingerprint and where its bucket begins there.
fn position(fingerprint: u64) -> (usize, usize) {
    let place = |bits: u64, count: usize| usize::try_from(bits & 0xffff_ffff).map_or(0, |bits| bits % count);
    (place(fingerprint >> 32, STRIPES), place(fingerprint, STRIPE_BUCKETS) * WAYS)
}

/// The table as one of several limiters has it.
pub(super) struct Shared(pub(super) Arc<AddressTable>);

impl StateStore for Shared {
    type Key = Slot;

    fn measure_and_replace<T, F, E>(&self, slot: &Slot, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure(slot, decide)
    }
}
