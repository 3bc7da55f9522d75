//! Score configurations: kept, changed, listed, and each its project's alone.

use privet_domain::id::ScoreConfigId;
use privet_domain::trace::{ScoreCategory, ScoreConfig, ScoreType};
use privet_store::StoreError;

use crate::bed::{Bed, at, on_both_databases, project};

on_both_databases!(a_configuration_is_kept_and_changed_by_its_project_alone,);

async fn a_configuration_is_kept_and_changed_by_its_project_alone(bed: &Bed) {
    let store = bed.open().await;
    let (home, work) = (project(&store, "home").await, project(&store, "work").await);
    let tone = ScoreConfig {
        id: ScoreConfigId::new(),
        name: "tone".to_owned(),
        score_type: ScoreType::Categorical,
        categories: vec![ScoreCategory { value: 0.5, label: "kind".to_owned() }],
        minimum: None,
        maximum: None,
        description: Some("How it sounds".to_owned()),
        is_archived: false,
        created_at: at(1),
        updated_at: at(1),
    };
    let id = ScoreConfigId::new();
    let stars =
        ScoreConfig { id, score_type: ScoreType::Numeric, minimum: Some(0.5), created_at: at(2), ..tone.clone() };
    store.keep_score_config(home, &tone).await.unwrap();
    store.keep_score_config(home, &stars).await.unwrap();
    assert_eq!(store.score_configs(home).await.unwrap(), [stars.clone(), tone.clone()]);

    let archived = ScoreConfig { is_archived: true, updated_at: at(3), created_at: at(3), ..tone.clone() };
    store.keep_score_config(home, &archived).await.unwrap();
    let kept = store.score_config(home, tone.id).await.unwrap();
    assert_eq!(kept, ScoreConfig { created_at: at(1), ..archived.clone() });

    assert!(matches!(store.keep_score_config(work, &archived).await, Err(StoreError::NotFound)));
    assert!(matches!(store.score_config(work, tone.id).await, Err(StoreError::NotFound)));
    assert_eq!(store.score_configs(work).await.unwrap(), []);
}
