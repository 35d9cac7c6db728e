//! SQL over the rows of one commit: a relation in the memory of SQLite, asked and forgotten.
//!
//! Invariant: a value that SQLite would change is refused by column and row, on the way in (NaN) and on the way out
//! (what is not of the wanted type exactly).

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use mlops_core::{Error, Result};
use rusqlite::{
    Connection, Statement,
    types::{ToSqlOutput, ValueRef},
};

use super::BatchTransformation;
use crate::{
    cell::{Cell, ColumnBuilder},
    definition::all_faults,
    source::{shape::Wanted, sql::sqlite},
};

/// Most rows that a query may make of one commit, so that a join with itself ends in an error and not in the memory.
const ROWS_MAX: usize = 1 << 26;

/// A query over one relation.
#[derive(Debug)]
pub(super) struct Query {
    relation: String,
    query: Arc<str>,
    /// The columns of the relation, by place in the table.
    columns: Vec<usize>,
    /// What is taken of the answer: columns by the names that it has there.
    answer: SchemaRef,
}

impl Query {
    /// `query` over a relation called `relation` with those columns of `input` that SQL can hold, for what is `wanted`.
    ///
    /// # Errors
    /// `InvalidArgument` for a query that SQLite refuses over these columns, and for columns that its answer lacks.
    pub(super) fn new(relation: &str, input: &Schema, query: &Arc<str>, wanted: &Wanted) -> Result<Self> {
        let fields = input.fields().iter().enumerate();
        let columns: Vec<usize> =
            fields.filter(|(_, field)| is_held(field.data_type())).map(|(place, _)| place).collect();
        let mut this =
            Self { relation: relation.to_owned(), query: Arc::clone(query), columns, answer: Schema::empty().into() };
        let connection = this.connection(input)?;
        let statement = this.prepared(&connection)?;
        let names = statement.column_names();
        let (mut fields, mut faults) = (Vec::new(), Vec::new());
        for (field, name, optional) in wanted.columns() {
            if names.contains(&name) {
                fields.push(field.as_ref().clone().with_name(name).with_nullable(true));
            } else if !optional {
                faults.push(format!("its query gives no column \"{name}\"; it gives {}", names.join(", ")));
            }
        }
        all_faults("it does not fit the table", &faults)?;
        this.answer = Arc::new(Schema::new(fields));
        Ok(this)
    }

    /// A database with the empty relation.
    fn connection(&self, input: &Schema) -> Result<Connection> {
        let connection = Connection::open_in_memory().map_err(refused)?;
        // Columns without a type keep every value as it is handed in.
        let names = self.fields(input).map(|field| quoted(field.name())).collect::<Vec<_>>().join(", ");
        connection.execute(&format!("CREATE TABLE {} ({names})", quoted(&self.relation)), []).map_err(refused)?;
        Ok(connection)
    }

    fn fields<'a>(&'a self, input: &'a Schema) -> impl Iterator<Item = &'a Field> {
        self.columns.iter().map(|place| input.field(*place))
    }

    fn prepared<'a>(&self, connection: &'a Connection) -> Result<Statement<'a>> {
        let statement = connection.prepare(&self.query).map_err(refused)?;
        if !statement.readonly() {
            return Err(Error::invalid_argument("its query writes; it may only read"));
        }
        Ok(statement)
    }

    fn fill(&self, connection: &Connection, rows: &RecordBatch) -> Result<()> {
        let places = vec!["?"; self.columns.len()].join(", ");
        let insert = format!("INSERT INTO {} VALUES ({places})", quoted(&self.relation));
        connection.execute_batch("BEGIN").map_err(refused)?;
        let mut insert = connection.prepare(&insert).map_err(refused)?;
        for row in 0..rows.num_rows() {
            for (index, place) in self.columns.iter().enumerate() {
                let cell = Cell::of(rows.column(*place).as_ref(), row)?;
                let value = value(&cell).ok_or_else(|| {
                    let schema = rows.schema_ref();
                    let name = schema.field(*place).name();
                    Error::invalid_argument(format!(
                        "column \"{name}\" has NaN in row {}, which SQL does not have; derive the table by code",
                        row + 1
                    ))
                })?;
                insert.raw_bind_parameter(index + 1, ToSqlOutput::Borrowed(value)).map_err(refused)?;
            }
            insert.raw_execute().map_err(refused)?;
        }
        connection.execute_batch("COMMIT").map_err(refused)
    }

    fn answer(&self, mut statement: Statement<'_>) -> Result<RecordBatch> {
        let fields = self.answer.fields();
        let place = |field: &Arc<Field>| statement.column_index(field.name()).map_err(refused);
        let places = fields.iter().map(place).collect::<Result<Vec<_>>>()?;
        let builder = |field: &Arc<Field>| ColumnBuilder::new(field.data_type(), 0);
        let mut builders = fields.iter().map(builder).collect::<Result<Vec<_>>>()?;
        let mut rows = statement.query([]).map_err(refused)?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(refused)? {
            count += 1;
            if count > ROWS_MAX {
                return Err(Error::resource_exhausted(format!("its query gives more than {ROWS_MAX} rows")));
            }
            for ((builder, field), place) in builders.iter_mut().zip(fields).zip(&places) {
                let value = row.get_ref(*place).map_err(refused)?;
                let cell = sqlite::cell(value, field.data_type()).ok_or_else(|| {
                    let (name, wanted, found) = (field.name(), field.data_type(), value.data_type());
                    Error::invalid_argument(format!(
                        "column \"{name}\" of its query must be {wanted}; row {count} has {found} there"
                    ))
                })?;
                builder.push(cell)?;
            }
        }
        let columns = builders.into_iter().map(ColumnBuilder::finish).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.answer), columns, &options)?)
    }
}

impl BatchTransformation for Query {
    fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let connection = self.connection(rows.schema_ref())?;
        self.fill(&connection, rows)?;
        self.answer(self.prepared(&connection)?)
    }
}

fn refused(error: rusqlite::Error) -> Error {
    Error::invalid_argument(format!("SQLite refuses its query: {error}")).with_source(error)
}

/// A name between double quotes.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether a relation has columns of this type.
fn is_held(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(
        data_type,
        T::Boolean
            | T::Int8
            | T::Int16
            | T::Int32
            | T::Int64
            | T::Date32
            | T::Timestamp(_, _)
            | T::Float32
            | T::Float64
            | T::Utf8
            | T::LargeUtf8
            | T::Binary
    )
}

/// `cell` as SQLite has it; none for NaN.
fn value<'a>(cell: &'a Cell<'_>) -> Option<ValueRef<'a>> {
    Some(match cell {
        Cell::Null | Cell::List(_) => ValueRef::Null,
        Cell::Bool(value) => ValueRef::Integer(i64::from(*value)),
        Cell::Int(value) => ValueRef::Integer(*value),
        Cell::Float(value) if value.is_nan() => return None,
        Cell::Float(value) => ValueRef::Real(*value),
        Cell::Text(text) => ValueRef::Text(text.as_bytes()),
        Cell::Bytes(bytes) => ValueRef::Blob(bytes),
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int8Array, Int64Array,
        StringArray, TimestampMicrosecondArray,
    };

    use super::*;
    use crate::definition::{Derivation, Source};

    fn rows() -> RecordBatch {
        let columns: [(&str, ArrayRef); 9] = [
            ("flag", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
            ("tiny", Arc::new(Int8Array::from(vec![Some(-128), None, Some(127)]))),
            ("big", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some((1 << 53) + 1)]))),
            ("day", Arc::new(Date32Array::from(vec![Some(-1), None, Some(20_000)]))),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(7)]).with_timezone("UTC"))),
            ("single", Arc::new(Float32Array::from(vec![Some(0.1), None, Some(-0.0)]))),
            ("double", Arc::new(Float64Array::from(vec![Some(f64::NEG_INFINITY), None, Some(-0.0)]))),
            ("text", Arc::new(StringArray::from(vec![Some("\u{e9}'\"\0"), None, Some("")]))),
            ("order", Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\xff\0".as_slice()), None, Some(b"")]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    fn query(sql: &str, wanted: &RecordBatch) -> Result<Query> {
        let source = Source::table("out", "group", Derivation::Sql { query: sql.into() });
        let source = source.with_timestamp("at").build().unwrap();
        let wanted = Wanted::of(&source, &wanted.schema());
        Query::new("group", rows().schema_ref(), &sql.into(), &wanted)
    }

    #[test]
    fn values_go_through_with_all_their_bits() {
        let found = query("SELECT * FROM \"group\"", &rows()).unwrap().apply(&rows()).unwrap();
        assert_eq!(found.num_rows(), 3);
        for (name, expected) in rows().schema_ref().fields().iter().zip(rows().columns()) {
            let found = found.column_by_name(name.name()).unwrap();
            assert_eq!(found.to_data(), expected.to_data(), "{name}");
        }
    }

    #[test]
    fn rows_are_filtered_grouped_and_made_several_of() {
        let wanted = rows().project(&[2, 4]).unwrap();
        let sql = "WITH twice AS (SELECT 1 AS n UNION ALL SELECT 2) \
                   SELECT count(*) OVER () + n AS big, at FROM \"group\", twice WHERE at IS NOT NULL ORDER BY at, n";
        let found = query(sql, &wanted).unwrap().apply(&rows()).unwrap();
        assert_eq!(found.column(0).as_ref(), &Int64Array::from(vec![5, 6, 5, 6]) as &dyn arrow_array::Array);
    }

    #[test]
    fn what_does_not_fit_is_told_before_and_while_it_is_asked() {
        let wanted = rows().project(&[2, 4]).unwrap();
        let refused = |sql: &str| query(sql, &wanted).unwrap_err().to_string();
        assert!(refused("SELECT at FROM \"group\"").contains("no column \"big\"; it gives at"));
        assert!(refused("SELECT at, bug FROM \"group\"").contains("bug"));
        assert!(refused("SELECT at, big FROM other").contains("other"));
        assert!(refused("WITH x AS (SELECT 1) DELETE FROM \"group\"").contains("may only read"));
        assert!(refused("SELECT 1; SELECT 2").contains("SQLite refuses its query"));
        let half = query("SELECT at, big / 2.0 AS big FROM \"group\" WHERE big > 0", &wanted).unwrap();
        let error = half.apply(&rows()).unwrap_err();
        assert!(error.message().contains("\"big\" of its query must be Int64; row 1 has Real"), "{error}");
        let nan = Arc::new(Float64Array::from(vec![1.0, f64::NAN, 2.0])) as ArrayRef;
        let columns = rows()
            .columns()
            .iter()
            .enumerate()
            .map(|(at, column)| Arc::clone(if at == 6 { &nan } else { column }))
            .collect();
        let odd = RecordBatch::try_new(rows().schema(), columns).unwrap();
        let error = query("SELECT at, big FROM \"group\"", &wanted).unwrap().apply(&odd).unwrap_err();
        assert!(error.message().contains("\"double\" has NaN in row 2"), "{error}");
    }
}
