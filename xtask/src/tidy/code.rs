//! Rust source with comments and literals blanked out, so that a word in a sentence is not taken for code.

/// The source with every comment, string and character literal replaced by spaces; lines stay where they are.
pub(super) fn only(source: &str) -> String {
    let mut scan = Scan { rest: source, out: String::with_capacity(source.len()) };
    while let Some(next) = scan.rest.chars().next() {
        if scan.rest.starts_with("//") {
            scan.blank(scan.rest.find('\n').unwrap_or(scan.rest.len()));
        } else if scan.rest.starts_with("/*") {
            scan.blank(comment_len(scan.rest));
        } else if let Some(len) = raw_string_len(scan.rest, scan.out.chars().next_back()) {
            scan.blank(len);
        } else if next == '"' {
            scan.blank(quoted_len(scan.rest));
        } else if let Some(len) = char_len(scan.rest) {
            scan.blank(len);
        } else {
            scan.out.push(next);
            scan.rest = &scan.rest[next.len_utf8()..];
        }
    }
    scan.out
}

/// Every string literal with the byte at which it begins, as it is written between its quotes.
pub(super) fn literals(source: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = source[at..].chars().next() {
        let rest = &source[at..];
        let before = source[..at].chars().next_back();
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment_len(rest)
        } else if let Some(len) = raw_string_len(rest, before) {
            found.push((at, rest[..len].trim_matches(['b', 'c', 'r', '#', '"'])));
            len
        } else if next == '"' {
            let len = quoted_len(rest);
            found.push((at, rest[..len].trim_matches('"')));
            len
        } else {
            char_len(rest).unwrap_or(next.len_utf8())
        };
        at += len;
    }
    found
}

/// The part before the unit tests at the file's end.
pub(super) fn without_tests(code: &str) -> &str {
    code.split_once("#[cfg(test)]\nmod ").map_or(code, |(before, _)| before)
}

/// Lines (from 1) on which `word` stands as a word.
pub(super) fn lines_with<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.lines().enumerate().filter(move |(_, line)| has_word(line, word)).map(|(index, _)| index + 1)
}

/// Lines (from 1) on which the crate `name` is used: `use name`, `name::…`.
pub(super) fn lines_using<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let uses = move |line: &str| {
        let imported = |prefix: &str| {
            line.trim_start().strip_prefix(prefix).is_some_and(|rest| {
                rest.strip_prefix(name).is_some_and(|rest| !rest.starts_with(is_name_character))
            })
        };
        imported("use ") || imported("pub use ") || imported("pub(crate) use ") || path_starts(line, name)
    };
    code.lines().enumerate().filter(move |(_, line)| uses(line)).map(|(index, _)| index + 1)
}

/// Modules of the crate's root that the code names, with their lines: `crate::a::…` and `crate::{a, b::c}`.
pub(super) fn root_modules(code: &str) -> Vec<(usize, String)> {
    modules_after(code, "crate::")
}

/// The first names after each `prefix` (a path that ends in `::`), with their lines; groups are looked into.
pub(super) fn modules_after(code: &str, prefix: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find(prefix).map(|at| from + at) {
        from = at + prefix.len();
        if code[..at].ends_with(|c: char| is_name_character(c) || c == '$') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[from..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group).into_iter().map(|name| (line, name))),
            None => found.push((line, leading_name(rest))),
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

/// The first names of the members of `a, b::{c, d}, e}…`.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut at_head = true;
    for (index, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if at_head && is_name_character(c) => {
                heads.push(leading_name(&group[index..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn leading_name(text: &str) -> String {
    text.chars().take_while(|c| is_name_character(*c)).collect()
}

fn path_starts(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let starts = !before.is_some_and(|c| is_name_character(c) || c == ':' || c == '.');
        let absolute = line[..at].ends_with("::") && !line[..at - 2].ends_with(is_name_character);
        (starts || absolute) && line[at + name.len()..].starts_with("::")
    })
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_name_character) && !line[at + word.len()..].starts_with(is_name_character)
    })
}

fn is_name_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Scan<'a> {
    rest: &'a str,
    out: String,
}

impl Scan<'_> {
    fn blank(&mut self, len: usize) {
        let (gone, rest) = self.rest.split_at(len);
        self.out.extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }
}

fn comment_len(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn raw_string_len(text: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(is_name_character) {
        return None;
    }
    let body =
        text.strip_prefix("br").or_else(|| text.strip_prefix("cr")).or_else(|| text.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inner = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let opening = text.len() - inner.len();
    Some(inner.find(&end).map_or(text.len(), |at| opening + at + end.len()))
}

fn quoted_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character literal, which a lifetime is not: it closes after one character or an escape.
fn char_len(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    if let Some(escape) = inner.strip_prefix('\\') {
        let skip = escape.chars().next().map_or(0, char::len_utf8);
        return escape[skip..].find('\'').map(|at| 1 + 1 + skip + at + 1);
    }
    let first = inner.chars().next()?;
    inner[first.len_utf8()..].starts_with('\'').then(|| 2 + first.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let source = "let a = \"tokio::x\"; // tokio\n/* a /* b */ tokio */ let b = 'a';\nlet r = r#\"tokio \"# ;\nfn f<'a>() {}";
        let code = only(source);
        assert!(!code.contains("tokio"), "{code}");
        assert_eq!(code.lines().count(), source.lines().count());
        assert!(code.contains("fn f<'a>() {}"), "{code}");
        assert!(code.contains("let b ="), "{code}");
    }

    #[test]
    fn literals_are_found_where_they_begin_and_comments_hold_none() {
        let source = "f(\"a b\"); // \"c\"\nlet d = r#\"e\"#; let q = '\"'; g(\"h\")";
        let texts: Vec<_> = literals(source).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["a b", "e", "h"]);
        assert_eq!(literals(source)[0].0, 2);
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_literal() {
        let code = only(r#"a("\"x", '\'', b'"') sled"#);
        assert_eq!(code.split_whitespace().collect::<String>(), "a(,,b)sled");
        assert!(only(r#"f("\\") + sled"#).contains("+ sled"));
    }

    #[test]
    fn a_crate_is_used_by_import_or_by_path_and_not_by_a_similar_name() {
        let using = |code: &str| lines_using(code, "ort").count();
        assert_eq!(using("use ort::Session;"), 1);
        assert_eq!(using("use ort;"), 1);
        assert_eq!(using("let a: ort::Value = ::ort::value();"), 1);
        assert_eq!(using("use port::x; sort::by(); a.ort; self::ort::x"), 0);
    }

    #[test]
    fn modules_of_the_root_are_seen_through_groups() {
        let code =
            "use crate::{domain, journal::{Journal, store}, config::Config};\nlet a = crate::store::open();";
        let names: Vec<_> =
            root_modules(code).into_iter().map(|(line, name)| format!("{line}{name}")).collect();
        assert_eq!(names, ["1domain", "1journal", "1config", "2store"]);
    }
}
