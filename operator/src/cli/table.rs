//! Columns for terminals: as `ip -br` and `kubectl get` lay them out, no borders.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};

/// Lays rows out under a header, two blanks between columns.
pub(super) fn columns<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header)
        .add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}
