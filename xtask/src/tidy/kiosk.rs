//! Rules about the kiosk's face: colours live in the theme, words in the locales, and only the route moves a visitor.

use super::{Finding, Tree, code};

const KIOSK: &str = "kiosk/src/";
const THEME: &str = "kiosk/src/theme";
const SCREENS: &str = "kiosk/src/screens";
const ROUTE: &str = "kiosk/src/screens/route.rs";
/// Types that hold a colour; outside of the theme a colour has a role (`theme::Colour`).
const COLOURS: [&str; 4] = ["Color", "Srgba", "LinearRgba", "Hsla"];
/// Sources that exist in tests only.
const TESTS: [&str; 5] = ["/testing.rs", "/measured.rs", "/states.rs", "/goldens.rs", "/goldens/likeness.rs"];
/// Calls whose text would be seen as it stands.
const SHOWING: [&str; 2] = ["Text::new(", "verbatim("];

/// Checks the kiosk's sources.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.under(KIOSK, ".rs") {
        if TESTS.iter().any(|test| path.ends_with(test)) {
            continue;
        }
        let source = code::without_tests(source);
        let code = code::only(source);
        if !path.starts_with(THEME) {
            for colour in COLOURS {
                findings.extend(code::lines_with(&code, colour).map(|line| {
                    Finding::new(
                        path,
                        line,
                        format!("says `{colour}`: colours have roles, which the theme fills"),
                    )
                }));
            }
        }
        if path.starts_with(SCREENS) {
            words(path, source, &mut findings);
            if path != ROUTE {
                findings.extend(code::lines_with(&code, "NextState").map(|line| {
                    Finding::new(
                        path,
                        line,
                        "sets the state: a screen sends an intent, the route moves the visitor",
                    )
                }));
            }
        }
    }
    findings
}

/// Words that a visitor would see although no locale has them.
fn words(path: &str, source: &str, findings: &mut Vec<Finding>) {
    for (at, literal) in code::literals(source) {
        let before = source[..at].trim_end();
        let is_shown =
            SHOWING.iter().any(|call| before.ends_with(call)) && literal.contains(char::is_alphabetic);
        if is_shown || literal.contains(is_han) {
            let line = source[..at].matches('\n').count() + 1;
            findings.push(Finding::new(path, line, "a visible word stands in the locales, under a key"));
        }
    }
}

/// CJK ideographs, and the marks between them.
fn is_han(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{303F}' | '\u{3400}'..='\u{9FFF}' | '\u{FF00}'..='\u{FFEF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &str, source: &str) -> Vec<String> {
        check(&Tree::of(&[(path, source)])).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_colour_has_one_home() {
        let source =
            "//! x\nlet a = Color::srgb(1.0, 0.0, 0.0);\nlet b = TextColor(c);\n// Color in a sentence\n";
        assert_eq!(texts("kiosk/src/screens/home.rs", source).len(), 1);
        assert!(texts("kiosk/src/skin.rs", source)[0].contains(":2: says `Color`"));
        assert_eq!(texts("kiosk/src/theme/colour.rs", source), Vec::<String>::new());
    }

    #[test]
    fn a_visible_word_has_one_home() {
        let source = "//! 说明\nlet a = Words::verbatim(\"Hello\");\nlet b = Words::verbatim(\"—\");\n\
            let c = Words::key(\"home-title\");\nlet d = \"你好\";\n#[cfg(test)]\nmod tests { const E: &str = \"你好\"; }\n";
        let found = texts("kiosk/src/screens/home.rs", source);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("home.rs:2") && found[1].contains("home.rs:5"), "{found:?}");
        assert_eq!(texts("kiosk/src/screens/testing.rs", source), Vec::<String>::new());
    }

    #[test]
    fn only_the_route_moves_a_visitor() {
        let source = "//! x\nfn f(mut next: ResMut<NextState<Screen>>) {}\n";
        assert_eq!(texts("kiosk/src/screens/home.rs", source).len(), 1);
        assert_eq!(texts("kiosk/src/screens/route.rs", source), Vec::<String>::new());
    }
}
