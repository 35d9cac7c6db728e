//! Traces of an experiment with their spans and assessments.
//!
//! Invariant: a trace keeps its id, for programs that made it know it by that. One that is complete here, by the tag
//! [`IMPORTED_TAG`], is left alone, and so is one of that id that was not imported.

use std::collections::HashMap;

use async_trait::async_trait;
use mlops_core::Result;

use super::{
    IMPORTED_FROM_TAG, IMPORTED_TAG, ImportReport, ImportSource, Importer, SourceTrace,
    importer::{COMPLETE, OPEN, origin, tags_here, tolerate},
    kind::Kind,
};
use crate::{
    search::Page,
    traces::{Assessment, SOURCE_RUN_METADATA, TraceInfo, TraceState, TraceStore, otlp::ResourceSpans},
    tracking::ExperimentId,
};

/// The traces of an experiment of a source.
struct Traces<'a> {
    importer: &'a Importer,
    source: &'a dyn ImportSource,
    store: &'a dyn TraceStore,
    from: ExperimentId,
}

#[async_trait]
impl Kind for Traces<'_> {
    /// A trace, and the one of that id which is here.
    type Record = (SourceTrace, Option<TraceInfo>);

    async fn page(&self, token: Option<String>, report: &mut ImportReport) -> Result<Page<Self::Record>> {
        let Page { items, next_page_token } = self.source.traces(self.from, token, report).await?;
        let ids: Vec<String> = items.iter().map(|trace| trace.info.id.clone()).collect();
        let here = self.store.traces(&ids).await?;
        let here: HashMap<String, TraceInfo> = here.into_iter().map(|trace| (trace.id.clone(), trace)).collect();
        let with_existing = |trace: SourceTrace| {
            let existing = here.get(&trace.info.id).cloned();
            (trace, existing)
        };
        Ok(Page { items: items.into_iter().map(with_existing).collect(), next_page_token })
    }

    fn is_settled(&self, (trace, existing): &Self::Record, report: &mut ImportReport) -> bool {
        let Some(existing) = existing else { return false };
        if existing.tags.get(IMPORTED_FROM_TAG) != Some(&origin(self.source, &trace.info.id)) {
            report.skip(format!("trace {}", trace.info.id), "there is another one of that id here");
            return true;
        }
        let done = existing.tags.get(IMPORTED_TAG).is_some_and(|state| state == COMPLETE);
        report.counts.traces_present += u64::from(done);
        done
    }

    fn count(&self, (trace, _): &Self::Record, report: &mut ImportReport) {
        report.counts.traces += 1;
        report.counts.spans += trace.spans.len() as u64;
    }

    async fn write(&self, record: Self::Record, to: ExperimentId, report: &mut ImportReport) -> Result<()> {
        let (trace, existing) = record;
        self.importer.trace(self.source, self.store, (trace, to, existing.as_ref()), report).await
    }
}

impl Importer {
    pub(super) async fn traces(
        &self,
        source: &dyn ImportSource,
        from: ExperimentId,
        to: Option<ExperimentId>,
        report: &mut ImportReport,
    ) -> Result<()> {
        let Some(store) = &self.traces else { return Ok(()) };
        let kind = Traces { importer: self, source, store: store.as_ref(), from };
        self.all_of(&kind, to, report).await
    }

    async fn trace(
        &self,
        source: &dyn ImportSource,
        store: &dyn TraceStore,
        (SourceTrace { mut info, spans }, to, existing): (SourceTrace, ExperimentId, Option<&TraceInfo>),
        report: &mut ImportReport,
    ) -> Result<()> {
        let (id, place) = (info.id.clone(), format!("trace {}", info.id));
        info.tags = tags_here(&info.tags, origin(source, &id));
        if let Some(run) = info.metadata.get_mut(SOURCE_RUN_METADATA)
            && let Some(here) = self.imported_run(source, run, &[to]).await?
        {
            *run = here.id.to_string();
        }
        // What replaced it comes under a new id, so what was replaced would count again.
        info.assessments.retain(|said| said.valid);
        info.assessments.iter_mut().for_each(|said| said.overrides = None);
        if let Some(existing) = existing {
            // The store would add them again, under new ids.
            info.assessments.retain(|said| !existing.assessments.iter().any(|here| is_same(here, said)));
        }
        info.experiment = to;
        let state = if info.state == TraceState::InProgress { OPEN } else { COMPLETE };
        if tolerate(store.start(info).await, &place, report)?.is_none() {
            return Ok(());
        }
        if spans.is_empty() {
            report.skip(&place, "the source gives no spans of it");
        } else {
            let spans = vec![ResourceSpans { resource: Vec::new(), spans }];
            tolerate(store.add_spans(to, spans).await, &format!("spans of {place}"), report)?;
        }
        store.set_tags(&id, &[(IMPORTED_TAG.to_owned(), state.to_owned())]).await
    }
}

/// Whether an assessment came from the other. Its id is new, and what it says may have been changed here.
fn is_same(here: &Assessment, there: &Assessment) -> bool {
    let key = |said: &Assessment| (said.created, said.name.clone(), said.source.clone(), said.span_id.clone());
    key(here) == key(there)
}
