//! The cache's rules, the results of replays, and the properties of synthetic traces.

mod csv;

use std::collections::HashMap;

use super::{
    cache::Cache,
    random::{Random, Zipf},
    trace::{Id, Object},
    *,
};

fn blob(size: u64) -> Object {
    Object { size, kind: ObjectKind::Blob }
}

fn counts(objects: &[Object], policy: Policy, capacity: u64, tiered: bool, requests: &[Id]) -> Counts {
    let mut cache = Cache::new(objects, policy, capacity, tiered);
    requests.iter().for_each(|id| cache.request(*id));
    cache.counts()
}

#[test]
fn manifests_and_configs_go_last() {
    let objects = [
        Object { size: 10, kind: ObjectKind::Manifest },
        Object { size: 10, kind: ObjectKind::Config },
        blob(25),
        blob(25),
        blob(25),
        blob(25),
    ];
    let requests = [0, 1, 2, 3, 4, 5, 2, 0, 1];
    let tiered = counts(&objects, Policy::Lru, 100, true, &requests);
    assert_eq!((tiered.object_hits, tiered.manifest_gets), (2, 1), "0 and 1 are still there");
    let flat = counts(&objects, Policy::Lru, 100, false, &requests);
    assert_eq!((flat.object_hits, flat.manifest_gets), (1, 2), "0 and 1 went for 5: 2 is still there");
    // If no blob is left, manifests are evicted too.
    let manifests: Vec<Object> = [10; 20].map(|size| Object { size, kind: ObjectKind::Manifest }).into();
    let requests: Vec<Id> = (0..20).chain(0..20).collect();
    assert_eq!(counts(&manifests, Policy::Lru, 100, true, &requests).manifest_gets, 40);
}

#[test]
fn what_is_larger_than_a_quarter_of_the_cache_streams_through() {
    let objects = [blob(25), blob(26), blob(25)];
    for policy in Policy::ALL {
        let counts = counts(&objects, policy, 100, true, &[0, 1, 2, 1, 0, 2]);
        assert_eq!((counts.object_hits, counts.streamed, counts.byte_hits), (2, 2, 50), "{policy:?}");
    }
}

#[test]
fn no_policy_beats_a_cache_without_bounds_nor_falls_below_nothing() {
    let trace = small(ImitatedRegistry::Hub, 20_000).trace();
    let report = replay(&trace, Tiers::Flat, |_| {});
    assert_eq!(report.unbounded.object_hits, (trace.requests() - trace.objects()) as u64);
    assert_eq!(report.rows.len(), Policy::ALL.len() * PERCENTS.len());
    for row in &report.rows {
        let Counts { requests, object_hits, byte_hits, manifest_gets, .. } = row.counts;
        assert_eq!(requests, 20_000);
        assert!(object_hits <= report.unbounded.object_hits && byte_hits <= report.unbounded.byte_hits, "{row:?}");
        assert!(manifest_gets >= report.unbounded.manifest_gets, "{row:?}");
        assert!(object_hits > 0, "{row:?}");
    }
    assert!(report.scores.iter().all(|score| score.score > 0.3 && score.score <= 1.0), "{:?}", report.scores);
}

#[test]
fn progress_ends_at_the_whole() {
    let progress = std::sync::Mutex::new(Vec::new());
    replay(&small(ImitatedRegistry::Ibm, 1_000).trace(), Tiers::Tiered, |part| progress.lock().unwrap().push(part));
    let progress = progress.into_inner().unwrap();
    assert_eq!(progress.len(), 24);
    assert!(progress.iter().any(|part| (part - 1.0).abs() < 1e-9), "{progress:?}");
}

fn small(registry: ImitatedRegistry, requests: u32) -> Synthetic {
    Synthetic { registry, zipf: 1.05, seed: 1, requests }
}

/// The sizes of a trace's layers, in ascending order.
fn layers(registry: ImitatedRegistry) -> Vec<u64> {
    let trace = small(registry, 300_000).trace();
    let mut sizes: Vec<u64> =
        trace.objects.iter().filter(|object| object.kind == ObjectKind::Blob).map(|object| object.size).collect();
    sizes.sort_unstable();
    assert!(sizes.len() > 30_000);
    sizes
}

fn share_below(sorted: &[u64], limit: u64) -> f64 {
    sorted.partition_point(|size| *size < limit) as f64 / sorted.len() as f64
}

#[test]
fn layers_are_as_large_as_in_ibms_registries() {
    let sizes = layers(ImitatedRegistry::Ibm);
    let (one, ten) = (share_below(&sizes, 1_000_000), share_below(&sizes, 10_000_000));
    assert!((one - 0.65).abs() < 0.01, "{one} are under 1 MB");
    assert!((ten - 0.80).abs() < 0.01, "{ten} are under 10 MB");
    assert_eq!(sizes.last(), Some(&2_000_000_000), "cut at 2 GB");
}

#[test]
fn layers_are_as_large_as_on_the_hub() {
    let sizes = layers(ImitatedRegistry::Hub);
    let median = sizes[sizes.len() / 2] as f64;
    assert!((median / 4e6 - 1.0).abs() < 0.05, "a median of {median}");
    // σ is the distance of the 84th percentile from the median, in powers of e.
    let spread = (sizes[sizes.len() * 8413 / 10_000] as f64 / median).ln();
    assert!((spread - 2.15).abs() < 0.05, "σ of {spread}");
}

#[test]
fn images_are_drawn_by_zipfs_law() {
    let (zipf, mut random) = (Zipf::new(50_000, 0.9), Random::new(3));
    let mut drawn = vec![0_u32; 50_000];
    (0..1_000_000).for_each(|_| drawn[zipf.draw(&mut random)] += 1);
    for rank in [2_usize, 10, 100] {
        let (expected, found) = ((rank as f64).powf(-0.9), f64::from(drawn[rank - 1]) / f64::from(drawn[0]));
        assert!((found / expected - 1.0).abs() < 0.1, "rank {rank}: {found} for {expected}");
    }
}

#[test]
fn a_seed_makes_the_same_trace_and_another_seed_another() {
    let one = small(ImitatedRegistry::Ibm, 5_000);
    assert_eq!(one.trace(), one.trace());
    assert_ne!(one.trace(), Synthetic { seed: 2, ..one }.trace());
    assert_eq!(one.trace().requests(), 5_000);
    assert!(one.trace().seconds() > 0.0);
}

#[test]
fn a_written_trace_is_read_as_the_same() {
    let made = small(ImitatedRegistry::Hub, 20_000);
    let mut text = Vec::new();
    made.write(&mut text).unwrap();
    let (read, made) = (read(&text[..], |_| {}).unwrap(), made.trace());
    assert_eq!((&read.objects, &read.requests), (&made.objects, &made.requests));
    assert_eq!(read.repositories(), made.repositories());
    assert!((read.seconds() - made.seconds()).abs() < made.seconds() * 0.01);
}

#[test]
fn there_are_one_hit_images_new_tags_and_storms() {
    let mut text = Vec::new();
    small(ImitatedRegistry::Hub, 300_000).write(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let columns: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let manifests = columns.iter().filter(|line| line[4] == "manifest");
    let (mut built, mut by_image, mut at_once) = (HashMap::new(), HashMap::<_, Vec<_>>::new(), HashMap::new());
    for line in manifests {
        if line[1].starts_with("ci/") {
            *built.entry(line[2]).or_insert(0) += 1;
        } else {
            by_image.entry(line[1]).or_default().push(line[2]);
        }
        *at_once.entry((line[0], line[2])).or_insert(0_usize) += 1;
    }
    assert!(built.len() > 1000 && built.values().all(|asked| *asked == 1), "images of builds are pulled once");
    let popular = by_image.values_mut().max_by_key(|pulls| pulls.len()).unwrap();
    popular.sort_unstable();
    popular.dedup();
    assert!(popular.len() > 3, "new versions over time: {}", popular.len());
    let storms: Vec<usize> = at_once.values().copied().filter(|clients| *clients > 1).collect();
    assert!(storms.len() > 20, "{}", storms.len());
    assert!(storms.iter().all(|clients| (10..=200).contains(clients)), "{storms:?}");
}

#[test]
fn images_have_a_median_of_eight_layers_and_share_them() {
    let (mut images, mut random) = (images::Images::new(ImitatedRegistry::Hub, 2_000), Random::new(5));
    let mut used = HashMap::<Id, u32>::new();
    let mut counts: Vec<usize> = (0..2_000)
        .map(|image| {
            let first = images.versions(image, 0.0, &mut random)[0].clone();
            first.layers.iter().for_each(|layer| *used.entry(*layer).or_default() += 1);
            first.layers.len()
        })
        .collect();
    counts.sort_unstable();
    assert_eq!(counts[1_000], 8, "the median");
    assert!(used.values().any(|images| *images > 100), "some layer is in every tenth image");
}
