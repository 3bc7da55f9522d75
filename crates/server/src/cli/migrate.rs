//! `privet migrate`.

use privet_store::Store;

use super::{Common, Exit, load, open_store, print_json};

pub(super) async fn run(common: &Common, dry_run: bool) -> Result<(), Exit> {
    let config = load(common, None)?;
    let plan = Store::plan_migration(&config.database).await?;
    if !dry_run {
        open_store(&config).await?.close().await;
    }
    if common.json {
        return print_json(&plan);
    }
    if plan.pending.is_empty() {
        println!("The schema is up to date (version {}).", plan.current);
        return Ok(());
    }
    println!("{} from version {}:", if dry_run { "Would migrate" } else { "Migrated" }, plan.current);
    for migration in &plan.pending {
        println!("  {:04} {}", migration.version, migration.description);
    }
    Ok(())
}
