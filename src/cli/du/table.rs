//! The usage report as a text table. The name is the last column, so that it may have any width.

use super::document::{SourceRow, UsageDocument, UsageRow};
use crate::units::{age, size};

/// The titles of the columns before the name.
const TITLES: [&str; 5] = ["SIZE", "EXCLUSIVE", "SHARED", "OBJECTS", "LAST USED"];

struct TableRow {
    cells: [String; 5],
    name: String,
}

/// Returns the table's lines.
pub(super) fn lines(document: &UsageDocument) -> Vec<String> {
    let mut rows = vec![TableRow { cells: TITLES.map(str::to_owned), name: String::new() }];
    document.sources.iter().for_each(|source| add(&mut rows, source, document.at));
    rows.extend(rest(document));
    let width = |column: usize| rows.iter().map(|row| row.cells[column].len()).max().unwrap_or_default();
    let widths: [usize; 5] = std::array::from_fn(width);
    rows.iter().map(|row| row.line(&widths)).collect()
}

fn add(rows: &mut Vec<TableRow>, source: &SourceRow, now: u64) {
    rows.push(row(&source.weight, now, format!("{} ({})", source.source, source.class)));
    for repository in &source.repositories {
        rows.push(row(&repository.weight, now, format!("  {}", repository.name)));
        let tags = repository.tags.as_deref().unwrap_or_default();
        rows.extend(tags.iter().map(|tag| row(&tag.weight, now, format!("    :{}", tag.tag))));
        rows.extend(more(repository.tag_count.unwrap_or(0), tags.len(), "    "));
    }
    rows.extend(more(source.repository_count, source.repositories.len(), "  "));
}

fn row(weight: &UsageRow, now: u64, name: String) -> TableRow {
    let UsageRow { size: bytes, exclusive, shared, objects, used } = *weight;
    let used = used.map_or_else(|| "-".to_owned(), |used| age(now.saturating_sub(used)));
    TableRow { cells: [size(bytes), size(exclusive), size(shared), objects.to_string(), used], name }
}

/// Returns a row with the number of entries that are not shown.
fn more(all: usize, shown: usize, indent: &str) -> Option<TableRow> {
    let left = all.saturating_sub(shown);
    (left > 0).then(|| TableRow { cells: Default::default(), name: format!("{indent}(and {left} more)") })
}

/// Returns the rows of disk usage without a source, and the total.
fn rest(document: &UsageDocument) -> impl Iterator<Item = TableRow> {
    let other = &document.other;
    let parts = [
        (other.unlinked, "blobs that nothing links: `entrepot gc` removes them"),
        (other.links, "folders and links"),
        (other.staged, "files on their way in"),
        (other.quarantined, "quarantine"),
        (other.index, "index"),
        (other.other, "other files"),
    ];
    let line = |text: String, name: String| {
        let mut cells: [String; 5] = Default::default();
        cells[0] = text;
        TableRow { cells, name }
    };
    let parts =
        parts.into_iter().filter(|(bytes, _)| *bytes > 0).map(move |(bytes, name)| line(size(bytes), name.to_owned()));
    let sign = if document.changed < 0 { "-" } else { "" };
    let changed = (document.changed != 0).then(|| {
        line(format!("{sign}{}", size(document.changed.unsigned_abs())), "changed while this was counted".to_owned())
    });
    let of = document.quota.map(|quota| format!(", of a quota of {}", size(quota))).unwrap_or_default();
    let bound = document.share.filter(|_| document.quota.is_none());
    let bound = bound.map(|share| line(size(share), "for what is mirrored, since storage.quota is not set".to_owned()));
    parts.chain(changed).chain([line(size(document.total), format!("in all{of}"))]).chain(bound)
}

impl TableRow {
    /// Aligns sizes and numbers to the right, and times and names to the left.
    fn line(&self, widths: &[usize; 5]) -> String {
        let [bytes, exclusive, shared, objects, used] = &self.cells;
        let [a, b, c, d, e] = *widths;
        let line = format!("{bytes:>a$}  {exclusive:>b$}  {shared:>c$}  {objects:>d$}  {used:<e$}  {}", self.name);
        line.trim_end().to_owned()
    }
}
