//! Tables for people and JSON for machines.

use std::{env, fs, io, path::PathBuf};

use serde_json::Value;

/// Columns of equal width by their longest cell; the first is left-aligned, numbers to the right.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().enumerate().map(|(column, cell)| {
            let pad = " ".repeat(width(column) - cell.chars().count());
            if column == 0 { format!("{cell}{pad}") } else { format!("{pad}{cell}") }
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut text = line(head.to_vec());
    let rules: Vec<String> =
        (0..head.len())
            .map(|column| {
                if column == 0 { "-".repeat(width(0)) } else { format!("{}:", "-".repeat(width(column) - 1)) }
            })
            .collect();
    text += &line(rules.iter().map(String::as_str).collect());
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}

/// Writes a result beside the build outputs; gives the file.
///
/// # Errors
/// When it cannot be written.
pub fn write(name: &str, result: &Value) -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    // target/release/storehub-bench → target/bench
    let target = program.ancestors().nth(2).ok_or_else(|| io::Error::other("a program lies in a folder"))?;
    let folder = target.join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.json"));
    fs::write(&path, serde_json::to_vec_pretty(result)?)?;
    Ok(path)
}

/// The middle value.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    assert!(!values.is_empty(), "a median needs a value");
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up() {
        let rows =
            vec![vec!["ours".to_owned(), "12000".to_owned()], vec!["mosquitto".to_owned(), "7".to_owned()]];
        assert_eq!(
            table(&["who", "msg/s"], &rows),
            "| who       | msg/s |\n| --------- | ----: |\n| ours      | 12000 |\n| mosquitto |     7 |\n"
        );
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).total_cmp(&2.0), std::cmp::Ordering::Equal);
    }
}
