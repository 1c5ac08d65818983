//! Sizes in bytes (`50GB`, `64MiB`) and shares of a whole (`80%`).

/// A number of bytes, or a share of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeBound {
    /// Bytes.
    Bytes(u64),
    /// Per cent, 1 to 100.
    Share(u8),
}

/// Decimal units are powers of ten, binary ones of two, as IEC 80000-13 has them.
const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

impl SizeBound {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            Some(share) => Some(Self::Share(share.trim().parse().ok().filter(|share| (1..=100).contains(share))?)),
            None => bytes(text).map(Self::Bytes),
        }
    }

    pub(super) fn write(self) -> String {
        match self {
            Self::Bytes(bytes) => write(bytes),
            Self::Share(percent) => format!("{percent}%"),
        }
    }
}

/// Reads a number of bytes with an optional unit, in either case.
pub fn bytes(text: &str) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(*size)?;
    if rest.is_empty() {
        return (!number.ends_with('.')).then_some(whole);
    }
    // Nine decimal places are enough, and keep the arithmetic within its type.
    let digits = u32::try_from(rest.len()).ok().filter(|digits| *digits <= 9)?;
    let part = u128::from(rest.parse::<u64>().ok()?) * u128::from(*size) / 10_u128.pow(digits);
    whole.checked_add(u64::try_from(part).ok()?)
}

/// Writes a size in the largest unit that divides it.
pub(super) fn write(bytes: u64) -> String {
    let names = [("TB", 1_000_000_000_000), ("TiB", 1 << 40), ("GB", 1_000_000_000), ("GiB", 1 << 30)];
    let smaller = [("MB", 1_000_000), ("MiB", 1 << 20), ("kB", 1_000), ("KiB", 1 << 10)];
    let fits = |(_, size): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*size);
    match names.iter().chain(&smaller).find(fits) {
        Some((name, size)) => format!("{}{name}", bytes / size),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bytes_and_shares() {
        for (text, amount) in [
            ("0", SizeBound::Bytes(0)),
            ("1234", SizeBound::Bytes(1234)),
            ("50GB", SizeBound::Bytes(50_000_000_000)),
            ("50 gb", SizeBound::Bytes(50_000_000_000)),
            ("64MiB", SizeBound::Bytes(64 << 20)),
            ("1.5GiB", SizeBound::Bytes(3 << 29)),
            ("0.25TB", SizeBound::Bytes(250_000_000_000)),
            ("80%", SizeBound::Share(80)),
            ("100 %", SizeBound::Share(100)),
        ] {
            assert_eq!(SizeBound::parse(text), Some(amount), "{text}");
        }
        for bad in ["", "GB", "-1", "1GX", "0%", "101%", "%", "1.GB", ".5GB", "99999999999TB", "1e3", "1.0000000001GB"]
        {
            assert_eq!(SizeBound::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["0", "1", "50GB", "64MiB", "80%", "3TiB", "1500MB", "7KiB"] {
            assert_eq!(SizeBound::parse(text).unwrap().write(), text);
        }
    }
}
