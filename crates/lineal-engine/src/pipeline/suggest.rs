//! What a person may have meant by a name that is not declared.

/// `; did you mean ...?` if a candidate is close, else the candidates themselves.
pub(crate) fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 6;
    const LENGTH_LIMIT: usize = 64;
    let short: String = name.chars().take(LENGTH_LIMIT).collect();
    let all: Vec<&str> = candidates.into_iter().collect();
    let close = all
        .iter()
        .map(|candidate| (distance(&short, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 3)
        .min();
    match close {
        Some((_, candidate)) => format!("; did you mean `{candidate}`?"),
        None if all.is_empty() => "; none is declared".to_owned(),
        None => {
            let more = if all.len() > SHOWN { ", ..." } else { "" };
            let shown: Vec<&str> = all.into_iter().take(SHOWN).collect();
            format!("; declared: {}{more}", shown.join(", "))
        }
    }
}

/// Levenshtein's distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, left_char) in left.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, right_char) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(left_char != *right_char);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
