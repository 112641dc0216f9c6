//! Patterns over snapshot paths: `*` stands for any text without `/`; everything else for itself.

/// Whether `pattern` matches the whole of `path`. Takes at most `pattern.len() * path.len()` steps.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.as_bytes(), path.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Where to go on when the last `*` has to take one byte more.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(at), path.get(read)) {
            (Some(b'*'), _) => {
                retry = Some((at + 1, read));
                at += 1;
            }
            (Some(a), Some(b)) if a == b => {
                at += 1;
                read += 1;
            }
            (None, None) => return true,
            (None | Some(_), None | Some(_)) => match retry {
                Some((after, taken)) if path.get(taken).is_some_and(|b| *b != b'/') => {
                    retry = Some((after, taken + 1));
                    (at, read) = (after, taken + 1);
                }
                Some(_) | None => return false,
            },
        }
    }
}
