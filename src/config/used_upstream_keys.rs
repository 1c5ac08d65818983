//! The keys of `proxy.upstreams`, a constant each. `*` stands for the registry's host.

use super::{
    key::{
        Key,
        ValueKind::{Duration, Flag, List, Path, Text, Upstreams, Url},
    },
    used_keys::used,
};

pub(super) const PROXY_UPSTREAMS: Key =
    used("proxy.upstreams", Upstreams, "", "The registries that are mirrored besides docker.io. Extension.");
pub(super) const UPSTREAM_ENABLED: Key = used(
    "proxy.upstreams.*.enabled",
    Flag,
    "true",
    "False turns the registry off; for docker.io, which is mirrored otherwise. Extension.",
);
pub(super) const UPSTREAM_URL: Key =
    used("proxy.upstreams.*.url", Url, "", "Its URL. Unset: https and the host. Extension.");
pub(super) const UPSTREAM_MIRRORS: Key = used(
    "proxy.upstreams.*.mirrors",
    List,
    "",
    "URLs with the same content, asked in this order when the ones before fail; each may have a user. Extension.",
);
pub(super) const UPSTREAM_USERNAME: Key =
    used("proxy.upstreams.*.username", Text, "", "The user name there. Extension.");
pub(super) const UPSTREAM_PASSWORD: Key =
    Key { secret: true, ..used("proxy.upstreams.*.password", Text, "", "That user's password. Extension.") };
pub(super) const UPSTREAM_PASSWORDFILE: Key =
    used("proxy.upstreams.*.passwordfile", Path, "", "A file with the password. Extension.");
pub(super) const UPSTREAM_ACCOUNTS: Key = used(
    "proxy.upstreams.*.accounts",
    List,
    "",
    "Several accounts, each with `username` and `password` or `passwordfile`: the one with the most pulls left is \
     used. Each must be able to read all that is mirrored. Extension.",
);
pub(super) const UPSTREAM_EXEC_COMMAND: Key = used(
    "proxy.upstreams.*.exec.command",
    Path,
    "",
    "A docker credential helper, which prints the account. Extension.",
);
pub(super) const UPSTREAM_EXEC_LIFETIME: Key = used(
    "proxy.upstreams.*.exec.lifetime",
    Duration,
    "0",
    "The time for which its output is used; 0: until the upstream refuses it. Extension.",
);
pub(super) const UPSTREAM_CA: Key = used(
    "proxy.upstreams.*.ca",
    Path,
    "",
    "A PEM file of authorities that are trusted besides the machine's own. Extension.",
);
pub(super) const UPSTREAM_INSECURE: Key = used(
    "proxy.upstreams.*.insecure",
    Flag,
    "false",
    "Accepts every certificate at its URL, and so any server in its place; those of mirrors at other hosts are checked. Extension.",
);
pub(super) const UPSTREAM_REALM: Key = used("proxy.upstreams.*.realm", Url, "", "As `proxy.realm`. Extension.");
pub(super) const UPSTREAM_REDIRECTS: Key =
    used("proxy.upstreams.*.redirects", List, "", "As `proxy.redirects`. Extension.");
pub(super) const UPSTREAM_FRESHNESS: Key =
    used("proxy.upstreams.*.freshness", Duration, "", "In place of `proxy.freshness`. Extension.");
pub(super) const UPSTREAM_TTL: Key = used("proxy.upstreams.*.ttl", Duration, "", "In place of `proxy.ttl`. Extension.");
pub(super) const UPSTREAM_ALLOW: Key = used(
    "proxy.upstreams.*.allow",
    List,
    "",
    "Patterns of the repositories that are mirrored, as in `proxy.hosted`. Unset: all. Extension.",
);
pub(super) const UPSTREAM_DENY: Key = used(
    "proxy.upstreams.*.deny",
    List,
    "",
    "Patterns of repositories that are not, even if they are allowed. Extension.",
);
