//! The order of events, and which are dropped.

use super::*;
use crate::metrics::{GaugeValues, Metrics};

fn io() -> &'static Blocking {
    Blocking::in_test()
}

struct Fixture {
    dir: tempfile::TempDir,
    metrics: Metrics,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), metrics: Metrics::new().unwrap() }
    }

    fn open(&self, limit: u64) -> Queue {
        Queue::open(io(), self.dir.path(), limit, self.metrics.endpoint("a", &["push"])).unwrap()
    }

    fn counted(&self, series: &str) -> u64 {
        let text = self.metrics.expose(&GaugeValues::default()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)).unwrap();
        line.trim().parse().unwrap()
    }
}

fn pull(queue: &Queue, event: &str) {
    if queue.add_pull(event.to_owned()) {
        queue.write_pulls(io());
    }
}

fn push(queue: &Queue, event: &str) {
    queue.add(io(), &[event.to_owned()]).unwrap();
}

fn all(queue: &Queue) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(waiting) = queue.first(io()).unwrap() {
        queue.delivered(io(), &waiting).unwrap();
        all.push(waiting.event);
    }
    all
}

#[test]
fn pulls_and_others_come_in_one_order_over_openings() {
    let fixture = Fixture::new();
    let queue = fixture.open(1 << 20);
    push(&queue, "1");
    pull(&queue, "2");
    push(&queue, "3");
    assert!(queue.add_pull("4".into()), "not written yet");
    push(&queue, "5");
    drop(queue);
    // An opening without an event in between must not begin to number anew.
    drop(fixture.open(1 << 20));
    let queue = fixture.open(1 << 20);
    pull(&queue, "6");
    push(&queue, "7");
    assert_eq!(fixture.counted("entrepot_notification_waiting{endpoint=\"a\"}"), 7);
    assert_eq!(all(&queue), ["1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(fixture.counted("entrepot_notification_waiting{endpoint=\"a\"}"), 0);
}

#[test]
fn a_full_queue_drops_pull_events_and_then_the_oldest() {
    let fixture = Fixture::new();
    let (limit, text) = (20_000, "x".repeat(80));
    let queue = fixture.open(limit);
    let event = |number: usize| format!("{number} {text}");
    (0..100)
        .for_each(|number| if number % 2 == 0 { pull(&queue, &event(number)) } else { push(&queue, &event(number)) });
    (100..200).for_each(|number| push(&queue, &event(number)));
    let dropped = "entrepot_notification_dropped_total{endpoint=\"a\",reason=\"full\"}";
    assert!(fixture.counted(dropped) > 0);
    let left = all(&queue);
    let mut pushes = (1..100).step_by(2).chain(100..200);
    assert!(pushes.all(|number| left.contains(&event(number))), "no push was dropped");
    assert_eq!(fixture.counted(dropped) + left.len() as u64, 200);
    (200..600).for_each(|number| push(&queue, &event(number)));
    assert!(fixture.counted("entrepot_notification_queue_bytes{endpoint=\"a\"}") <= limit);
    let left = all(&queue);
    assert_eq!(left.last(), Some(&event(599)), "the oldest are dropped");
    assert_eq!(left, (600 - left.len()..600).map(event).collect::<Vec<_>>());
    assert!(left.len() > 100);
}

#[test]
fn pull_events_in_memory_are_bounded() {
    let fixture = Fixture::new();
    let queue = fixture.open(1 << 20);
    for number in 0..MAX_UNWRITTEN + 10 {
        queue.add_pull(number.to_string());
    }
    assert_eq!(fixture.counted("entrepot_notification_dropped_total{endpoint=\"a\",reason=\"busy\"}"), 10);
    queue.write_pulls(io());
    assert_eq!(all(&queue).len(), MAX_UNWRITTEN);
}
