//! Thousands of schedules, each told by its seed.

use std::ops::Range;

use crate::bed::{Bed, with_time_by_hand};
use crate::world::World;

const STEPS: usize = 40;
/// Replays one schedule.
const SEED: &str = "PRIVET_SIMULATION_SEED";

/// Makes tests of ranges of seeds, which run beside each other.
macro_rules! schedules {
    ($bed:expr, $($name:ident: $seeds:expr),+ $(,)?) => {
        $(#[test]
        fn $name() {
            with_time_by_hand(async { play(&$bed, $seeds).await });
        })+
    };
}

mod schedules_on_sqlite {
    use super::*;

    schedules!(
        Bed::sqlite(),
        the_ceiling_holds_in_schedules_0_to_749: 0..750,
        the_ceiling_holds_in_schedules_750_to_1499: 750..1500,
        the_ceiling_holds_in_schedules_1500_to_2249: 1500..2250,
        the_ceiling_holds_in_schedules_2250_to_2999: 2250..3000,
    );
}

mod schedules_on_postgres {
    use super::*;

    schedules!(Bed::postgres().await, the_ceiling_holds_in_schedules_0_to_199: 0..200);
}

async fn play(bed: &Bed, seeds: Range<u64>) {
    let store = bed.open().await;
    let seeds = match std::env::var(SEED) {
        Ok(seed) => {
            let seed = seed.parse().unwrap_or_else(|_| panic!("{SEED} is a number"));
            seed..seed + 1
        }
        Err(_) => seeds,
    };
    let mut reader = bed.reader().await;
    for seed in seeds {
        reader.clear().await;
        let mut world = World::new(&store, reader, seed).await;
        for _ in 0..STEPS {
            world.step().await;
            world.check().await;
        }
        reader = world.end().await;
    }
    store.close().await;
}
