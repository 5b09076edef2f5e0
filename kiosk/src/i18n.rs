//! Words: every visible word stands in `assets/locales/<tag>.ftl` under a key, and can be switched at any time.
//!
//! Owns the current [`Locale`] and the texts of entities with [`Words`]. Chinese is the default; a key that a
//! language lacks would be shown in Chinese, but a test proves that both are complete.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use bevy::prelude::*;
use fluent_bundle::{FluentArgs, FluentResource, concurrent::FluentBundle};
use provenance::Names;
use unic_langid::LanguageIdentifier;

use crate::theme::Repertoire;

/// Makes texts follow the locale.
pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<I18n>().add_systems(PostUpdate, speak.in_set(Speak));
}

/// When texts are written: after everything that decides what to say, before layout.
#[derive(SystemSet, Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Speak;

/// A language of the kiosk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Locale {
    /// 简体中文.
    #[default]
    ZhCn,
    /// English.
    En,
}

impl Locale {
    /// All languages, the default first.
    pub const ALL: [Self; 2] = [Self::ZhCn, Self::En];

    /// The language tag.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::ZhCn => "zh-CN",
            Self::En => "en",
        }
    }

    /// The language with a tag.
    #[must_use]
    pub fn parse(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|locale| locale.tag() == tag)
    }

    /// The key of [`Names`] for this language.
    fn name_key(self) -> &'static str {
        match self {
            Self::ZhCn => "zh",
            Self::En => "en",
        }
    }

    /// Between groups of three digits.
    fn group_mark(self) -> char {
        match self {
            Self::ZhCn | Self::En => ',',
        }
    }

    /// Before the digits of a fraction.
    fn decimal_mark(self) -> char {
        match self {
            Self::ZhCn | Self::En => '.',
        }
    }

    /// Its large numbers, the smaller one first, and the words that count them.
    fn scales(self) -> [(u64, &'static str); 2] {
        match self {
            Self::ZhCn => [(10_000, "count-large"), (100_000_000, "count-huge")],
            Self::En => [(1_000, "count-large"), (1_000_000, "count-huge")],
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::ZhCn => include_str!("../../assets/locales/zh-CN.ftl"),
            Self::En => include_str!("../../assets/locales/en.ftl"),
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// The current language and the words of all.
#[derive(Resource)]
pub struct I18n {
    locale: Locale,
    repertoire: Repertoire,
    bundles: [FluentBundle<FluentResource>; 2],
}

impl Default for I18n {
    fn default() -> Self {
        Self {
            locale: Locale::default(),
            repertoire: Repertoire::default(),
            bundles: Locale::ALL.map(bundle),
        }
    }
}

fn bundle(locale: Locale) -> FluentBundle<FluentResource> {
    let resource = FluentResource::try_new(locale.source().to_owned()).unwrap_or_else(|(_, errors)| {
        panic!("the words of {} are checked by a test: {errors:?}", locale.tag())
    });
    let language: LanguageIdentifier = locale.tag().parse().expect("our tags are language tags");
    let mut bundle = FluentBundle::new_concurrent(vec![language]);
    // Isolation marks are invisible only where the font knows them.
    bundle.set_use_isolating(false);
    bundle.add_resource(resource).expect("a test proves that no key stands twice");
    bundle
}

impl I18n {
    /// The current language.
    #[must_use]
    pub fn locale(&self) -> Locale {
        self.locale
    }

    /// Names are written with these letters from now on. What our own words lack is logged.
    pub fn draw_with(&mut self, repertoire: Repertoire) {
        let letters = Locale::ALL.into_iter().flat_map(|locale| locale.source().chars());
        let missing: BTreeSet<char> =
            letters.filter(|letter| !letter.is_control() && !repertoire.has(*letter)).collect();
        if !missing.is_empty() {
            let some: String = missing.iter().take(MISSING_NAMED_MAX).collect();
            warn!(
                "the font has no glyph for {} letters of the kiosk's own words, such as `{some}`",
                missing.len()
            );
        }
        self.repertoire = repertoire;
    }

    /// Speaks another language from now on.
    pub fn set_locale(&mut self, locale: Locale) {
        self.locale = locale;
    }

    /// Speaks the next language of [`Locale::ALL`].
    pub fn toggle(&mut self) {
        self.locale = Locale::ALL[(self.locale.index() + 1) % Locale::ALL.len()];
    }

    /// The words in the current language.
    #[must_use]
    pub fn say(&self, words: &Words) -> String {
        match words {
            Words::Name { names, columns_max } => {
                let name = self.drawable(self.name(names));
                match name.trim() {
                    "" => self.say(&Words::key("no-name")),
                    name => self.shortened(name, *columns_max),
                }
            }
            Words::Count(count) => self.count(*count),
            Words::Verbatim(text) => self.drawable(text),
            Words::Number { value, places, is_difference } => self.number(*value, *places, *is_difference),
            Words::Key { key, args } => self.format(key, args),
        }
    }

    /// The text as the screen font can draw it: a letter without its accent is better than a box, what no face has stands
    /// as [`NO_LETTER`], and what is no letter at all is left out.
    fn drawable(&self, text: &str) -> String {
        let [without, with] = UNACCENTED;
        let letters = text.chars().map(|letter| if letter.is_whitespace() { ' ' } else { letter });
        letters
            .filter(|letter| !letter.is_control() && !is_format(*letter))
            .filter_map(|letter| {
                if self.repertoire.has(letter) {
                    return Some(letter);
                }
                let at = without.chars().position(|missing| missing == letter);
                let plain = at.and_then(|at| with.chars().nth(at));
                plain.or_else(|| letter.is_alphanumeric().then_some(NO_LETTER))
            })
            .collect()
    }

    /// A name that fits: no more than so many columns, and no word that no line holds.
    #[expect(clippy::cast_precision_loss, reason = "columns are tens")]
    fn shortened(&self, name: &str, columns_max: usize) -> String {
        let mut shown = String::new();
        let (mut columns, mut word) = (0.0, 0.0);
        for letter in name.chars() {
            let width = self.repertoire.columns(letter);
            // A line may end after each Chinese character.
            let ends_word = letter.is_whitespace() || letter == '-' || '\u{1100}' <= letter;
            word = if ends_word { 0.0 } else { word + width };
            columns += width;
            if columns_max as f32 <= columns - 0.5 || WORD_COLUMNS_MAX as f32 <= word - 0.5 {
                let seen = shown.trim_end().len();
                shown.truncate(seen);
                shown.push('…');
                break;
            }
            shown.push(letter);
        }
        shown
    }

    /// Digits in groups of three, as both of our languages write them; a real minus sign.
    fn number(&self, value: f64, places: usize, is_difference: bool) -> String {
        let text = format!("{:.*}", places, value.abs());
        let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
        let mut grouped = String::new();
        for (index, digit) in whole.chars().enumerate() {
            if 0 < index && (whole.len() - index).is_multiple_of(3) {
                grouped.push(self.locale.group_mark());
            }
            grouped.push(digit);
        }
        // What is rounded to nought has no sign.
        let is_nought = !text.chars().any(|digit| ('1'..='9').contains(&digit));
        let sign = match (value < 0.0, is_difference) {
            _ if is_nought => "",
            (true, _) => "\u{2212}",
            (false, true) => "+",
            (false, false) => "",
        };
        let mark = if rest.is_empty() { String::new() } else { self.locale.decimal_mark().to_string() };
        format!("{sign}{grouped}{mark}{rest}")
    }

    /// From [`COUNT_EXACT_MAX`] on in the language's large numbers, rounded down: digits that nobody reads do not fit.
    fn count(&self, count: u64) -> String {
        #[expect(clippy::cast_precision_loss, reason = "nothing in a store is counted beyond 2^52")]
        let exact = |count: u64| Words::Number { value: count as f64, places: 0, is_difference: false };
        if count <= COUNT_EXACT_MAX {
            return self.say(&exact(count));
        }
        let [(large, _), (huge, _)] = self.locale.scales();
        let (scale, key) = self.locale.scales()[usize::from(huge <= count)];
        let shown = (count / scale).min(huge / large - 1);
        self.say(&Words::key(key).with("count", exact(shown)))
    }

    fn name<'a>(&self, names: &'a Names) -> &'a str {
        names.get(self.locale.name_key()).or_else(|| names.values().next()).map_or("", String::as_str)
    }

    fn format(&self, key: &str, args: &BTreeMap<&'static str, Words>) -> String {
        let mut values = FluentArgs::new();
        for (name, value) in args {
            values.set(*name, self.say(value));
        }
        for locale in [self.locale, Locale::default()] {
            let bundle = &self.bundles[locale.index()];
            let Some(pattern) = bundle.get_message(key).and_then(|message| message.value()) else { continue };
            let mut errors = Vec::new();
            let text = bundle.format_pattern(pattern, Some(&values), &mut errors);
            if !errors.is_empty() {
                warn!("the words `{key}` of {} cannot be formed: {errors:?}", locale.tag());
            }
            return text.into_owned();
        }
        warn!("there are no words `{key}`");
        key.to_owned()
    }
}

/// Letters of our own words that a warning names, at most.
const MISSING_NAMED_MAX: usize = 20;

/// Stands for a letter that the font lacks: the geta mark, with which Chinese and Japanese printers say so.
const NO_LETTER: char = '〓';

/// Letters of Central European names that a Chinese font may lack, and below each the one that is drawn instead.
const UNACCENTED: [&str; 2] = [
    "ĄąĆćĈĉĊċČčĎďĔĕĖėĘęĜĝĞğĠġĢģĤĥĦħĬĭĮįİıĴĵĶķĸĹĺĻļĽľĿŀŁłŅņŉŊŋŐőŔŕŖŗŘřŚśŜŝŞşŠšŢţŤťŦŧŮůŰűŲųŴŵŶŷŸŹźŻżŽžſ",
    "AaCcCcCcCcDdEeEeEeGgGgGgGgHhHhIiIiIiJjKkkLlLlLlLlLlNnnNnOoRrRrRrSsSsSsSsTtTtTtUuUuUuWwYyYZzZzZzs",
];

/// Names come from the hub and from records; longer ones than fit into a card end in an ellipsis. In columns: a Chinese
/// character takes two.
const NAME_COLUMNS_MAX: usize = 56;
/// A larger count is not told to the last digit.
const COUNT_EXACT_MAX: u64 = 99_999;
/// So many columns fit into one line of the narrowest card.
const WORD_COLUMNS_MAX: usize = 24;

/// What changes the direction of a text, and what is not seen.
fn is_format(letter: char) -> bool {
    matches!(
        letter,
        '\u{61C}'
            | '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' | '\u{2800}' | '\u{FE00}'..='\u{FE0F}'
            | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}'
    )
}

/// What a text entity says. Replaces its [`Text`] whenever it or the language changes.
#[derive(Component, Debug, Clone, PartialEq)]
#[require(Text)]
pub enum Words {
    /// A message of the locales with its variables.
    Key {
        /// Its key.
        key: Cow<'static, str>,
        /// Its variables.
        args: BTreeMap<&'static str, Words>,
    },
    /// A name that brings its own languages.
    Name {
        /// What it is called in each.
        names: Names,
        /// Longer ones end in an ellipsis; a Chinese character takes two columns.
        columns_max: usize,
    },
    /// How many there are of something.
    Count(u64),
    /// Figures and identifiers, the same in every language.
    Verbatim(String),
    /// A number, as the language writes numbers.
    Number {
        /// The number.
        value: f64,
        /// Digits of its fraction.
        places: usize,
        /// Whether a plus is written too.
        is_difference: bool,
    },
}

impl Words {
    /// The message with this key.
    pub fn key(key: impl Into<Cow<'static, str>>) -> Self {
        Self::Key { key: key.into(), args: BTreeMap::new() }
    }

    /// The same in every language.
    pub fn verbatim(text: impl Into<String>) -> Self {
        Self::Verbatim(text.into())
    }

    /// A name that brings its own languages.
    #[must_use]
    pub fn name(names: Names) -> Self {
        Self::Name { names, columns_max: NAME_COLUMNS_MAX }
    }

    /// The same where there is less room than in a card.
    #[must_use]
    pub fn brief(names: Names, columns_max: usize) -> Self {
        Self::Name { names, columns_max }
    }

    /// How many there are of something.
    pub fn count(value: impl TryInto<u64>) -> Self {
        Self::Count(value.try_into().unwrap_or(u64::MAX))
    }

    /// A number with `places` digits of its fraction.
    #[must_use]
    pub fn decimal(value: f64, places: usize) -> Self {
        Self::Number { value, places, is_difference: false }
    }

    /// How much more or less, with its sign.
    #[must_use]
    pub fn difference(value: f64, places: usize) -> Self {
        Self::Number { value, places, is_difference: true }
    }

    /// With a variable.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Words>) -> Self {
        if let Self::Key { args, .. } = &mut self {
            args.insert(name, value.into());
        }
        self
    }

    /// A calendar day, in the language's own order.
    pub fn date(date: jiff::civil::Date) -> Self {
        Self::key("date")
            .with("year", date.year().to_string())
            .with("number", date.month().to_string())
            .with("month", Self::key(format!("month-{}", date.month())))
            .with("day", date.day().to_string())
    }
}

impl From<String> for Words {
    fn from(text: String) -> Self {
        Self::Verbatim(text)
    }
}
impl From<Names> for Words {
    fn from(names: Names) -> Self {
        Self::name(names)
    }
}

fn speak(i18n: Res<I18n>, mut texts: Query<(Ref<Words>, &mut Text)>) {
    for (words, mut text) in &mut texts {
        if i18n.is_changed() || words.is_changed() {
            text.set_if_neq(Text(i18n.say(&words)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of a source with the variables that each uses.
    fn keys(locale: Locale) -> BTreeMap<String, BTreeSet<String>> {
        let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut current = None;
        for line in locale.source().lines() {
            if let Some((key, _)) = line.split_once(" =")
                && !line.starts_with([' ', '#', '['])
            {
                assert!(keys.insert(key.to_owned(), BTreeSet::new()).is_none(), "`{key}` stands twice");
                current = Some(key.to_owned());
            }
            let Some(current) = &current else { continue };
            for part in line.split('$').skip(1) {
                let name: String =
                    part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                keys.get_mut(current).unwrap().insert(name);
            }
        }
        keys
    }

    #[test]
    fn both_languages_have_the_same_keys_with_the_same_variables() {
        let (zh, en) = (keys(Locale::ZhCn), keys(Locale::En));
        assert_eq!(zh.keys().collect::<Vec<_>>(), en.keys().collect::<Vec<_>>());
        for (key, variables) in &zh {
            // A day names its month by number in one language and by word in the other.
            assert!(key == "date" || *variables == en[key], "`{key}`: {variables:?} and {:?}", en[key]);
        }
    }

    /// Every source of the kiosk, one after the other.
    fn sources(dir: &std::path::Path) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                text.push_str(&sources(&path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
        text
    }

    #[test]
    fn large_counts_are_told_in_the_languages_own_large_numbers() {
        let mut i18n = I18n::default();
        let mut told = |count: u64| {
            let said = Locale::ALL.map(|locale| {
                i18n.set_locale(locale);
                i18n.say(&Words::count(count))
            });
            said.join(" ")
        };
        assert_eq!(told(99_999), "99,999 99,999");
        assert_eq!(told(100_000), "10万 100k");
        assert_eq!(told(12_345_678), "1,234万 12M");
        assert_eq!(told(u64::MAX), "9,999亿 999M");
    }

    #[test]
    fn every_key_is_used() {
        // Keys that are put together from a part that is checked elsewhere.
        const FORMED: [&str; 12] = [
            "month-",
            "advice-",
            "verdict-",
            "reason-",
            "step-",
            "trouble-",
            "part-",
            "region-",
            "metric-",
            "pick-up-",
            "try-on-no-",
            "wish-",
        ];
        let sources = sources(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
        for key in keys(Locale::ZhCn).into_keys() {
            let is_formed = FORMED.iter().any(|part| key.starts_with(part));
            assert!(is_formed || sources.contains(&format!("\"{key}\"")), "nothing says `{key}`");
        }
    }

    /// The kiosk describes how skin looks. It names no disease, promises no effect, and measures nothing that a camera
    /// cannot see; only a disclaimer may say the word, and must deny it.
    #[test]
    fn no_word_on_the_screen_sounds_like_medicine() {
        const WORDS: [(Locale, &[&str]); 2] = [
            (
                Locale::En,
                &[
                    "medic",
                    "diagnos",
                    "disease",
                    "acne",
                    "pimple",
                    "rosacea",
                    "melasma",
                    "eczema",
                    "psoriasis",
                    "dermat",
                    "cancer",
                    "melanoma",
                    "lesion",
                    "symptom",
                    "patient",
                    "treatment",
                    "therap",
                    "cure",
                    "heal",
                    "clinical",
                    "inflam",
                    "allerg",
                    "sebum",
                    "hydrat",
                    "elasticity",
                    "firmness",
                    "skin age",
                    "skin type",
                    "collagen",
                    "accurate",
                    "accuracy",
                ],
            ),
            (
                Locale::ZhCn,
                &[
                    "医",
                    "诊",
                    "疾",
                    "病",
                    "症",
                    "痤疮",
                    "青春痘",
                    "玫瑰",
                    "黄褐斑",
                    "湿疹",
                    "银屑",
                    "皮炎",
                    "癌",
                    "患者",
                    "治疗",
                    "疗效",
                    "疗程",
                    "药",
                    "痊愈",
                    "修复",
                    "炎",
                    "过敏",
                    "皮脂",
                    "水分",
                    "弹性",
                    "紧致",
                    "肤龄",
                    "肤质",
                    "胶原",
                    "准确率",
                    "精准",
                ],
            ),
        ];
        // What denies it, and whom to ask instead.
        const DISCLAIMERS: [&str; 2] = ["skin-note", "skin-disclosure"];
        let mut i18n = I18n::default();
        for (locale, words) in WORDS {
            i18n.set_locale(locale);
            for key in keys(locale).into_keys() {
                let text = i18n.format(&key, &BTreeMap::new()).to_lowercase();
                if DISCLAIMERS.contains(&key.as_str()) {
                    assert!(text.contains("not medical") || text.contains('非'), "{key}: {text}");
                    continue;
                }
                for word in words {
                    assert!(!text.contains(word), "`{word}` in {key}: {text}");
                }
            }
            // What makers claim stands beside our own words.
            let catalogue = include_str!("../../assets/catalogue.json").to_lowercase();
            for word in words {
                assert!(!catalogue.contains(word), "`{word}` in the catalogue");
            }
        }
    }

    #[test]
    fn every_key_forms_a_sentence_in_every_language() {
        let mut i18n = I18n::default();
        for locale in Locale::ALL {
            i18n.set_locale(locale);
            for (key, names) in keys(locale) {
                let mut args = BTreeMap::new();
                for name in names {
                    let name: &'static str = Box::leak(name.into_boxed_str());
                    args.insert(name, Words::verbatim("7"));
                }
                let text = i18n.format(&key, &args);
                assert!(!text.trim().is_empty() && !text.contains('{'), "{key}: {text}");
            }
        }
    }

    #[test]
    fn every_reason_verdict_and_step_has_words() {
        let keys = keys(Locale::ZhCn);
        for reason in provenance::Reason::KEYS {
            assert!(keys.contains_key(&format!("reason-{reason}")), "{reason}");
        }
        for verdict in ["genuine", "genuine-stale", "caution", "unverified", "invalid"] {
            assert!(
                keys.contains_key(&format!("verdict-{verdict}"))
                    && keys.contains_key(&format!("verdict-{verdict}-note"))
            );
        }
        for step in crate::origin::STEPS_WITH_WORDS {
            assert!(keys.contains_key(&format!("step-{}", step.replace('_', "-"))), "{step}");
        }
    }

    #[test]
    fn a_date_follows_the_language() {
        let mut i18n = I18n::default();
        let words = Words::date(jiff::civil::date(2026, 3, 9));
        assert_eq!(i18n.say(&words), "2026年3月9日");
        i18n.toggle();
        assert_eq!(i18n.say(&words), "9 March 2026");
    }

    #[test]
    fn a_letter_that_the_font_lacks_is_no_box() {
        let [without, with] = UNACCENTED;
        assert_eq!(without.chars().count(), with.chars().count());
        let mut i18n = I18n::default();
        let name = "Łódź, Dvořák, Château Rive d’Or, 云栖 🍷 𰻝ж";
        assert_eq!(i18n.drawable(name), name, "until a font is there");
        i18n.draw_with(Repertoire::only((' '..='ÿ').chain("’云栖".chars())));
        assert_eq!(i18n.drawable(name), "Lódz, Dvorák, Château Rive d’Or, 云栖  〓〓");
    }

    #[test]
    fn a_name_fits_into_its_card_whatever_the_hub_says() {
        let i18n = I18n::default();
        let said = |name: &str| i18n.say(&Words::name(Names::from([("zh".to_owned(), name.to_owned())])));
        assert_eq!(said("Château Rive d’Or red wine 2022"), "Château Rive d’Or red wine 2022");
        assert_eq!(said(&"ab ".repeat(400)), format!("{}…", "ab ".repeat(19).trim_end()));
        assert_eq!(said(&"W".repeat(1_000)), format!("{}…", "W".repeat(24)));
        assert_eq!(said(&"婴".repeat(1_000)), format!("{}…", "婴".repeat(28)));
        let unnamed = i18n.say(&Words::key("no-name"));
        for nothing in ["", "  \n", "\u{3164}\u{2003}", "\u{202e}"] {
            assert_eq!(said(nothing), unnamed, "{nothing:?}");
        }
        assert_eq!(said("\u{1b}[31mred\u{202e}\u{7} CBA\nnext"), "[31mred CBA next");
    }

    #[test]
    fn numbers_are_written_as_the_language_writes_them() {
        let i18n = I18n::default();
        for (words, wanted) in [
            (Words::count(7_u32), "7"),
            (Words::count(1_963_u64), "1,963"),
            (Words::count(12_345_usize), "12,345"),
            (Words::decimal(-1234.5, 1), "\u{2212}1,234.5"),
            (Words::decimal(-0.04, 1), "0.0"),
            (Words::difference(0.14, 1), "+0.1"),
            (Words::difference(-1.2, 1), "\u{2212}1.2"),
        ] {
            assert_eq!(i18n.say(&words), wanted);
        }
    }

    #[test]
    fn a_text_follows_the_language() {
        let mut app = App::new();
        app.add_plugins(plugin);
        let entity = app.world_mut().spawn(Words::key("skin-title")).id();
        app.update();
        let zh = app.world().get::<Text>(entity).unwrap().0.clone();
        app.world_mut().resource_mut::<I18n>().toggle();
        app.update();
        let en = app.world().get::<Text>(entity).unwrap().0.clone();
        assert_ne!(zh, en);
        assert!(en.is_ascii() && !zh.is_ascii());
    }
}
