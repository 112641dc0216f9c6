//! Dates and times as RFC 3339 writes them, with the usual liberties.

/// A point in time; a text without an offset is taken as UTC. Ordered by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    seconds: i64,
    nanoseconds: u32,
}

impl Instant {
    /// Parses `YYYY-MM-DD`, then optionally `T` or a space, `HH:MM`, `:SS`, `.f` (1 to 9 digits) and `Z` or `+HH:MM`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (date, time) = bytes.split_at_checked(10)?;
        if date[4] != b'-' || date[7] != b'-' {
            return None;
        }
        let year = number(&date[..4])?;
        let (month, day) = (within(&date[5..7], 1, 12)?, number(&date[8..])?);
        if day < 1 || day > days_of(year, month) {
            return None;
        }
        let midnight = days_since_epoch(year, month, day) * 86_400;
        match time {
            [] => Some(Self { seconds: midnight, nanoseconds: 0 }),
            [b'T' | b't' | b' ', clock @ ..] => Self::with_clock(midnight, clock),
            _ => None,
        }
    }

    fn with_clock(midnight: i64, clock: &[u8]) -> Option<Self> {
        let (minutes, mut rest) = hours_and_minutes(clock)?;
        let mut seconds = midnight + minutes * 60;
        let mut nanoseconds = 0;
        if let [b':', tens, ones, after @ ..] = rest {
            // 60 is a leap second.
            seconds += within(&[*tens, *ones], 0, 60)?;
            rest = after;
            if let [b'.', fraction @ ..] = rest {
                let length = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
                if !(1..=9).contains(&length) {
                    return None;
                }
                let missing = u32::try_from(9 - length).ok()?;
                nanoseconds = u32::try_from(number(&fraction[..length])?).ok()? * 10_u32.pow(missing);
                rest = &fraction[length..];
            }
        }
        let offset_minutes = match rest {
            [] | [b'Z' | b'z'] => 0,
            [sign @ (b'+' | b'-'), offset @ ..] => match hours_and_minutes(offset)? {
                (minutes, []) => minutes * if *sign == b'-' { -1 } else { 1 },
                (_, [_, ..]) => return None,
            },
            _ => return None,
        };
        Some(Self { seconds: seconds - offset_minutes * 60, nanoseconds })
    }
}

fn hours_and_minutes(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (clock, rest) = bytes.split_at_checked(5)?;
    if clock[2] != b':' {
        return None;
    }
    Some((within(&clock[..2], 0, 23)? * 60 + within(&clock[3..], 0, 59)?, rest))
}

fn within(bytes: &[u8], least: i64, most: i64) -> Option<i64> {
    number(bytes).filter(|n| (least..=most).contains(n))
}

/// At most 9 digits.
fn number(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.iter().all(u8::is_ascii_digit);
    digits.then(|| bytes.iter().fold(0, |value, b| value * 10 + i64::from(b - b'0')))
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant's `days_from_civil` for years 0 to 9999.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}
