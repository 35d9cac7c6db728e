//! CSV by RFC 4180: quoted cells, doubled quotes, either line end.

use mlops_core::{Error, Result};

/// The cells of each line, with whether they were quoted. Empty lines are skipped.
///
/// # Errors
/// `InvalidArgument` for a quote that does not end.
pub(super) fn parse(text: &str) -> Result<Vec<Vec<Cell>>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), Cell::default());
    let mut letters = text.chars().peekable();
    let mut open = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if open && letters.peek() == Some(&'"') => {
                letters.next();
                cell.text.push('"');
            }
            '"' if open => open = false,
            '"' if cell.text.is_empty() && !cell.quoted => {
                open = true;
                cell.quoted = true;
            }
            ',' if !open => row.push(std::mem::take(&mut cell)),
            '\r' if !open && letters.peek() == Some(&'\n') => {}
            '\n' if !open => end(&mut rows, &mut row, &mut cell),
            other => cell.text.push(other),
        }
    }
    if open {
        return Err(Error::invalid_argument("the CSV ends inside a quoted cell"));
    }
    end(&mut rows, &mut row, &mut cell);
    Ok(rows)
}

fn end(rows: &mut Vec<Vec<Cell>>, row: &mut Vec<Cell>, cell: &mut Cell) {
    let last = std::mem::take(cell);
    if row.is_empty() && last == Cell::default() {
        return;
    }
    row.push(last);
    rows.push(std::mem::take(row));
}

/// One cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) quoted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(csv: &str) -> Vec<Vec<String>> {
        let rows = parse(csv).unwrap();
        rows.into_iter().map(|row| row.into_iter().map(|cell| cell.text).collect()).collect()
    }

    #[test]
    fn quotes_line_ends_and_empty_cells() {
        assert_eq!(texts("a,b\r\n1,\n\n\"x,\"\"y\"\"\n\",2"), [["a", "b"], ["1", ""], ["x,\"y\"\n", "2"]]);
        assert_eq!(texts(""), Vec::<Vec<String>>::new());
        assert!(parse("\"a").is_err());
    }
}
