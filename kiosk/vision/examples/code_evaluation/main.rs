//! Measures code reading and poses on photographs and on drawn frames, and prints one JSON document. `cargo xtask bench codes`
//! and `cargo xtask bench pose` run it and write the report.
//!
//! The photographs are not part of the repository: the variable `STOREHUB_EVAL` names them, else `shared/eval` beside the
//! checkout. Without them the document says so and has the drawn frames alone.

mod drawn;
mod photographs;

use std::env;

use anyhow::{Result, bail};
use serde_json::json;

const FORM: &str = "code-evaluation/1";

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let document = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["codes"] => json!({ "form": FORM, "photographs": photographs::read()?, "drawn": drawn::read()? }),
        ["poses"] => json!({ "form": FORM, "drawn": drawn::poses()? }),
        other => bail!("takes `codes` or `poses`, found `{}`", other.join(" ")),
    };
    println!("{document:#}");
    Ok(())
}

/// Four digits after the point.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// The value that this share of all lies below.
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let at = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(at).copied().map(rounded)
}
