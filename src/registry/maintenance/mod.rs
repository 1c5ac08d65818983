//! Maintenance of a whole volume: verification and repair, periodic work, gauges, and what operators ask for: lists,
//! purges, pins.

pub(super) mod activity;
pub(super) mod browse;
pub(super) mod content_class;
pub(super) mod evict_to;
pub(super) mod gauges;
pub(super) mod image_report;
pub(super) mod inventory;
pub(super) mod migrate_cache_volume;
pub(super) mod operations;
pub(super) mod overview;
pub(super) mod periodic;
pub(super) mod pins;
pub(super) mod purge;
pub(super) mod purge_plan;
pub(super) mod readiness;
pub(super) mod remove;
pub(super) mod remove_tag;
pub(super) mod repair;
pub(super) mod selection;
pub(super) mod verify;
pub(super) mod volume;
pub(super) mod volume_kind;
