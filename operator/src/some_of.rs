//! Lists in messages that may be long.

use std::fmt::Display;

/// The first `most` items, and how many more there are: `a, b and 3 more`.
pub fn some_of<T: Display>(items: &[T], most: usize, separator: &str, last: &str) -> String {
    let named: Vec<String> = items.iter().take(most).map(T::to_string).collect();
    let named = named.join(separator);
    match items.len().saturating_sub(most) {
        0 => named,
        more => format!("{named}{last}and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::some_of;

    #[test]
    fn the_first_are_named_and_the_others_counted() {
        assert_eq!(some_of::<u8>(&[], 2, ", ", " "), "");
        assert_eq!(some_of(&[1, 2], 2, ", ", " "), "1, 2");
        assert_eq!(some_of(&[1, 2, 3, 4], 2, ", ", " "), "1, 2 and 2 more");
        assert_eq!(some_of(&[1, 2, 3], 2, "; ", "; "), "1; 2; and 1 more");
    }
}
