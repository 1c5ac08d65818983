//! Tests of sorting and cutting a usage report.

use super::*;

fn weight(size: u64, exclusive: u64, used: Option<u64>) -> admin::UsageFigures {
    admin::UsageFigures { size, exclusive, objects: 1, used }
}

fn repository(domain: Option<&str>, name: &str, weight: admin::UsageFigures) -> AdminResponse {
    AdminResponse::Repository(admin::RepositoryUsage {
        domain: domain.map(str::to_owned),
        name: name.to_owned(),
        weight,
    })
}

fn tag(tag: &str, size: u64) -> AdminResponse {
    AdminResponse::Tag(admin::TagUsage { tag: tag.to_owned(), digest: String::new(), weight: weight(size, 0, Some(1)) })
}

fn source(domain: Option<&str>, size: u64) -> AdminResponse {
    AdminResponse::Source(admin::SourceUsage { domain: domain.map(str::to_owned), weight: weight(size, size, Some(1)) })
}

fn answers() -> Vec<AdminResponse> {
    vec![
        source(None, 10),
        source(Some("docker.io"), 90),
        repository(None, "large", weight(9, 1, Some(30))),
        tag("small", 1),
        tag("large", 2),
        repository(None, "lonely", weight(5, 5, Some(20))),
        repository(None, "old", weight(1, 1, Some(10))),
        repository(Some("docker.io"), "old", weight(1, 1, Some(10))),
        AdminResponse::Counted(admin::DiskUsage { total: 100, ..admin::DiskUsage::default() }),
    ]
}

fn document(sort: SortOrder, top: Option<u64>, tags: Option<&str>) -> Option<UsageDocument> {
    UsageDocument::new(answers(), &Choice { sort, top, tags: tags.map(|pattern| pattern.parse().unwrap()) })
}

fn names(source: &SourceRow) -> Vec<&str> {
    source.repositories.iter().map(|repository| repository.name.as_str()).collect()
}

#[test]
fn what_is_asked_for_comes_first() {
    for (sort, first) in [
        (SortOrder::Size, ["large", "lonely", "old"]),
        (SortOrder::Exclusive, ["lonely", "large", "old"]),
        (SortOrder::Used, ["old", "lonely", "large"]),
    ] {
        let document = document(sort, None, None).unwrap();
        let sources: Vec<_> = document.sources.iter().map(|source| source.source.as_str()).collect();
        assert_eq!((sources, names(&document.sources[1])), (vec!["docker.io", "pushed"], first.to_vec()));
    }
}

#[test]
fn what_is_cut_is_counted() {
    let document = document(SortOrder::Size, Some(1), Some("**")).unwrap();
    let pushed = &document.sources[1];
    assert_eq!((names(pushed), pushed.repository_count), (vec!["large"], 3));
    let large = &pushed.repositories[0];
    let tags = large.tags.as_ref().unwrap();
    assert_eq!((tags.len(), tags[0].tag.as_str(), large.tag_count), (1, "large", Some(2)));
}

#[test]
fn only_what_is_named_is_shown() {
    let all = document(SortOrder::Size, None, None).unwrap();
    assert!(all.sources.iter().flat_map(|source| &source.repositories).all(|repository| repository.tags.is_none()));
    let named = document(SortOrder::Size, None, Some("old")).unwrap();
    assert_eq!((names(&named.sources[0]), names(&named.sources[1])), (vec!["old"], vec!["old"]));
    assert_eq!(named.sources[1].repository_count, 3);
    let theirs = document(SortOrder::Size, None, Some("docker.io/*")).unwrap();
    assert_eq!((names(&theirs.sources[0]), names(&theirs.sources[1])), (vec!["old"], vec![]));
    assert!(document(SortOrder::Size, None, Some("nowhere")).is_none());
}
