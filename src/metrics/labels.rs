//! What labels may say: words of this program's own, never a request's.

/// Words that a label may hold.
macro_rules! words {
    ($(#[$doc:meta])+ $name:ident { $($(#[$each:meta])+ $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$each])+ $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// As the label has it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// What was asked for.
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
    /// How the cache answered.
    CacheResult {
        /// From the cache, without asking.
        Hit = "hit",
        /// From the cache, after asking.
        Revalidated = "revalidated",
        /// From the upstream.
        Miss = "miss",
        /// From the upstream, through somebody else's request.
        Collapsed = "collapsed",
        /// From the cache, for want of anything better.
        Stale = "stale",
    }
}

words! {
    /// How a question to an upstream ended.
    UpstreamResult {
        /// With what was asked for.
        Ok = "ok",
        /// It does not have it.
        NotFound = "not_found",
        /// It does not give it to this server.
        Denied = "denied",
        /// 429.
        TooMany = "too_many",
        /// Another 4xx.
        ClientError = "client_error",
        /// 5xx.
        ServerError = "server_error",
        /// It took too long.
        Timeout = "timeout",
        /// There was no connection to be had.
        Unreachable = "unreachable",
        /// Its answer was none.
        Protocol = "protocol",
    }
}

words! {
    /// How a fill ended.
    FillResult {
        /// The blob is in the cache.
        Stored = "stored",
        /// Its bytes were here all along.
        Local = "local",
        /// The disk took no more: each reader went on alone.
        Uncached = "uncached",
        /// The bytes did not hash to the digest.
        Mismatch = "mismatch",
        /// Otherwise.
        Failed = "failed",
    }
}

words! {
    /// Why something made way.
    Reason {
        /// Room was needed.
        Room = "room",
        /// Nobody asked for it in `proxy.ttl`.
        Ttl = "ttl",
    }
}

words! {
    /// Whose bytes were damaged.
    Class {
        /// An upstream's: they can be fetched again.
        Mirrored = "mirrored",
        /// They were pushed here.
        Hosted = "hosted",
    }
}

words! {
    /// What collection removes.
    Collected {
        /// A manifest left its repository.
        Manifest = "manifest",
        /// A blob's bytes are gone.
        Blob = "blob",
        /// An upload that nobody went on with.
        Upload = "upload",
    }
}

words! {
    /// What a server does beside answering.
    Job {
        /// Telling the index what is on disk.
        Rebuild = "rebuild",
        /// Letting go of what is kept for a while only.
        Tidy = "tidy",
        /// Keeping the disk within its bounds.
        Tend = "tend",
        /// Removing what nobody asks for any more.
        Expire = "expire",
        /// Removing uploads that nobody goes on with.
        Purge = "purge",
        /// Asking about names that are not proven.
        Names = "names",
        /// Removing what nothing reaches.
        Collect = "collect",
        /// Hashing what is stored.
        Verify = "verify",
        /// Answering commands, through the admin socket.
        Commands = "commands",
        /// Reading the certificate again.
        Certificate = "certificate",
    }
}

words! {
    /// What a path means.
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
        /// `blobs/uploads/` and what is below.
        Uploads = "uploads",
        /// `referrers/<digest>`
        Referrers = "referrers",
        /// `/healthz` and the like.
        Health = "health",
        /// `/metrics`
        Metrics = "metrics",
        /// Anything else.
        Other = "other",
    }
}
