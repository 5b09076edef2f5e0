//! Words: every visible word stands in `assets/locales/<tag>.ftl` under a key, and can be switched at any time.
//!
//! Owns the current [`Locale`] and the texts of entities with [`Words`]. Chinese is the default; a key that a
//! language lacks would be shown in Chinese, but a test proves that both are complete.

use std::{borrow::Cow, collections::BTreeMap};

use bevy::prelude::*;
use fluent_bundle::{FluentArgs, FluentResource, concurrent::FluentBundle};
use provenance::Names;
use unic_langid::LanguageIdentifier;

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
    bundles: [FluentBundle<FluentResource>; 2],
}

impl Default for I18n {
    fn default() -> Self {
        Self { locale: Locale::default(), bundles: Locale::ALL.map(bundle) }
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
            Words::Names(names) => self.name(names).to_owned(),
            Words::Verbatim(text) => text.clone(),
            Words::Key { key, args } => self.format(key, args),
        }
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
    Names(Names),
    /// Figures and identifiers, the same in every language.
    Verbatim(String),
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
        Self::Names(names)
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
    use std::collections::BTreeSet;

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
    fn both_languages_have_the_same_keys() {
        let zh: BTreeSet<_> = keys(Locale::ZhCn).into_keys().collect();
        let en: BTreeSet<_> = keys(Locale::En).into_keys().collect();
        assert_eq!(zh, en);
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
