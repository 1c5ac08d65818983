//! Charts of the cache's activity: the geometry of their bars, which a template draws as SVG.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::text;
use crate::{
    index::{Activity, Period},
    units,
};

/// The width and the height of a chart, in its own units.
const WIDTH: u64 = 720;
const HEIGHT: u64 = 120;

/// A chart with a bar for each slot of a period.
pub(super) struct Chart {
    /// Its name.
    pub(super) title: &'static str,
    /// The sum of the period, in words: it replaces the drawing for those who do not see it.
    pub(super) summary: String,
    /// The largest value, at the top.
    pub(super) top: String,
    pub(super) bars: Vec<Bar>,
    pub(super) width: u64,
    pub(super) height: u64,
}

/// A bar, which stands on the bottom or on another bar.
pub(super) struct Bar {
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) width: u64,
    pub(super) height: u64,
    /// The name of its colour.
    pub(super) class: &'static str,
    /// Its values in words, shown under the pointer.
    pub(super) title: String,
}

/// The activity of a period, with the empty slots.
struct Slots<'a> {
    period: Period,
    now: SystemTime,
    recorded: &'a [(SystemTime, Activity)],
}

impl Slots<'_> {
    /// Returns each slot's place from the left, its start, and its activity if there is a record.
    fn each(&self) -> impl Iterator<Item = (u64, SystemTime, Activity)> {
        let length = self.period.slot().as_secs();
        let number = move |at: SystemTime| at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / length);
        let first = (number(self.now) + 1).saturating_sub(self.period.slots());
        let place = move |at| number(at).checked_sub(first);
        let shown = self.recorded.iter().filter_map(move |(at, activity)| Some((place(*at)?, *at, *activity)));
        shown.filter(|(place, ..)| *place < self.period.slots())
    }

    fn width(&self) -> u64 {
        WIDTH / self.period.slots()
    }

    fn bar(&self, place: u64, from: u64, height: u64, class: &'static str, title: String) -> Bar {
        let width = self.width();
        let (from, height) = (from.min(HEIGHT), height.min(HEIGHT));
        Bar {
            x: place * width,
            y: HEIGHT.saturating_sub(from + height),
            width: (width - 1).max(1),
            height,
            class,
            title,
        }
    }

    fn chart(&self, title: &'static str, summary: String, top: String, bars: Vec<Bar>) -> Chart {
        Chart { title, summary, top, bars, width: WIDTH, height: HEIGHT }
    }
}

/// Returns the charts of a period that ends now.
pub(super) fn charts(period: Period, now: SystemTime, recorded: &[(SystemTime, Activity)]) -> [Chart; 2] {
    let slots = Slots { period, now, recorded };
    [hit_rate(&slots), bytes(&slots)]
}

fn hit_rate(slots: &Slots<'_>) -> Chart {
    let (mut answers, mut cached) = (0_u64, 0_u64);
    let bars = slots.each().filter(|(.., activity)| activity.answers > 0).map(|(place, at, activity)| {
        answers += activity.answers;
        cached += activity.cached;
        let title = format!("{}: {} of {} requests", clock(at), activity.cached, activity.answers);
        slots.bar(place, 0, scaled(activity.cached, activity.answers), "hit", title)
    });
    let bars = bars.collect();
    let summary = format!("{} of {answers} requests answered from the cache", text::percent(cached, answers));
    slots.chart("Hit rate", summary, "100 %".into(), bars)
}

fn bytes(slots: &Slots<'_>) -> Chart {
    let most = slots.each().map(|(.., activity)| sent(&activity)).max().unwrap_or(0);
    let (mut served, mut fetched, mut bars) = (0_u64, 0_u64, Vec::new());
    for (place, at, activity) in slots.each() {
        served += activity.served_bytes;
        fetched += activity.fetched_bytes;
        let from_upstream = scaled(activity.fetched_bytes, most);
        let said = format!(
            "{}: {} sent, {} fetched",
            clock(at),
            units::size(activity.served_bytes),
            units::size(activity.fetched_bytes)
        );
        bars.push(slots.bar(place, 0, from_upstream, "fetched", said.clone()));
        bars.push(slots.bar(place, from_upstream, scaled(saved(&activity), most), "saved", said));
    }
    let saved = served.saturating_sub(fetched);
    let summary = format!(
        "{} sent to clients, {} fetched from upstreams, {} saved",
        units::size(served),
        units::size(fetched),
        units::size(saved)
    );
    slots.chart("Bytes", summary, units::size(most), bars)
}

/// The bytes that clients got without a fetch. Prefetched bytes may be more than those sent.
fn saved(activity: &Activity) -> u64 {
    activity.served_bytes.saturating_sub(activity.fetched_bytes)
}

fn sent(activity: &Activity) -> u64 {
    activity.served_bytes.max(activity.fetched_bytes)
}

/// Returns the height of a part of the whole; at least 1 for anything.
fn scaled(part: u64, whole: u64) -> u64 {
    match (part, whole) {
        (0, _) | (_, 0) => 0,
        _ => {
            u64::try_from(u128::from(part) * u128::from(HEIGHT) / u128::from(whole)).unwrap_or(HEIGHT).clamp(1, HEIGHT)
        }
    }
}

/// Returns a time to the minute, in UTC as in the log.
fn clock(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds / 60 * 60)).to_string();
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(86_400 * 20_000 + seconds)
    }

    fn activity(answers: u64, cached: u64, served_bytes: u64, fetched_bytes: u64) -> Activity {
        Activity { answers, cached, served_bytes, fetched_bytes, ..Activity::default() }
    }

    #[test]
    fn a_slot_has_its_place_and_a_share_its_height() {
        let recorded = [(at(0), activity(4, 3, 0, 0)), (at(3540), activity(10, 10, 400, 100))];
        let [rate, bytes] = charts(Period::Hour, at(3545), &recorded);
        let shape: Vec<_> = rate.bars.iter().map(|bar| (bar.x, bar.y, bar.height)).collect();
        assert_eq!(shape, [(0, 30, 90), (59 * 12, 0, 120)]);
        assert_eq!(rate.summary, "93 % of 14 requests answered from the cache");
        let shape = bytes.bars.iter().filter(|bar| bar.height > 0).map(|bar| (bar.y, bar.height, bar.class));
        assert_eq!(shape.collect::<Vec<_>>(), [(90, 30, "fetched"), (0, 90, "saved")]);
        assert_eq!((bytes.top.as_str(), rate.bars[0].title.as_str()), ("400 B", "2024-10-04 00:00: 3 of 4 requests"));
    }

    /// A slot that has just gone out of the period, and a clock that was set back.
    #[test]
    fn slots_outside_are_not_drawn() {
        let recorded = [(at(0), activity(4, 3, 0, 0)), (at(7200), activity(1, 1, 1, 1))];
        let [rate, _] = charts(Period::Hour, at(3600), &recorded);
        assert!(rate.bars.is_empty());
    }
}
