//! Text comes back to the byte, whatever it holds.

use privet_store::StoreError;

use crate::bed::{Bed, at, begin, begun, on_both_databases, project, texts};

on_both_databases!(
    text_comes_back_to_the_byte,
    text_is_never_read_as_sql,
    a_nul_comes_back_or_is_refused_and_harms_no_other,
);

async fn text_comes_back_to_the_byte(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let combining = format!("e{}", "\u{301}".repeat(500_000));
    let long = "long ".repeat(400_000);
    let said = [
        "",
        " \t\r\n ",
        "zażółć gęślą jaźń",
        "👩‍👩‍👧‍👦 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \u{10FFFF}",
        "\u{202E}right to left\u{202C} \u{2066}isolated\u{2069} \u{200F}",
        "\u{FEFF}byte order mark, \u{FFFD} replacement, \u{FFFE} no character",
        "\u{1}\u{8}\u{B}\u{1B}[31m\u{7F}\u{85}\u{2028}",
        "é and e\u{301} stay apart",
        r#"{"json": "\u0000 \\ \" "} and {{template}} and $1 ? :name @p"#,
        combining.as_str(),
        long.as_str(),
    ];
    let id = begun(&store, home, &said).await;
    let kept = texts(&store, home, id).await;
    for (kept, said) in kept.iter().zip(said) {
        // Not assert_eq: a megabyte of difference helps nobody.
        assert!(kept == said, "`{}…` came back changed", said.chars().take(40).collect::<String>());
    }
    assert_eq!(kept.len(), said.len());
}

async fn text_is_never_read_as_sql(bed: &Bed) {
    let store = bed.open().await;
    let hostile = "'; DROP TABLE messages; -- \" ` \\' $$";
    let home = project(&store, hostile).await;
    let id = begun(&store, home, &[hostile]).await;
    let [kept] = store.messages(home, id).await.unwrap().try_into().unwrap();
    store.edit_message(home, kept.id, hostile, Some(hostile), at(2)).await.unwrap();
    let edited = store.message(home, kept.id).await.unwrap();
    assert_eq!((edited.content.as_str(), edited.payload.as_deref()), (hostile, Some(hostile)));
    assert_eq!(store.find_project(hostile).await.unwrap().map(|found| found.id), Some(home));
}

/// SQLite keeps a NUL, PostgreSQL takes none: it is an error that names no text, and never a text cut short.
async fn a_nul_comes_back_or_is_refused_and_harms_no_other(bed: &Bed) {
    let store = bed.open().await;
    let home = project(&store, "home").await;
    let (with_nul, other) = (begin(&store, home, &["before\0canary"]), begin(&store, home, &["other"]));
    let (id, other_id) = (with_nul.conversation_id, other.conversation_id);
    let (outcome, other) = tokio::join!(store.start_turn(with_nul), store.start_turn(other));
    other.unwrap();
    assert_eq!(texts(&store, home, other_id).await, ["other"]);
    if bed.is_sqlite() {
        outcome.unwrap();
        assert_eq!(texts(&store, home, id).await, ["before\0canary"]);
    } else {
        let error = outcome.unwrap_err();
        assert!(matches!(error, StoreError::Database(_)) && !error.to_string().contains("canary"), "{error}");
        assert_eq!(texts(&store, home, id).await, [""; 0]);
        assert!(matches!(store.conversation(home, id).await, Err(StoreError::NotFound)));
    }
}
