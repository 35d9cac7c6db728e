//! What every store in the metadata database has besides its rows: a clock, a source of ids, and a first step that brings
//! the tables up to date.

/// Sets the column `updated` to the time at this place among the values, but not back: a clock may go backwards.
pub(crate) fn touched(place: usize) -> String {
    format!("updated = CASE WHEN updated < ${place} THEN ${place} ELSE updated END")
}

/// Writes the common part of a store with the fields `meta`, `clock` and `ids`, and of its builder with the field `store`;
/// the text says what the ids are for.
macro_rules! sql_store {
    ($store:ident, $builder:ident, $ids:literal) => {
        impl $builder {
            /// Tells the time. Default: the clock of the operating system.
            pub fn with_clock(mut self, clock: Arc<dyn mlops_core::Clock>) -> Self {
                self.store.clock = clock;
                self
            }

            #[doc = $ids]
            pub fn with_ids(mut self, ids: Arc<dyn crate::id_source::IdSource>) -> Self {
                self.store.ids = Some(ids);
                self
            }
        }

        impl $store {
            /// With ids to give, and its tables up to date.
            async fn opened(mut self, migrations: &mlops_store::Migrations) -> mlops_core::Result<Self> {
                if self.ids.is_none() {
                    self.ids = Some(Arc::new(crate::id_source::RandomIds::from_os()?));
                }
                mlops_store::MetaStoreExt::migrate(&self.meta, migrations).await?;
                Ok(self)
            }

            /// Now, in whole milliseconds.
            fn now(&self) -> mlops_core::Timestamp {
                mlops_core::Timestamp::from_millis(self.clock.now().as_millis())
            }

            fn ids(&self) -> mlops_core::Result<&dyn crate::id_source::IdSource> {
                self.ids.as_deref().ok_or_else(|| mlops_core::Error::internal("the store has no source of ids"))
            }
        }
    };
}
pub(crate) use sql_store;
