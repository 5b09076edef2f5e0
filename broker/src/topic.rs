//! Topic names and topic filters: what is valid, and what matches.
//!
//! Pure. Works on whole levels, never on byte slices inside a character.

/// What is wrong with a topic name, if anything.
pub(crate) fn topic_fault(topic: &str, bytes_max: usize) -> Option<&'static str> {
    if topic.is_empty() {
        return Some("it is empty");
    }
    if bytes_max < topic.len() {
        return Some("it is too long");
    }
    if topic.starts_with('$') {
        return Some("names that start with `$` are the broker's own");
    }
    if topic.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
        return Some("it has a wildcard");
    }
    if topic.bytes().any(|byte| byte == 0) {
        return Some("it has a NUL");
    }
    None
}

/// What is wrong with a topic filter, if anything. `$` is the caller's affair.
pub(crate) fn filter_fault(filter: &str, bytes_max: usize) -> Option<&'static str> {
    if filter.is_empty() {
        return Some("it is empty");
    }
    if bytes_max < filter.len() {
        return Some("it is too long");
    }
    if filter.bytes().any(|byte| byte == 0) {
        return Some("it has a NUL");
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Some("`#` must be the whole last level");
        }
        if level.contains('+') && level != "+" {
            return Some("`+` must be a whole level");
        }
    }
    None
}

/// Whether a valid filter takes a valid topic.
pub(crate) fn filter_matches(filter: &str, topic: &str) -> bool {
    let mut topic_levels = topic.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        let Some(name) = topic_levels.next() else {
            return false;
        };
        if level != "+" && level != name {
            return false;
        }
    }
    topic_levels.next().is_none()
}

/// The part of a filter before its first wildcard level; every match starts with it.
pub(crate) fn literal_prefix(filter: &str) -> &str {
    let end = filter.find(['+', '#']).unwrap_or(filter.len());
    // `a/#` also takes `a`, so the separator before a final `#` is not part of the prefix.
    if filter[end..].starts_with('#') {
        filter[..end].strip_suffix('/').unwrap_or(&filter[..end])
    } else {
        &filter[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_specification_says() {
        for (filter, topic, expected) in [
            ("#", "a/b", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("a/+", "a/b", true),
            ("a/+", "a/", true),
            ("a/+", "a", false),
            ("a/+", "a/b/c", false),
            ("+/+", "/a", true),
            ("+", "/a", false),
            ("/+", "/a", true),
            ("été/+", "été/temp", true),
            ("a/b", "a/b", true),
            ("a/b", "a/b/", false),
        ] {
            assert_eq!(filter_matches(filter, topic), expected, "{filter} and {topic}");
            if expected {
                assert!(topic.starts_with(literal_prefix(filter)), "{filter} and {topic}");
            }
        }
    }

    #[test]
    fn invalid_names_and_filters_are_told_apart() {
        for topic in ["", "a/+", "#", "a\0", "$SYS/x", "0123456789"] {
            assert!(topic_fault(topic, 9).is_some(), "{topic}");
        }
        for topic in ["a", "/", "été/temp", "a//b", "门店/1"] {
            assert!(topic_fault(topic, 64).is_none(), "{topic}");
        }
        for filter in ["", "a#", "#/a", "a/#/b", "a+", "a/+b/c", "a\0"] {
            assert!(filter_fault(filter, 64).is_some(), "{filter}");
        }
        for filter in ["#", "+", "+/#", "a/+/b", "/", "été/#"] {
            assert!(filter_fault(filter, 64).is_none(), "{filter}");
        }
    }
}
