//! The published rules by which products are chosen for a visitor. Pure: needs, catalogue and shelves in, at most
//! [`SUGGESTIONS_MAX`] products out, the same ones for the same input.
//!
//! 1. Only what lies on a shelf now, and whose maker has registered what it does.
//! 2. First what was measured as more visible than on half of the reference faces, the most visible first, and only where
//!    the whole interval says so; or what the visitor has said, in the order of the questions.
//! 3. Each need takes its turn, and takes the product that meets most of the needs; between equals the one of which more
//!    lies on the shelf, then the lower article number.
//! 4. Who is too young for a camera is offered no care for lines or tone.
//! 5. Care for everybody (moisture, sun, a clean face, and nothing that promises more) fills up to [`SUGGESTIONS_MIN`].
//!
//! Neither maker nor price is known here: nobody can buy a place.

use std::collections::BTreeSet;

use contract::hub::ShelfStock;
use provenance::Names;
use serde::Deserialize;
use vision::{
    SkinReport,
    skin::{Metric, MetricId, Status},
};

use crate::origin::{Catalogue, Form};

/// Products that are suggested, at most.
pub const SUGGESTIONS_MAX: usize = 5;
/// Care for everybody fills up to so many.
pub const SUGGESTIONS_MIN: usize = 3;
/// What everybody needs, in the order in which it fills up.
const EVERYBODY: [Efficacy; 3] = [Efficacy::Moisturising, Efficacy::SunProtection, Efficacy::Cleansing];
/// A score whose whole interval lies below shows more than half of the reference does.
const HALF: u8 = 50;

/// What a cosmetic is registered to do: classes of the NMPA's catalogue of cosmetic efficacy claims (化妆品分类规则和分类目录,
/// 2021), as far as a rule asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Efficacy {
    /// 保湿.
    Moisturising,
    /// 舒缓.
    Soothing,
    /// 控油.
    OilControl,
    /// 祛斑美白.
    Brightening,
    /// 抗皱.
    AntiWrinkle,
    /// 防晒.
    SunProtection,
    /// 清洁.
    Cleansing,
    /// One that no rule asks for.
    #[serde(other)]
    Other,
}

/// What the catalogue says of a product that cares for skin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Care {
    /// What it is registered to do.
    pub efficacy: BTreeSet<Efficacy>,
    /// Its maker's own registered words, by language; nothing is added to them.
    pub claim: Names,
}

/// Why a product is suggested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Because {
    /// Of what was measured.
    Measured(MetricId),
    /// Of what the visitor said.
    Said(Wish),
    /// It suits everybody.
    Everybody,
}

/// What a visitor may wish for in the questionnaire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wish {
    /// Skin that feels dry.
    Moisture,
    /// Skin that flushes easily.
    Calm,
    /// Less shine.
    Matt,
    /// A more even tone.
    Even,
    /// Smoother lines.
    Smooth,
    /// A screen against the sun.
    Sun,
    /// A clean face.
    Clean,
}

impl Wish {
    /// All, in the order in which they are asked.
    pub const ALL: [Self; 7] =
        [Self::Moisture, Self::Calm, Self::Matt, Self::Even, Self::Smooth, Self::Sun, Self::Clean];

    /// Whether it is one of somebody who is too young for a camera, too: a child is offered no care for lines or tone.
    #[must_use]
    pub fn suits_children(self) -> bool {
        !matches!(self, Self::Even | Self::Smooth)
    }

    /// Its word, for keys and names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Moisture => "moisture",
            Self::Calm => "calm",
            Self::Matt => "matt",
            Self::Even => "even",
            Self::Smooth => "smooth",
            Self::Sun => "sun",
            Self::Clean => "clean",
        }
    }

    fn efficacy(self) -> Efficacy {
        match self {
            Self::Moisture => Efficacy::Moisturising,
            Self::Calm => Efficacy::Soothing,
            Self::Matt => Efficacy::OilControl,
            Self::Even => Efficacy::Brightening,
            Self::Smooth => Efficacy::AntiWrinkle,
            Self::Sun => Efficacy::SunProtection,
            Self::Clean => Efficacy::Cleansing,
        }
    }
}

/// What a product should do, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    efficacy: Efficacy,
    because: Because,
}

/// What was measured as more visible than on half of the reference faces, the most visible first.
#[must_use]
pub fn measured(report: &SkinReport) -> Vec<Need> {
    let mut needs: Vec<(u8, Need)> = report.metrics.iter().filter_map(measured_need).collect();
    needs.sort_by_key(|(score, _)| *score);
    needs.into_iter().map(|(_, need)| need).collect()
}

fn measured_need(metric: &Metric) -> Option<(u8, Need)> {
    let efficacy = match metric.id {
        MetricId::Lines => Efficacy::AntiWrinkle,
        MetricId::Spots | MetricId::Evenness => Efficacy::Brightening,
        MetricId::Redness => Efficacy::Soothing,
        MetricId::Shine => Efficacy::OilControl,
        // No class of claims speaks of them.
        MetricId::UnderEye | MetricId::Pores => return None,
    };
    let found = metric.measured.as_ref().filter(|_| metric.status == Status::Ok)?;
    let (score, [_, high]) = found.score.zip(found.score_ci)?;
    (high < HALF).then_some((score, Need { efficacy, because: Because::Measured(metric.id) }))
}

/// What a visitor has said, in the order of the questions.
#[must_use]
pub fn said(wishes: &BTreeSet<Wish>) -> Vec<Need> {
    wishes.iter().map(|wish| Need { efficacy: wish.efficacy(), because: Because::Said(*wish) }).collect()
}

/// A product for a visitor, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// GTIN-14.
    pub gtin: String,
    /// Its names by language.
    pub name: Names,
    /// Its maker's own words.
    pub claim: Names,
    /// What it looks like from afar.
    pub form: Form,
    /// The shelf that has most of it.
    pub shelf: String,
    /// Why it is suggested.
    pub because: Because,
}

struct Candidate<'a> {
    suggestion: Suggestion,
    efficacy: &'a BTreeSet<Efficacy>,
    pieces: u32,
}

impl Candidate<'_> {
    fn is_for_adults(&self) -> bool {
        self.efficacy.contains(&Efficacy::AntiWrinkle) || self.efficacy.contains(&Efficacy::Brightening)
    }

    /// Whether it does nothing but what everybody needs: a child is offered no care for lines.
    fn suits_everybody(&self) -> bool {
        self.efficacy.iter().all(|efficacy| EVERYBODY.contains(efficacy))
    }
}

/// Chooses by the rules above.
#[must_use]
pub fn choose<'a>(
    needs: &[Need],
    catalogue: &Catalogue,
    shelves: impl Iterator<Item = &'a ShelfStock>,
    is_child: bool,
) -> Vec<Suggestion> {
    let mut candidates = candidates(catalogue, shelves);
    candidates.retain(|candidate| !(is_child && candidate.is_for_adults()));
    let merit = |candidate: &Candidate| {
        needs.iter().filter(|need| candidate.efficacy.contains(&need.efficacy)).count()
    };
    candidates.sort_by(|one, other| {
        (merit(other), other.pieces, &one.suggestion.gtin).cmp(&(
            merit(one),
            one.pieces,
            &other.suggestion.gtin,
        ))
    });
    let everybody = EVERYBODY.map(|efficacy| Need { efficacy, because: Because::Everybody });
    let mut chosen = Vec::new();
    for (needs, count_max) in [(needs, SUGGESTIONS_MAX), (&everybody, SUGGESTIONS_MIN)] {
        let mut is_met = true;
        while is_met {
            is_met = false;
            for need in needs {
                let meets = |candidate: &Candidate| {
                    candidate.efficacy.contains(&need.efficacy)
                        && (need.because != Because::Everybody || candidate.suits_everybody())
                };
                if chosen.len() < count_max
                    && let Some(at) = candidates.iter().position(meets)
                {
                    chosen.push(Suggestion { because: need.because, ..candidates.remove(at).suggestion });
                    is_met = true;
                }
            }
        }
    }
    chosen
}

/// Why there are needs that none of the products meets.
#[must_use]
pub fn missing(needs: &[Need], chosen: &[Suggestion], catalogue: &Catalogue) -> Vec<Because> {
    let care =
        |suggestion: &Suggestion| catalogue.product(&suggestion.gtin).and_then(|known| known.care.as_ref());
    let is_met =
        |need: &&Need| chosen.iter().filter_map(care).any(|care| care.efficacy.contains(&need.efficacy));
    needs.iter().filter(|need| !is_met(need)).map(|need| need.because).collect()
}

/// Every product that cares for skin and lies on a shelf, from the shelf that has most of it.
fn candidates<'a>(
    catalogue: &Catalogue,
    shelves: impl Iterator<Item = &'a ShelfStock>,
) -> Vec<Candidate<'_>> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for shelf in shelves {
        let Some(pieces) = shelf.pieces.filter(|pieces| 0 < *pieces) else { continue };
        let Some(product) = shelf.gtin.as_deref().and_then(|gtin| catalogue.product(gtin)) else { continue };
        let Some(care) = &product.care else { continue };
        let candidate = Candidate {
            suggestion: Suggestion {
                gtin: product.gtin.clone(),
                name: product.name.clone(),
                claim: care.claim.clone(),
                form: product.form,
                shelf: shelf.shelf.as_str().to_owned(),
                because: Because::Everybody,
            },
            efficacy: &care.efficacy,
            pieces,
        };
        match candidates.iter_mut().find(|known| known.suggestion.gtin == product.gtin) {
            Some(known) if known.pieces < pieces => *known = candidate,
            Some(_) => {}
            None => candidates.push(candidate),
        }
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Product;

    fn catalogue(products: &[(&str, &[&str])]) -> Catalogue {
        let product = |(gtin, efficacy): &(&str, &[&str])| -> Product {
            let json = serde_json::json!({
                "gtin": gtin, "name": {"en": gtin}, "maker": {"en": "m"}, "origin": {"en": "o"},
                "care": {"efficacy": efficacy, "claim": {"en": "claim"}},
            });
            serde_json::from_value(json).unwrap()
        };
        products.iter().map(product).collect()
    }

    fn shelf(id: &str, gtin: &str, pieces: Option<u32>) -> ShelfStock {
        let json = serde_json::json!({
            "shelf": id, "gtin": gtin, "pieces": pieces, "at": "2026-11-22T20:00:00.000Z",
        });
        serde_json::from_value(json).unwrap()
    }

    fn gtins(chosen: &[Suggestion]) -> Vec<&str> {
        chosen.iter().map(|suggestion| suggestion.gtin.as_str()).collect()
    }

    fn wishes(wishes: &[Wish]) -> Vec<Need> {
        said(&wishes.iter().copied().collect())
    }

    #[test]
    fn what_is_not_on_a_shelf_is_not_suggested_and_the_fullest_shelf_is_the_hint() {
        let catalogue = catalogue(&[("1", &["soothing"]), ("2", &["soothing"]), ("3", &["soothing"])]);
        let shelves = [
            shelf("shelf-01", "1", Some(0)),
            shelf("shelf-02", "2", Some(2)),
            shelf("shelf-03", "2", Some(9)),
            shelf("shelf-04", "3", None),
            shelf("shelf-05", "unknown", Some(5)),
        ];
        let chosen = choose(&wishes(&[Wish::Calm]), &catalogue, shelves.iter(), false);
        assert_eq!(gtins(&chosen), ["2"]);
        assert_eq!((chosen[0].shelf.as_str(), chosen[0].because), ("shelf-03", Because::Said(Wish::Calm)));
        let needs = wishes(&[Wish::Calm, Wish::Sun]);
        assert_eq!(missing(&needs, &chosen, &catalogue), [Because::Said(Wish::Sun)]);
    }

    #[test]
    fn every_need_has_its_turn_and_the_product_that_meets_most_of_them_comes_first() {
        let catalogue = catalogue(&[
            ("1", &["oil-control"]),
            ("2", &["oil-control", "cleansing"]),
            ("3", &["oil-control"]),
            ("4", &["brightening"]),
            ("5", &["moisturising"]),
        ]);
        let stock: Vec<_> =
            ["1", "2", "3", "4", "5"].map(|gtin| shelf("shelf-01", gtin, Some(3))).into_iter().collect();
        let needs = wishes(&[Wish::Matt, Wish::Even, Wish::Clean]);
        assert_eq!(gtins(&choose(&needs, &catalogue, stock.iter(), false)), ["2", "4", "1", "3"]);
        // The order of the shelves decides nothing.
        assert_eq!(
            choose(&needs, &catalogue, stock.iter().rev(), false),
            choose(&needs, &catalogue, stock.iter(), false)
        );
    }

    #[test]
    fn without_a_need_there_is_care_for_everybody_and_no_more_than_a_few() {
        let products: Vec<(String, [&str; 1])> =
            (0..9).map(|index| (index.to_string(), ["moisturising"])).collect();
        let known: Vec<(&str, &[&str])> =
            products.iter().map(|(gtin, care)| (gtin.as_str(), &care[..])).collect();
        let catalogue = catalogue(&known);
        let shelves: Vec<_> = products.iter().map(|(gtin, _)| shelf("shelf-01", gtin, Some(1))).collect();
        let chosen = choose(&[], &catalogue, shelves.iter(), false);
        assert_eq!((chosen.len(), chosen[0].because), (SUGGESTIONS_MIN, Because::Everybody));
        let chosen = choose(&wishes(&[Wish::Moisture]), &catalogue, shelves.iter(), false);
        assert_eq!(chosen.len(), SUGGESTIONS_MAX);
        assert!(choose(&[], &catalogue, [].iter(), false).is_empty());
    }

    #[test]
    fn nobody_is_offered_a_promise_that_he_did_not_ask_for() {
        let catalogue = catalogue(&[("1", &["anti-wrinkle", "moisturising"]), ("2", &["moisturising"])]);
        let shelves = [shelf("shelf-01", "1", Some(9)), shelf("shelf-02", "2", Some(1))];
        assert_eq!(gtins(&choose(&[], &catalogue, shelves.iter(), false)), ["2"]);
        assert_eq!(gtins(&choose(&wishes(&[Wish::Smooth]), &catalogue, shelves.iter(), false)), ["1", "2"]);
        assert_eq!(gtins(&choose(&wishes(&[Wish::Moisture]), &catalogue, shelves.iter(), true)), ["2"]);
    }

    #[test]
    fn only_what_is_surely_more_visible_than_on_half_of_the_reference_is_a_need() {
        let mut report = crate::screens::states::report(true);
        let mut rate = |id: MetricId, score: u8, high: u8, status: Status| {
            let metric = report.metrics.iter_mut().find(|metric| metric.id == id).unwrap();
            metric.status = status;
            let found = metric.measured.as_mut().unwrap();
            (found.score, found.score_ci) = (Some(score), Some([0, high]));
        };
        rate(MetricId::Lines, 40, 49, Status::Ok);
        rate(MetricId::Spots, 45, 50, Status::Ok);
        rate(MetricId::Redness, 10, 20, Status::LowConfidence);
        rate(MetricId::Shine, 20, 30, Status::Ok);
        rate(MetricId::UnderEye, 0, 1, Status::Ok);
        rate(MetricId::Evenness, 90, 95, Status::Ok);
        let because: Vec<_> = measured(&report).iter().map(|need| need.because).collect();
        assert_eq!(because, [Because::Measured(MetricId::Shine), Because::Measured(MetricId::Lines)]);
    }
}
