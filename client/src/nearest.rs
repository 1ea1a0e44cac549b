//! The listed name that a misspelt one probably means.

/// The name of `known` nearest to `asked`: fewest edits, the first of equals; `None` if even
/// that one differs in more than a third of its letters.
pub fn nearest<'a>(asked: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if asked.len() > MAX_LEN {
        return None;
    }
    known
        .map(|name| (edits(asked, name), name))
        .filter(|(edits, name)| *edits <= (name.len() / 3).max(1))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Fewest insertions, deletions and substitutions that make `b` of `a` (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (other, cell) in b.iter().zip(above.iter_mut().skip(1)) {
            let substituted = diagonal + usize::from(letter != *other);
            diagonal = *cell;
            left = substituted.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
        if let Some(first) = above.first_mut() {
            *first = i + 1;
        }
    }
    above.last().copied().unwrap_or(0)
}

/// No listed name is longer; a longer question is not worth a comparison.
const MAX_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_likely_intention_or_none() {
        let known = || ["digits", "tumour"].into_iter();
        assert_eq!(nearest("tumor", known()), Some("tumour"));
        assert_eq!(nearest("digit", known()), Some("digits"));
        assert_eq!(nearest("weather", known()), None);
        assert_eq!(nearest(&"x".repeat(1000), known()), None);
    }

    #[test]
    fn counts_edits() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", ""), 3);
    }
}
