//! The ledger as it stands in the database, read by SQL that shares nothing with the product's.

use std::collections::{HashMap, HashSet};

use sqlx::types::Uuid;
use sqlx::{PgConnection, SqliteConnection};

/// A budget's id and the start of one of its windows.
pub(crate) type Window = (String, i64);

/// A connection past the store.
pub(crate) enum Reader {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// A replica's share of a window.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) window: Window,
    pub(crate) replica: Uuid,
    pub(crate) granted: i64,
    pub(crate) settled: i64,
}

/// A hold.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) id: Uuid,
    pub(crate) replica: Uuid,
    pub(crate) amount: i64,
    pub(crate) windows: Vec<Window>,
}

/// A settled call.
#[derive(Debug)]
pub(crate) struct Paid {
    pub(crate) id: Uuid,
    pub(crate) cost: i64,
    pub(crate) windows: Vec<Window>,
    pub(crate) made_at: i64,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) slices: Vec<Slice>,
    pub(crate) open: Vec<Open>,
    pub(crate) paid: Vec<Paid>,
    pub(crate) fenced: HashSet<Uuid>,
}

macro_rules! rows {
    ($reader:expr, $sql:expr) => {
        match $reader {
            Reader::Sqlite(connection) => sqlx::query_as($sql).fetch_all(connection).await.unwrap(),
            Reader::Postgres(connection) => sqlx::query_as($sql).fetch_all(connection).await.unwrap(),
        }
    };
}

impl Reader {
    pub(crate) async fn ledger(&mut self) -> Ledger {
        let slices: Vec<(String, i64, Uuid, i64, i64)> =
            rows!(self, "SELECT budget, window_start, replica_id, granted_nanos, settled_nanos FROM budget_slices");
        let open: Vec<(Uuid, Uuid, i64, String)> = rows!(self, "SELECT id, replica_id, hold_nanos, charges FROM holds");
        let paid: Vec<(Uuid, i64, String, i64)> = rows!(self, "SELECT id, cost_nanos, charges, created_at FROM calls");
        let fenced: Vec<(Uuid,)> = rows!(self, "SELECT id FROM replicas WHERE fenced_at IS NOT NULL");
        let windows = |charges: &str| serde_json::from_str(charges).unwrap();
        Ledger {
            slices: slices
                .into_iter()
                .map(|(budget, start, replica, granted, settled)| Slice {
                    window: (budget, start),
                    replica,
                    granted,
                    settled,
                })
                .collect(),
            open: open
                .into_iter()
                .map(|(id, replica, amount, charges)| Open { id, replica, amount, windows: windows(&charges) })
                .collect(),
            paid: paid
                .into_iter()
                .map(|(id, cost, charges, made_at)| Paid { id, cost, windows: windows(&charges), made_at })
                .collect(),
            fenced: fenced.into_iter().map(|(id,)| id).collect(),
        }
    }

    /// How many slices hold and settle more than they were granted, at one instant; with a single budget.
    pub(crate) async fn overdrawn_slices(&mut self) -> i64 {
        let found: Vec<(i64,)> = rows!(
            self,
            "SELECT count(*) FROM budget_slices s WHERE s.granted_nanos < s.settled_nanos + COALESCE((SELECT \
             CAST(sum(h.hold_nanos) AS BIGINT) FROM holds h WHERE h.replica_id = s.replica_id), 0)"
        );
        found[0].0
    }

    /// What is granted at one instant.
    pub(crate) async fn granted_in_all(&mut self) -> i64 {
        let found: Vec<(i64,)> =
            rows!(self, "SELECT CAST(COALESCE(sum(granted_nanos), 0) AS BIGINT) FROM budget_slices");
        found[0].0
    }

    /// Forgets everything, for the next schedule on the same database.
    pub(crate) async fn clear(&mut self) {
        let all = "DELETE FROM holds; DELETE FROM calls; DELETE FROM budget_slices; DELETE FROM budget_windows; \
                   DELETE FROM replicas";
        match self {
            Self::Sqlite(connection) => sqlx::raw_sql(all).execute(connection).await.map(drop).unwrap(),
            Self::Postgres(connection) => sqlx::raw_sql(all).execute(connection).await.map(drop).unwrap(),
        }
    }
}

impl Ledger {
    /// What was granted of each window.
    pub(crate) fn granted(&self) -> HashMap<Window, i64> {
        let mut granted = HashMap::new();
        for slice in &self.slices {
            *granted.entry(slice.window.clone()).or_default() += slice.granted;
        }
        granted
    }

    /// What is settled in each window, by its slices.
    pub(crate) fn settled(&self) -> HashMap<Window, i64> {
        let mut settled = HashMap::new();
        for slice in &self.slices {
            *settled.entry(slice.window.clone()).or_default() += slice.settled;
        }
        settled
    }

    /// What was paid in each window, by the calls.
    pub(crate) fn paid(&self) -> HashMap<Window, i64> {
        let mut paid = HashMap::new();
        for call in &self.paid {
            for window in &call.windows {
                *paid.entry(window.clone()).or_default() += call.cost;
            }
        }
        paid
    }

    /// What holds hold of each slice.
    pub(crate) fn held(&self) -> HashMap<(Window, Uuid), i64> {
        let mut held = HashMap::new();
        for open in &self.open {
            for window in &open.windows {
                *held.entry((window.clone(), open.replica)).or_default() += open.amount;
            }
        }
        held
    }
}
