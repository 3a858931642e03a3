//! Sizes as Docker's clients write them.

/// The bytes that `text` means: `10G`, `512mb`, `1.5g` or `4096`, units of 1024; `None` if it means none.
pub fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower[number.len()..].trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let (whole, part) = number.trim().split_once('.').unwrap_or((number.trim(), "0"));
    let scale = 10_u128.pow(u32::try_from(part.len()).ok().filter(|length| *length < 10)?);
    let whole = u128::from(whole.parse::<u64>().ok()?) << shift;
    let part = (u128::from(part.parse::<u64>().ok()?) << shift) / scale;
    u64::try_from(whole + part).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit() {
        for (text, want) in [
            ("4096", Some(4096)),
            ("10G", Some(10 << 30)),
            ("512mb", Some(512 << 20)),
            ("1.5g", Some(3 << 29)),
            ("2TiB", Some(2 << 40)),
            ("g", None),
            ("1x", None),
            ("-1", None),
            ("99999999999t", None),
        ] {
            assert_eq!(bytes(text), want, "{text}");
        }
    }
}
