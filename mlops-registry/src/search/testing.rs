//! Random searches, the same for every kind of record.

use mlops_core::testing::SplitMix64;

/// One of several things, by chance.
pub(crate) struct Chance(SplitMix64, std::cell::Cell<u64>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed), std::cell::Cell::new(0))
    }

    pub(crate) fn below(&self, n: usize) -> usize {
        self.1.set(self.1.get() + 1);
        (self.0.bits(self.1.get()) % n as u64) as usize
    }

    pub(crate) fn of<T: Copy>(&self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

pub(crate) const TEXTS: [&str; 10] = ["", "a", "A", "ab", "a*b", "a?[b", "Ärger", "ÄRGER", "\u{212a}elvin", "kelvin"];

/// A random clause on a subject that is a text.
pub(crate) fn text_clause(subject: &str, chance: &Chance) -> String {
    let patterns = ["a%", "%B", "_", "%", "a*b", "%[%", "är%", "Är%", "k%", "\u{212a}%", "%ger", ""];
    match chance.below(4) {
        0 => format!("{subject} {} '{}'", chance.of(&["=", "!="]), chance.of(&TEXTS)),
        1 => format!("{subject} LIKE '{}'", chance.of(&patterns)),
        2 => format!("{subject} ILIKE '{}'", chance.of(&patterns)),
        _ => format!("{subject} ILIKE '{}'", chance.of(&TEXTS)),
    }
}

/// A random list, as IN takes it.
pub(crate) fn text_list(chance: &Chance) -> String {
    format!("('{}', '{}')", chance.of(&TEXTS), chance.of(&TEXTS))
}

/// A schema of its own in the database that `MLOPS_TEST_POSTGRES` names; none when it names none.
#[cfg(feature = "postgres")]
#[allow(clippy::disallowed_methods, reason = "the environment names the server to test against")]
pub(crate) async fn postgres(name: &str) -> Option<std::sync::Arc<mlops_store::PostgresMetaStore>> {
    use mlops_store::{MetaStoreExt as _, PostgresMetaStore};

    let Ok(url) = std::env::var("MLOPS_TEST_POSTGRES") else {
        println!("skipped: MLOPS_TEST_POSTGRES names no server");
        return None;
    };
    let admin = PostgresMetaStore::connect(&url, 1).await.unwrap();
    let schema = format!("{name}_{}", std::process::id());
    admin.execute(&format!("CREATE SCHEMA {schema}"), &[]).await.unwrap();
    let join = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{join}options=-csearch_path%3D{schema}");
    Some(std::sync::Arc::new(PostgresMetaStore::connect(&url, 4).await.unwrap()))
}
