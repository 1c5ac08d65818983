//! The overview: how full the disk is and of what, what the cache saved, the upstreams, and what happens now.

use std::time::SystemTime;

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::{
    chart::{self, Chart},
    frame::Frame,
    html, text,
};
use crate::{
    http::{
        auth::authorize,
        context::{self, State},
        errors::ApiError,
    },
    index::{Activity, Period},
    lanes::Lane,
    metrics::{DiskGauges, EvictionReason, GaugeValues, Upstream},
    oci::{Action, Repository},
    registry::{self, FillState, Overview, Refused, SpaceEvent, SpaceEventKind},
    units,
};

#[derive(Template)]
#[template(path = "overview.html", config = "src/http/page/askama.toml")]
struct OverviewPage {
    frame: Frame,
    /// The state of the whole registry, for those who may see all of it.
    state: Option<StateView>,
    fills: Vec<FillRow>,
    events: Vec<EventRow>,
}

struct StateView {
    disk: DiskView,
    periods: Vec<PeriodLink>,
    charts: [Chart; 2],
    upstreams: Vec<UpstreamRow>,
}

struct DiskView {
    used: String,
    /// The most that may be used, and the reason for it.
    bound: String,
    share: String,
    classes: Vec<ClassRow>,
    is_counted: bool,
}

struct ClassRow {
    name: &'static str,
    bytes: String,
    objects: Option<u64>,
    /// The start and the length of its part of the bar, in thousandths of the bound.
    from: u64,
    length: u64,
}

struct PeriodLink {
    name: &'static str,
    is_shown: bool,
}

struct UpstreamRow {
    name: String,
    is_up: bool,
    bytes: String,
    budgets: Vec<String>,
}

struct FillRow {
    repository: String,
    digest: String,
    size: String,
    written: String,
    /// In percent; `None` while the size is unknown.
    share: Option<u64>,
    readers: usize,
}

struct EventRow {
    age: String,
    what: &'static str,
    repository: String,
    digest: String,
    bytes: String,
}

/// Shows the overview. Those who may not pull everything see their part of what happens, and no totals.
pub(super) async fn get(registry: State, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let period = period(&request);
    let look = registry.clone();
    let found = registry.lanes().run(Lane::Probe, move |io| (look.overview(io), look.activity(period))).await;
    let (overview, activity) = found.map_err(|_| registry::Error::ShuttingDown)?;
    let now = SystemTime::now();
    let Overview { gauges, fills, events } = overview;
    let sees_all = authorize::may_everywhere(&request, Action::Pull);
    let shown = |repository: &Repository| sees_all || authorize::may(&request, repository, Action::Pull);
    let template = OverviewPage {
        frame: Frame::new(&request, "Overview"),
        state: sees_all.then(|| state(&gauges, period, now, &activity)),
        fills: fills.iter().filter(|fill| shown(&fill.repository)).map(fill_row).collect(),
        events: events
            .iter()
            .filter(|event| event.repository.as_ref().map_or(sees_all, shown))
            .map(|event| event_row(event, now))
            .collect(),
    };
    Ok(html::page(&template))
}

fn period(request: &HttpRequest) -> Period {
    let wanted = context::parameter(request, "period");
    let is_wanted = |period: &Period| wanted.as_deref() == Some(name(*period));
    Period::ALL.into_iter().find(is_wanted).unwrap_or(Period::Day)
}

fn name(period: Period) -> &'static str {
    match period {
        Period::Hour => "hour",
        Period::Day => "day",
        Period::Month => "month",
    }
}

fn state(gauges: &GaugeValues, period: Period, now: SystemTime, activity: &[(SystemTime, Activity)]) -> StateView {
    let link = |each: &Period| PeriodLink { name: name(*each), is_shown: *each == period };
    let bytes_of = |upstream: &Upstream| {
        let stored = gauges.disk.upstreams.iter().find(|(name, ..)| *name == upstream.name);
        units::size(stored.map_or(0, |(_, bytes, _)| *bytes))
    };
    StateView {
        disk: disk(&gauges.disk),
        periods: Period::ALL.iter().map(link).collect(),
        charts: chart::charts(period, now, activity),
        upstreams: gauges.upstreams.iter().map(|upstream| upstream_row(upstream, bytes_of(upstream))).collect(),
    }
}

fn disk(disk: &DiskGauges) -> DiskView {
    let used: u64 = disk.bytes.iter().map(|(_, bytes)| bytes).sum();
    let allowed = disk.quota.unwrap_or(disk.filesystem.0).max(1);
    let bound = match disk.quota {
        Some(quota) => format!("{} (storage.quota)", units::size(quota)),
        None => format!("{}, the filesystem: storage.quota is not set", units::size(disk.filesystem.0)),
    };
    let mut from = 0;
    let classes = disk.bytes.iter().filter(|(_, bytes)| *bytes > 0).map(|(name, bytes)| {
        let length = u64::try_from(u128::from(*bytes) * 1000 / u128::from(allowed)).unwrap_or(1000).min(1000 - from);
        let objects = disk.objects.iter().find(|(other, _)| other == name).map(|(_, count)| *count);
        let row = ClassRow { name, bytes: units::size(*bytes), objects, from, length };
        from += length;
        row
    });
    let classes = classes.collect();
    DiskView { used: units::size(used), bound, share: text::percent(used, allowed), classes, is_counted: disk.counted }
}

fn upstream_row(upstream: &Upstream, bytes: String) -> UpstreamRow {
    let budget = |(account, limit): &(String, crate::metrics::PullRateLimit)| {
        let window =
            limit.window.map(|window| format!(" in {}", humantime::format_duration(window))).unwrap_or_default();
        format!("{account}: {} of {} pulls left{window}", limit.remaining, limit.limit)
    };
    UpstreamRow {
        name: upstream.name.clone(),
        is_up: upstream.up,
        bytes,
        budgets: upstream.budgets.iter().map(budget).collect(),
    }
}

fn fill_row(fill: &FillState) -> FillRow {
    FillRow {
        repository: fill.repository.to_string(),
        digest: fill.digest.to_string(),
        size: fill.size.map_or_else(|| "size unknown".to_owned(), units::size),
        written: units::size(fill.written),
        share: fill.size.filter(|size| *size > 0).map(|size| fill.written.min(size) * 100 / size),
        readers: fill.readers,
    }
}

fn event_row(event: &SpaceEvent, now: SystemTime) -> EventRow {
    let what = match event.kind {
        SpaceEventKind::Evicted(EvictionReason::Room) => "evicted, to make room",
        SpaceEventKind::Evicted(EvictionReason::Ttl) => "evicted, unused for proxy.ttl",
        SpaceEventKind::Evicted(EvictionReason::Command) => "evicted by a command",
        SpaceEventKind::NotStored(Refused::NoSpace) => "not stored: no space",
        SpaceEventKind::NotStored(Refused::DiskFailed) => "not stored: the disk failed",
    };
    EventRow {
        age: text::since(event.at, now),
        what,
        repository: event.repository.as_ref().map_or_else(|| "–".to_owned(), ToString::to_string),
        digest: event.digest.to_string(),
        bytes: event.bytes.map_or_else(|| "–".to_owned(), units::size),
    }
}
