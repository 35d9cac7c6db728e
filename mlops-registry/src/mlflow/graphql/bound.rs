//! How much one query may ask for, in the terms and words of MLflow.
//!
//! Invariant: a fragment counts wherever it is spread, so that nothing is hidden in one.

use std::collections::BTreeSet;

use mlops_core::{Error, Result};

use super::parse::{Document, Field, Selection};

/// How deep selections may be nested.
const DEPTH_MAX: usize = 10;
/// Most selections of one query: fields, fragments and directives, those in fragments at every place they are spread.
const SELECTIONS_MAX: usize = 1_000;
/// Most fields at the top of all operations.
const ROOTS_MAX: usize = 10;
/// Most fields with an alias at one place.
const ALIASES_MAX: usize = 10;

/// Refuses a query that asks for too much. What is spread at one place again is not visited again, so that the work is
/// bounded by the selections that are counted.
pub(super) fn check(document: &Document) -> Result<()> {
    let (mut roots, mut visited) = (0, 0);
    let mut waiting: Vec<(&[Selection], usize)> =
        document.operations.iter().map(|operation| (operation.selections.as_slice(), 1)).collect();
    while let Some((selections, depth)) = waiting.pop() {
        if depth > DEPTH_MAX {
            return Err(Error::invalid_argument(format!("Query exceeds maximum depth of {DEPTH_MAX}")));
        }
        let fields = fields(document, selections, &mut visited)?;
        if depth == 1 {
            roots += fields.len();
            at_most(roots, ROOTS_MAX, "root fields")?;
        }
        at_most(fields.iter().filter(|field| field.alias.is_some()).count(), ALIASES_MAX, "aliases")?;
        waiting
            .extend(fields.iter().filter(|f| !f.selections.is_empty()).map(|f| (f.selections.as_slice(), depth + 1)));
    }
    Ok(())
}

fn at_most(count: usize, max: usize, what: &str) -> Result<()> {
    if count <= max {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("GraphQL queries should have at most {max} {what}, got {count} {what}.")))
}

/// The fields at one place, those of fragments among them; a fragment that is spread there again adds nothing.
fn fields<'a>(document: &'a Document, selections: &'a [Selection], visited: &mut usize) -> Result<Vec<&'a Field>> {
    let (mut fields, mut spread) = (Vec::new(), BTreeSet::new());
    let mut waiting: Vec<&Selection> = selections.iter().rev().collect();
    while let Some(selection) = waiting.pop() {
        *visited += 1 + selection.directives().len();
        if *visited > SELECTIONS_MAX {
            return Err(Error::invalid_argument(format!("Query exceeds maximum total selections of {SELECTIONS_MAX}")));
        }
        match selection {
            Selection::Field(field) => fields.push(field),
            Selection::Inline(inner, _) => waiting.extend(inner.iter().rev()),
            Selection::Spread(name, _) => {
                if spread.insert(name) {
                    waiting.extend(document.fragments.get(name).into_iter().flatten().rev());
                }
            }
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::{super::parse::parse, *};

    #[test]
    fn what_asks_for_too_much_is_refused_also_by_fragments() {
        let many = |count: usize| (0..count).map(|n| format!("k{n}: test {{ output }} ")).collect::<String>();
        let check = |query: &str| check(&parse(query).unwrap()).map_err(|error| error.message().to_owned());
        check(&format!("{{ {} }}", many(10))).unwrap();
        let roots = check(&format!("{{ {} }}", many(11))).unwrap_err();
        assert_eq!(roots, "GraphQL queries should have at most 10 root fields, got 11 root fields.");
        let spread = format!("{{ a {{ ...f {} }} }} fragment f on T {{ {} }}", many(6), many(5));
        assert_eq!(check(&spread).unwrap_err(), "GraphQL queries should have at most 10 aliases, got 11 aliases.");
        let deep = format!("{}b{}", "{ a ".repeat(11), "}".repeat(11));
        assert_eq!(check(&deep).unwrap_err(), "Query exceeds maximum depth of 10");
        let wide: String = (0..1_000).map(|n| format!("f{n} ")).collect();
        assert_eq!(
            check(&format!("{{ a {{ {wide} }} }}")).unwrap_err(),
            "Query exceeds maximum total selections of 1000"
        );
        // Neither spreads nor fragments without fields are free.
        for many in ["...f ", "... on T { a } ", "a @skip(if: false) "] {
            let costly = format!("{{ a {{ {} }} }} fragment f on T {{ b }}", many.repeat(1_000));
            assert_eq!(check(&costly).unwrap_err(), "Query exceeds maximum total selections of 1000", "{many}");
        }
        // One that spreads itself ends by its depth.
        check("{ ...f } fragment f on T { a { ...f } }").unwrap_err();
        check("{ ...f } fragment f on T { ...f b }").unwrap();
    }
}
