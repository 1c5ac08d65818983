//! The values of labels: words defined here, never text from a request.

/// Defines an enum whose variants are the values of a label.
macro_rules! words {
    ($(#[$doc:meta])+ $name:ident { $($(#[$each:meta])+ $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$each])+ $variant,)+ }

        impl $name {
            /// All values.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The value in the exposition.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// The kind of content requested.
    Content {
        /// A manifest.
        Manifest = "manifest",
        /// A blob.
        Blob = "blob",
        /// A list of tags or of referrers.
        List = "list",
    }
}

words! {
    /// The cache's result for a request.
    CacheResult {
        /// Served from the cache without asking the upstream.
        Hit = "hit",
        /// Served from the cache after asking the upstream.
        Revalidated = "revalidated",
        /// Fetched from the upstream.
        Miss = "miss",
        /// Fetched from the upstream by another request for the same content.
        Collapsed = "collapsed",
        /// Served from the cache because the upstream cannot be asked.
        Stale = "stale",
    }
}

words! {
    /// The result of a request to an upstream.
    UpstreamResult {
        /// The content was returned.
        Ok = "ok",
        /// The upstream does not have it.
        NotFound = "not_found",
        /// The upstream refuses it to this server.
        Denied = "denied",
        /// Status 429.
        RateLimited = "too_many",
        /// Another 4xx status.
        ClientError = "client_error",
        /// A 5xx status.
        ServerError = "server_error",
        /// The time limit was exceeded.
        Timeout = "timeout",
        /// No connection could be made.
        Unreachable = "unreachable",
        /// The response was malformed.
        Protocol = "protocol",
    }
}

words! {
    /// The result of a fill.
    FillResult {
        /// The blob is in the cache.
        Stored = "stored",
        /// The blob was found on the disk already.
        Local = "local",
        /// The disk has no space: each reader continues with a request of its own.
        Uncached = "uncached",
        /// The bytes do not match the digest.
        Mismatch = "mismatch",
        /// Any other failure.
        Failed = "failed",
    }
}

words! {
    /// The reason for an eviction.
    EvictionReason {
        /// Space was needed.
        Room = "room",
        /// Unused for `proxy.ttl`.
        Ttl = "ttl",
        /// An operator's command: evict or purge.
        Command = "command",
    }
}

words! {
    /// The class of damaged content.
    Class {
        /// Mirrored: it can be fetched again.
        Mirrored = "mirrored",
        /// Hosted: it was pushed here.
        Hosted = "hosted",
    }
}

words! {
    /// The kinds of content that garbage collection removes.
    CollectedKind {
        /// A manifest was removed from its repository.
        Manifest = "manifest",
        /// A blob was deleted.
        Blob = "blob",
        /// An abandoned upload was removed.
        Upload = "upload",
    }
}

words! {
    /// The kinds of content that retention removes.
    RetentionKind {
        /// A tag.
        Tag = "tag",
        /// A manifest that went with a tag.
        Manifest = "manifest",
    }
}

words! {
    /// A background job.
    MaintenanceJob {
        /// Rebuilds the index from the disk.
        Rebuild = "rebuild",
        /// Drops short-lived entries from memory.
        Tidy = "tidy",
        /// Keeps the disk usage within its limits.
        Maintain = "tend",
        /// Removes unused mirrored content.
        Expire = "expire",
        /// Removes abandoned uploads.
        Purge = "purge",
        /// Asks upstreams about unconfirmed names.
        Names = "names",
        /// Collects garbage.
        Collect = "collect",
        /// Verifies stored blobs.
        Verify = "verify",
        /// Serves the admin socket.
        Commands = "commands",
        /// Fetches the images of `proxy.warm`.
        Warm = "warm",
        /// Reloads the certificate.
        Certificate = "certificate",
        /// Reads the configuration again.
        Configuration = "configuration",
        /// Sends notifications.
        Notifications = "notifications",
    }
}

words! {
    /// The result of a request to a receiver of notifications.
    NotificationResult {
        /// It took the event.
        Ok = "ok",
        /// It answered with another status than 2xx.
        Refused = "refused",
        /// It did not answer in time.
        Timeout = "timeout",
        /// No answer came.
        Unreachable = "unreachable",
    }
}

words! {
    /// The reason for which an event is not sent.
    DropReason {
        /// Too many pull events at once.
        Busy = "busy",
        /// The queue has reached its limit.
        Full = "full",
        /// A pull event could not be written.
        Failed = "failed",
        /// The event on the disk is damaged.
        Damaged = "damaged",
    }
}

words! {
    /// The route of a request.
    Route {
        /// `/v2/`
        Base = "base",
        /// `_catalog`
        Catalog = "catalog",
        /// `tags/list`
        Tags = "tags",
        /// `manifests/<reference>`
        Manifests = "manifests",
        /// `blobs/<digest>`
        Blobs = "blobs",
        /// `blobs/uploads/` and paths below.
        Uploads = "uploads",
        /// `referrers/<digest>`
        Referrers = "referrers",
        /// `/healthz` and the other health checks.
        Health = "health",
        /// `/metrics`
        Metrics = "metrics",
        /// Anything else.
        Other = "other",
    }
}
