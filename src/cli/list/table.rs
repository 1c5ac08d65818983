//! The list as a text table. The name is the last column, so that it may have any width.

use crate::{
    registry::{Completeness, ListedRepository, ListedTag, Timestamp},
    units::{age, size},
};

/// The titles of the columns before the name.
const TITLES: [&str; 4] = ["SIZE", "LAST USED", "AGE", "STATE"];

type Row = ([String; 4], String);

/// Returns the table's lines. `now` is the time of the listing.
pub(super) fn lines(repositories: &[ListedRepository], now: Timestamp) -> Vec<String> {
    let mut rows: Vec<Row> = vec![(TITLES.map(str::to_owned), String::new())];
    for repository in repositories {
        rows.push(repository_row(repository, now));
        rows.extend(repository.tags.iter().map(|tag| tag_row(tag, now)));
    }
    let widths: [usize; 4] =
        std::array::from_fn(|column| rows.iter().map(|(cells, _)| cells[column].len()).max().unwrap_or_default());
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn repository_row(repository: &ListedRepository, now: Timestamp) -> Row {
    let pinned = if repository.pinned { " (pinned)" } else { "" };
    let cells = [size(repository.size), ago(repository.last_used, now), String::new(), String::new()];
    (cells, format!("{}{pinned}", repository.repository))
}

fn tag_row(tag: &ListedTag, now: Timestamp) -> Row {
    let state = match tag.state {
        Completeness::Complete => "complete",
        Completeness::Partial => "partial",
        Completeness::Holes => "holes",
    };
    ([size(tag.size), ago(tag.last_used, now), ago(tag.since, now), state.to_owned()], format!("  :{}", tag.tag))
}

fn ago(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "-".to_owned(), |time| age(now.0.saturating_sub(time.0)))
}

/// Aligns sizes to the right, and the rest to the left.
fn line((cells, name): &Row, widths: &[usize; 4]) -> String {
    let [bytes, used, since, state] = cells;
    let [a, b, c, d] = *widths;
    format!("{bytes:>a$}  {used:<b$}  {since:<c$}  {state:<d$}  {name}").trim_end().to_owned()
}
