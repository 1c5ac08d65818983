//! The integration tests: one binary, a file per subject, and `support` with the real and the scripted parts.
//!
//! Every test starts its servers on free ports of the loopback interface and below one scratch directory of the process
//! (`support::scratch`), so all of them run at once. Children die with this process, however it ends. A client or a
//! server that is missing on the machine fails its test: `./test` installs them.
#![allow(clippy::unwrap_used, reason = "a test may panic: that is how it fails")]
#![allow(clippy::disallowed_methods, reason = "the laws about files and threads are the server's, not its tests'")]

mod support;

mod access;
mod access_clients;
mod access_log;
mod access_outside;
mod access_spelling;
mod access_tokens;
mod api;
mod archives;
mod audit;
mod bad_input;
mod clients;
mod config;
mod crash;
mod deploy;
mod disks;
mod du;
mod durable;
mod endurance;
mod eviction;
mod examples;
mod export;
mod failed_syncs;
mod fault_sites;
mod faults;
mod file_sending;
mod fill;
mod floors;
mod full_disk;
mod gc;
mod governor;
mod harness;
mod hosted;
mod howtos;
mod htpasswd;
mod immutable;
mod import;
mod index_agreement;
mod index_damage;
mod index_scale;
mod instructions;
mod lengthless;
mod limits;
mod listing;
mod lists;
mod liveness;
mod manage_api;
mod many;
mod memory;
mod metrics;
mod metrics_docs;
mod mirror_listener;
mod names;
mod namespaces;
mod odd_manifests;
mod outage;
mod page;
mod parsers;
mod prefetch;
mod purge;
mod push;
mod push_clients;
mod push_manifests;
mod quota;
mod ranges;
mod ranges_ahead;
mod reference;
mod reload;
mod restart;
mod rights;
mod secrets;
mod simulate;
mod sources;
mod spelling;
mod split;
mod steering;
mod tag_moves;
mod tags;
mod threats;
mod timing;
mod tls;
mod tutorials;
mod uncached;
mod upgrade;
mod upstreams;
mod vendors;
mod verify;
mod volume;
mod warm;
