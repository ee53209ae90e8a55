//! Sizes, durations and times, as people write and read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use slipring::Durability;

/// Reads a size in bytes: `4096`, `64k`, `1m`, `2g`; units are powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size: write bytes, or a number with k, m, g or t");
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower.get(digits.len()..).unwrap_or_default() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text:?} is more bytes than there are"))
}

/// Reads a duration: `250ms`, `2s`, `1.5m`, `1h`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is not a duration: write seconds, or a number with ms, s, m or h");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1.0,
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())
}

/// Reads what survives a reboot: `none`, `interval:100ms`, `sync`.
pub fn parse_durability(text: &str) -> Result<Durability, String> {
    match text {
        "none" => Ok(Durability::None),
        "sync" => Ok(Durability::Sync),
        _ => match text.strip_prefix("interval:") {
            Some(every) => parse_duration(every).map(Durability::Interval),
            None => Err(format!(
                "{text:?} is no durability: write none, interval:TIME or sync"
            )),
        },
    }
}

/// Reads an instant: RFC 3339, such as `2026-01-31T12:00:00Z`, or a duration with its unit, which is so long ago: `5m`.
pub fn parse_instant(text: &str) -> Result<SystemTime, String> {
    if let Some(time) = parse_rfc3339(text) {
        return Ok(time);
    }
    let ago = text.strip_suffix("ago").unwrap_or(text).trim_end();
    if ago.ends_with(|c: char| c.is_ascii_lowercase()) {
        let ago = parse_duration(ago)?;
        return SystemTime::now()
            .checked_sub(ago)
            .ok_or_else(|| format!("{text:?} is before all times"));
    }
    Err(format!(
        "{text:?} is no time: write 2026-01-31T12:00:00Z, or 5m for 5 min ago"
    ))
}

fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = fields(date, '-', &[4, 2, 2])?;
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at_checked(zone)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = fields(clock, ':', &[2, 2, 2])?;
    let length = if month == 2 {
        28 + u64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
    } else {
        30 + (month + month / 8) % 2
    };
    let fits = (1..=12).contains(&month) && (1..=length).contains(&day);
    if !fits || year < 1970 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanoseconds: u64 = digits.parse().ok()?;
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let local = Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds);
    let local = UNIX_EPOCH + local;
    let (sign, offset) = zone.split_at_checked(1)?;
    if offset.is_empty() {
        return ["Z", "z"].contains(&sign).then_some(local);
    }
    let [hours, minutes] = fields(offset, ':', &[2, 2])?;
    let offset = Duration::from_secs(hours * 3600 + minutes * 60);
    match sign {
        "+" => local.checked_sub(offset),
        "-" => local.checked_add(offset),
        _ => None,
    }
}

/// Numbers of exactly so many digits each.
fn fields<const N: usize>(text: &str, separator: char, digits: &[usize; N]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(separator);
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == *digits)?;
        let all_digits = part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| all_digits)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// The reverse of [`civil`].
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - DAYS_FROM_YEAR_ZERO
}

/// Reads permission bits: `0660` or `660`.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| format!("{text:?} is not a file mode: write octal digits, such as 0660"))
}

/// Reads a number of messages per second.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| format!("{text:?} is not a rate: write messages per second, such as 1000"))
}

/// `5242880` as `5 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if value.fract() == 0.0 || unit == "bytes" {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// `1234567` as `1_234_567`, readable and still a number to Rust and Python.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}

/// So many of what this is the name of one of.
pub fn counted(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", count(number))
}

/// A duration in the unit that suits it.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_nanos() {
        0..1_000 => format!("{} ns", duration.as_nanos()),
        1_000..1_000_000 => format!("{:.1} us", seconds * 1e6),
        1_000_000..1_000_000_000 => format!("{:.1} ms", seconds * 1e3),
        _ if seconds < 120.0 => format!("{seconds:.1} s"),
        _ if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        _ if seconds < 172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

/// How long ago that was, in nanoseconds since 1970; unknown for 0.
pub fn age(nanoseconds: u64) -> String {
    if nanoseconds == 0 {
        return "?".to_owned();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let then = Duration::from_nanos(nanoseconds);
    duration(now.unwrap_or_default().saturating_sub(then))
}

/// Nanoseconds since 1970 as `2026-01-31T12:00:00.000000000Z`.
pub fn timestamp(nanoseconds: u64) -> String {
    let (seconds, fraction) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z")
}

/// Days from the first of March of year 0 to 1970.
const DAYS_FROM_YEAR_ZERO: u64 = 719_468;

/// Year, month and day of a day since 1970. Years start in March here, so that a leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let shifted = days + DAYS_FROM_YEAR_ZERO;
    let (era, day) = (shifted / DAYS_OF_400_YEARS, shifted % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_binary_units() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("64k"), Ok(65_536));
        assert_eq!(parse_size("1M"), Ok(1 << 20));
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        for wrong in ["", "k", "1x", "-1", "1.5k", "99999999999t"] {
            assert!(parse_size(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn durations_take_units_and_fractions() {
        assert_eq!(parse_duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "s", "-1", "1 s", "1d", "nan", "inf"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn instants_are_times_or_so_long_ago() {
        let shown = |text| {
            let since = parse_instant(text).unwrap().duration_since(UNIX_EPOCH);
            timestamp(since.unwrap().as_nanos().try_into().unwrap())
        };
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000000Z"),
            ("2000-02-29t12:34:56.5z", "2000-02-29T12:34:56.500000000Z"),
            (
                "2026-01-31 12:00:00+02:30",
                "2026-01-31T09:30:00.000000000Z",
            ),
            (
                "2026-12-31T23:00:00-01:00",
                "2027-01-01T00:00:00.000000000Z",
            ),
        ] {
            assert_eq!(shown(text), expected);
        }
        for days in [0, 58, 59, 365, 789, 10_956, 11_016, 20_000, 47_540] {
            let (year, month, day) = civil(days);
            assert_eq!(days_since_1970(year, month, day), days);
        }
        let ago = SystemTime::now().duration_since(parse_instant("5m ago").unwrap());
        assert!((299..400).contains(&ago.unwrap().as_secs()));
        for wrong in [
            "",
            "now",
            "7",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-1-31T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:00+1",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(parse_instant(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(parse_mode("0660"), Ok(0o660));
        assert_eq!(parse_mode("600"), Ok(0o600));
        assert!(parse_mode("0999").is_err());
        assert!(parse_mode("7777").is_err());
    }

    #[test]
    fn numbers_are_shown_for_people() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 20), "5 MiB");
        assert_eq!(count(7), "7");
        assert_eq!(counted(1, "group"), "1 group");
        assert_eq!(counted(1000, "group"), "1_000 groups");
        assert_eq!(count(123_456), "123_456");
        assert_eq!(count(1_234_567), "1_234_567");
        assert_eq!(duration(Duration::from_nanos(999)), "999 ns");
        assert_eq!(duration(Duration::from_micros(1500)), "1.5 ms");
        assert_eq!(duration(Duration::from_secs(86_400)), "24.0 h");
    }

    #[test]
    fn times_are_right_around_leap_days() {
        let at = |seconds: u64| timestamp(seconds * 1_000_000_000);
        assert_eq!(at(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000000000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59.000000000Z");
        assert_eq!(
            timestamp(1_767_225_600_000_000_001),
            "2026-01-01T00:00:00.000000001Z"
        );
    }
}
