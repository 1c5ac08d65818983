//! The mirrored bytes by upstream, and the pinned ones of them. Each entry holds its upstream and pin, and the sums
//! change with the entries, so that reading them takes no scan.

use parking_lot::{Mutex, RwLock};

use super::{BlobEntry, Index, Owner, SignedAmount, blob_record::BlobRecord, database::Database, keys};
use crate::oci::{Digest, Domain, NamePattern, Repository};

/// A sum of blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Bytes on disk.
    pub bytes: u64,
    /// The number of blobs.
    pub blobs: u64,
}

/// The mirrored bytes, pinned and by upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamUsage {
    /// The mirrored bytes that are pinned.
    pub pinned: Amount,
    /// The bytes by the upstream that a blob came from first; `None` if that is not known.
    pub upstreams: Vec<(Option<Domain>, Amount)>,
}

/// The sums, the numbers of upstreams, and the pinned patterns.
#[derive(Debug, Default)]
pub(super) struct UpstreamTotals {
    /// The upstreams; an upstream's number is its position plus 1. Numbers are stored in the index, and 0 means "not
    /// known".
    domains: RwLock<Vec<Domain>>,
    pins: RwLock<Vec<NamePattern>>,
    sums: Mutex<Sums>,
}

#[derive(Clone, Debug, Default)]
struct Sums {
    pinned: SignedAmount,
    /// Indexed by the number of the upstream.
    upstreams: Vec<SignedAmount>,
}

impl Sums {
    fn add(&mut self, entry: &BlobEntry, sign: i64) {
        if entry.owner != Owner::Mirrored {
            return;
        }
        let bytes = sign * i64::try_from(entry.allocated).unwrap_or(i64::MAX);
        let add = |sum: &mut SignedAmount| {
            sum.bytes += bytes;
            sum.blobs += sign;
        };
        if entry.pinned {
            add(&mut self.pinned);
        }
        let number = usize::from(entry.upstream);
        if self.upstreams.len() <= number {
            self.upstreams.resize(number + 1, SignedAmount::default());
        }
        add(&mut self.upstreams[number]);
    }

    fn encode(&self) -> Vec<u8> {
        let all = std::iter::once(&self.pinned).chain(&self.upstreams);
        all.flat_map(|sum| [sum.bytes.to_be_bytes(), sum.blobs.to_be_bytes()].concat()).collect()
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let number = |bytes: &[u8]| bytes.try_into().ok().map(i64::from_be_bytes);
        let sum = |pair: &[u8]| Some(SignedAmount { bytes: number(pair.get(..8)?)?, blobs: number(pair.get(8..)?)? });
        let mut sums = value.chunks(16).map(sum).collect::<Option<Vec<_>>>()?;
        (!sums.is_empty()).then(|| Self { pinned: sums.remove(0), upstreams: sums })
    }
}

impl UpstreamTotals {
    /// Adds the change of an entry to the sums.
    pub(super) fn shift(&self, before: Option<&BlobEntry>, after: Option<&BlobEntry>) {
        let mut sums = self.sums.lock();
        before.iter().for_each(|entry| sums.add(entry, -1));
        after.iter().for_each(|entry| sums.add(entry, 1));
    }

    /// Replaces the sums by those over all entries.
    pub(super) fn recount(&self, all: impl FnOnce(&mut dyn FnMut(&BlobEntry))) {
        let mut sums = Sums::default();
        all(&mut |entry| sums.add(entry, 1));
        *self.sums.lock() = sums;
    }

    fn is_pinned(&self, repository: &Repository) -> bool {
        self.pins.read().iter().any(|pattern| pattern.matches_repository(repository))
    }
}

impl Index {
    /// Sets the patterns of the mirrored repositories that are pinned. Called before any entry changes.
    pub fn set_pins(&self, patterns: Vec<NamePattern>) {
        *self.upstream_totals.pins.write() = patterns;
    }

    /// Updates every entry after the patterns changed.
    pub fn refresh_pins(&self) {
        self.blob_batches().flatten().for_each(|digest| self.reattribute(&digest));
    }

    /// Returns the current sums.
    #[must_use]
    pub fn upstream_usage(&self) -> UpstreamUsage {
        let sums = self.upstream_totals.sums.lock().clone();
        let domains = self.upstream_totals.domains.read();
        let amount = |sum: SignedAmount| Amount {
            bytes: sum.bytes.max(0).unsigned_abs(),
            blobs: sum.blobs.max(0).unsigned_abs(),
        };
        let named = |(number, sum): (usize, SignedAmount)| {
            (number.checked_sub(1).and_then(|position| domains.get(position).cloned()), amount(sum))
        };
        let upstreams = sums.upstreams.into_iter().enumerate().map(named);
        UpstreamUsage { pinned: amount(sums.pinned), upstreams: upstreams.collect() }
    }

    /// Returns the upstream that a blob came from first; `None` if that is not known.
    #[must_use]
    pub fn upstream(&self, entry: &BlobEntry) -> Option<Domain> {
        self.upstream_totals.domains.read().get(usize::from(entry.upstream).checked_sub(1)?).cloned()
    }

    /// Attributes a blob to the upstream of a mirrored repository that links it now.
    pub(super) fn attribute(&self, digest: &Digest, repository: &Repository) {
        if repository.domain.is_none() {
            return;
        }
        let pinned = self.upstream_totals.is_pinned(repository);
        let is_attributed = |entry: &BlobEntry| entry.upstream != 0 && entry.pinned >= pinned;
        if self.blob_entry(digest).as_ref().is_none_or(is_attributed) {
            return;
        }
        self.change_entry(digest, |entry| self.attributed_to(repository, entry));
    }

    /// Returns the entry with the upstream and pin that a link of a repository adds. A hosted one has none.
    pub(super) fn attributed_to(&self, repository: &Repository, entry: BlobEntry) -> BlobEntry {
        let Some(domain) = &repository.domain else { return entry };
        let upstream = if entry.upstream == 0 { self.number(domain) } else { entry.upstream };
        BlobEntry { upstream, pinned: entry.pinned || self.upstream_totals.is_pinned(repository), ..entry }
    }

    fn change_entry(&self, digest: &Digest, change: impl FnOnce(BlobEntry) -> BlobEntry) {
        self.change(digest, |before| BlobRecord { entry: before.entry.map(change), ..before });
    }

    /// Updates the attribution of a blob whose link was removed. A hosted repository's link has none.
    pub(super) fn unattribute(&self, digest: &Digest, repository: &Repository) {
        let Some(entry) = self.blob_entry(digest).filter(|_| repository.domain.is_some()) else { return };
        let upstream = self.attributed_upstream(digest, &entry);
        let pinned = entry.pinned && (!self.upstream_totals.is_pinned(repository) || self.is_pinned(digest));
        if (upstream, pinned) != (entry.upstream, entry.pinned) {
            self.change_entry(digest, |entry| BlobEntry { upstream, pinned, ..entry });
        }
    }

    /// Updates the attribution of a blob after a link to it was removed or the pins changed.
    pub(super) fn reattribute(&self, digest: &Digest) {
        if self.blob_entry(digest).is_some_and(|entry| self.attributed(digest, entry) != entry) {
            self.change_entry(digest, |entry| self.attributed(digest, entry));
        }
    }

    /// Returns the entry with the upstream and pin that its links give it. A blob that no mirrored repository links
    /// keeps its upstream.
    pub(super) fn attributed(&self, digest: &Digest, entry: BlobEntry) -> BlobEntry {
        BlobEntry { upstream: self.attributed_upstream(digest, &entry), pinned: self.is_pinned(digest), ..entry }
    }

    /// Takes the same time for any number of repositories that link the blob.
    fn attributed_upstream(&self, digest: &Digest, entry: &BlobEntry) -> u8 {
        match self.first_mirrored_holder(digest) {
            Some(_) if self.upstream(entry).is_some_and(|domain| self.is_held_in(digest, &domain)) => entry.upstream,
            Some(first) => first.domain.as_ref().map_or(0, |domain| self.number(domain)),
            None => entry.upstream,
        }
    }

    /// The keys of mirrored holders sort after those of hosted ones, whose domain is empty.
    fn first_mirrored_holder(&self, digest: &Digest) -> Option<Repository> {
        let prefix = keys::holders(digest);
        let (from, until) = ([&prefix[..], &[1]].concat(), [&prefix[..], &[u8::MAX]].concat());
        let first = self.database.range(|trees| &trees.holders, &from, &until, 1)?;
        keys::to_repository(first.first()?.get(prefix.len()..)?)
    }

    /// Returns whether a repository of this upstream links a blob.
    fn is_held_in(&self, digest: &Digest, domain: &Domain) -> bool {
        let prefix = [keys::holders(digest), keys::home(Some(domain))].concat();
        self.database.keys(|trees| &trees.holders, &prefix, &[], 1).is_some_and(|found| !found.is_empty())
    }

    /// Returns whether a mirrored repository that links a blob is pinned. Reads all of them.
    fn is_pinned(&self, digest: &Digest) -> bool {
        let mut pinned = false;
        if self.upstream_totals.pins.read().is_empty() {
            return false;
        }
        let visit = |key: &[u8], _: &[u8]| {
            let repository = keys::to_repository(key).filter(|repository| repository.domain.is_some());
            pinned = repository.is_some_and(|repository| self.upstream_totals.is_pinned(&repository));
            !pinned
        };
        self.database.scan(|trees| &trees.holders, &keys::holders(digest), visit);
        pinned
    }

    /// Returns an upstream's number, assigning one if need be; 0 for the 256th, and while the assigned numbers are not
    /// known.
    fn number(&self, domain: &Domain) -> u8 {
        if self.database.is_unopened() {
            return 0;
        }
        let position = |domains: &[Domain]| domains.iter().position(|known| known == domain);
        let known = position(&self.upstream_totals.domains.read());
        let position = known.unwrap_or_else(|| {
            let mut domains = self.upstream_totals.domains.write();
            position(&domains).unwrap_or_else(|| {
                domains.push(domain.clone());
                let names: Vec<_> = domains.iter().map(Domain::as_str).collect();
                self.database.put(|trees| &trees.meta, keys::UPSTREAMS, names.join("\n").as_bytes());
                domains.len() - 1
            })
        });
        u8::try_from(position + 1).unwrap_or(0)
    }

    /// Loads the numbers from a database, and the sums too if they were `right` when it was closed.
    pub(super) fn load_upstream_totals(&self, database: &Database, right: bool) {
        let names = database.get(|trees| &trees.meta, keys::UPSTREAMS).unwrap_or_default();
        let names = std::str::from_utf8(&names).unwrap_or_default();
        *self.upstream_totals.domains.write() = names.lines().filter_map(|name| name.parse().ok()).collect();
        let sums = database.get(|trees| &trees.meta, keys::UPSTREAM_SUMS).filter(|_| right);
        *self.upstream_totals.sums.lock() = sums.and_then(|value| Sums::decode(&value)).unwrap_or_default();
    }

    pub(super) fn save_upstream_totals(&self) {
        let sums = self.upstream_totals.sums.lock().encode();
        self.database.put(|trees| &trees.meta, keys::UPSTREAM_SUMS, &sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Arrival, BlobKind, Closing, LedgerTotals, Link, Origins, VerifiedStamp};

    const LAYER: Link = Link { layer: true, revision: false, named: None, wanted: false };

    fn place(domain: &str, name: &str) -> Repository {
        Repository { domain: Some(domain.parse().unwrap()), name: name.parse().unwrap() }
    }

    fn bring(index: &Index, digest: &Digest, place: &Repository) {
        let (stamp, origins) =
            (VerifiedStamp { size: 1, mtime: 1, inode: 1 }, Origins { mirrored: true, hosted: false });
        index.published(digest, &Arrival { stamp, allocated: 4096, origins, kind: BlobKind::Blob, now: 1 });
        index.add_link(place, digest, LAYER);
    }

    fn amount(bytes: u64, blobs: u64) -> Amount {
        Amount { bytes, blobs }
    }

    fn of(index: &Index, domain: &str) -> Amount {
        let domain = domain.parse().ok();
        let usage = index.upstream_usage();
        usage.upstreams.iter().find(|(known, _)| *known == domain).map_or(amount(0, 0), |(_, amount)| *amount)
    }

    #[test]
    fn a_blob_is_its_first_upstreams_until_that_lets_go_of_it() {
        let dir = tempfile::TempDir::new().unwrap();
        let index = Index::open(dir.path());
        let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        let (a, b) = (place("a.example", "x"), place("b.example", "x"));
        bring(&index, &one, &a);
        bring(&index, &two, &b);
        index.add_link(&b, &one, LAYER);
        assert_eq!((of(&index, "a.example"), of(&index, "b.example")), (amount(4096, 1), amount(4096, 1)));
        index.remove_link(&a, &one, LAYER);
        assert_eq!((of(&index, "a.example"), of(&index, "b.example")), (amount(0, 0), amount(8192, 2)));
        index.kept_for_push(&two);
        assert_eq!(of(&index, "b.example"), amount(4096, 1), "what was pushed is nobody else's");
        index.removed(&one);
        assert_eq!(of(&index, "b.example"), amount(0, 0));
    }

    /// The config `{}` may be in ten thousand repositories: removing one link must not take longer for that.
    #[test]
    fn a_link_goes_at_the_same_cost_however_many_there_are() {
        let dir = tempfile::TempDir::new().unwrap();
        let index = Index::open(dir.path());
        let digest = Digest::sha256(b"{}");
        let a_hundred_go = |others: u32| {
            let names = |range: std::ops::Range<u32>| range.map(|number| place("a.example", &format!("n{number}")));
            bring(&index, &digest, &place("a.example", "first"));
            names(0..others).for_each(|place| index.add_link(&place, &digest, LAYER));
            let began = std::time::Instant::now();
            names(0..100).for_each(|place| index.remove_link(&place, &digest, LAYER));
            let hosted = Repository { domain: None, name: "mine".parse().unwrap() };
            (0..100).for_each(|_| index.remove_link(&hosted, &digest, LAYER));
            let took = began.elapsed();
            names(100..others).for_each(|place| index.remove_link(&place, &digest, LAYER));
            took
        };
        // The best of several runs, as the machine may be busy.
        let best = |others| (0..4).map(|_| a_hundred_go(others)).min().unwrap();
        let (few, many) = (best(100), best(10_000));
        assert!(many < few * 10, "{many:?} among ten thousand, {few:?} among a hundred");
    }

    #[test]
    fn pins_are_counted_and_counted_anew() {
        let dir = tempfile::TempDir::new().unwrap();
        let index = Index::open(dir.path());
        index.set_pins(vec!["library/*".parse().unwrap()]);
        let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        let (pinned, other) = (place("docker.io", "library/a"), place("docker.io", "user/a"));
        bring(&index, &one, &other);
        bring(&index, &two, &other);
        assert_eq!(index.upstream_usage().pinned, amount(0, 0));
        index.add_link(&pinned, &one, LAYER);
        assert_eq!(index.upstream_usage().pinned, amount(4096, 1));
        index.set_pins(vec!["user/*".parse().unwrap()]);
        index.refresh_pins();
        assert_eq!(index.upstream_usage().pinned, amount(8192, 2));
        index.remove_link(&other, &two, LAYER);
        assert_eq!(index.upstream_usage().pinned, amount(4096, 1));
    }

    #[test]
    fn sums_are_taken_over_or_counted() {
        let dir = tempfile::TempDir::new().unwrap();
        let index = Index::open(dir.path());
        index.set_pins(vec!["x".parse().unwrap()]);
        bring(&index, &Digest::sha256(b"1"), &place("a.example", "x"));
        let before = index.upstream_usage();
        index.set_complete();
        index.close(Closing::Quiet(Some(LedgerTotals::default())));
        drop(index);
        let index = Index::open(dir.path());
        assert_eq!(index.upstream_usage(), before, "after a clean stop");
        drop(index);
        let index = Index::open(dir.path());
        assert_eq!(index.upstream_usage().pinned, amount(0, 0), "after a kill nothing is known");
        index.count(|_| (), || ());
        assert_eq!(index.upstream_usage(), before, "until it is counted");
    }
}
