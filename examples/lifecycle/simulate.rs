//! A seeded simulator of card payments: it stands in for a user's own event stream.
//!
//! The world has cards with a home region, a usual amount and habits; merchants with a category
//! and a region; a daily and a weekly rhythm; and fraud rings, each of which gets hold of some
//! cards for a few hours and empties them. At [`REGIME_CHANGE_WEEK`] the world changes: prices
//! rise, customers move online, and the rings switch from few large purchases far from home to
//! bursts of small ones at gift-card merchants, so a model trained before loses most of its skill
//! until it is trained again. Chargebacks (the labels) become known [`LABEL_DELAY`] after the
//! payment. Same seed, same bytes.

use std::{sync::Arc, time::Duration};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use mlops::core::{Result, Timestamp};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::stream::{EVENT_ID, EVENT_TIMESTAMP, LABEL, Stream};

/// Week of the simulation (from 0) in which the regime changes.
pub const REGIME_CHANGE_WEEK: u32 = 17;
/// How long after a payment its chargeback, or the absence of one, is known.
pub const LABEL_DELAY: Duration = Duration::from_secs(2 * DAY as u64);

const WEEKS: u32 = 26;
const CARDS: usize = 900;
const MERCHANTS: usize = 240;
const REGIONS: usize = 12;
const FRAUD_SHARE: f64 = 0.06;
const DAY: i64 = 86_400;
const CATEGORIES: [&str; 7] = ["grocery", "fuel", "restaurant", "travel", "electronics", "fashion", "gift_card"];
/// Share of payments in each hour of the day, up to a factor.
const HOURLY: [f64; 24] = [
    2.0, 1.0, 0.6, 0.5, 0.5, 1.0, 3.0, 6.0, 8.0, 8.0, 8.0, 9.0, 11.0, 10.0, 8.0, 8.0, 9.0, 11.0, 12.0, 11.0, 9.0, 7.0,
    5.0, 3.0,
];
const WEEKDAY: [f64; 7] = [0.9, 0.9, 0.95, 1.0, 1.2, 1.3, 0.8];

struct Card {
    region: usize,
    usual_amount: f64,
    online_share: f64,
    favourite: usize,
}

struct Merchant {
    region: usize,
    category: usize,
}

struct Payment {
    at: i64,
    card: usize,
    merchant: usize,
    amount: f64,
    online: bool,
    fraud: bool,
}

/// Simulates about `events` payments.
pub fn card_payments(seed: u64, events: usize) -> Result<Stream> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let cards: Vec<Card> = (0..CARDS).map(|_| card(&mut rng)).collect();
    let merchants: Vec<Merchant> = (0..MERCHANTS).map(|index| merchant(&mut rng, index)).collect();
    let start = "2024-01-01".parse::<Timestamp>()?.as_micros() / 1_000_000;
    let mut world = World { rng, cards, merchants, start };
    let honest = (events as f64 * (1.0 - FRAUD_SHARE)) as usize;
    let mut payments: Vec<Payment> = (0..honest).map(|_| world.honest_payment()).collect();
    while payments.len() < events {
        world.ring_attack(&mut payments, events);
    }
    // The tie-break makes the order independent of how payments were made.
    payments.sort_by_key(|a| (a.at, a.card, a.merchant));
    let batch = to_batch(&payments, &world)?;
    Ok(Stream {
        name: "payments".to_owned(),
        description: format!(
            "simulated card payments (seed {seed}): {CARDS} cards, {MERCHANTS} merchants, {WEEKS} weeks; the regime changes in week {REGIME_CHANGE_WEEK}"
        ),
        batch,
        entities: vec!["card_id".to_owned(), "merchant_id".to_owned()],
        label_delay: LABEL_DELAY,
        history: Duration::from_secs((11 * 7 * DAY) as u64),
        period: Duration::from_secs((7 * DAY) as u64),
        windows: [3600, DAY as u64, 7 * DAY as u64].map(Duration::from_secs).to_vec(),
        simulated: true,
    })
}

fn card(rng: &mut ChaCha8Rng) -> Card {
    Card {
        region: rng.random_range(0..REGIONS),
        usual_amount: 18.0 * (bell(rng) * 0.5).exp(),
        online_share: 0.1 + 0.3 * rng.random::<f64>(),
        favourite: rng.random_range(0..4),
    }
}

fn merchant(rng: &mut ChaCha8Rng, index: usize) -> Merchant {
    Merchant { region: rng.random_range(0..REGIONS), category: index % CATEGORIES.len() }
}

/// Close to standard normal: the sum of twelve uniforms less six.
fn bell(rng: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

fn weighted(rng: &mut ChaCha8Rng, weights: &[f64]) -> usize {
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return index;
        }
    }
    weights.len() - 1
}

struct World {
    rng: ChaCha8Rng,
    cards: Vec<Card>,
    merchants: Vec<Merchant>,
    start: i64,
}

impl World {
    fn changed(&self, at: i64) -> bool {
        at - self.start >= i64::from(REGIME_CHANGE_WEEK) * 7 * DAY
    }

    fn moment(&mut self) -> i64 {
        let week = i64::from(self.rng.random_range(0..WEEKS));
        let day = weighted(&mut self.rng, &WEEKDAY) as i64;
        let hour = weighted(&mut self.rng, &HOURLY) as i64;
        self.start + (week * 7 + day) * DAY + hour * 3600 + self.rng.random_range(0..3600)
    }

    fn honest_payment(&mut self) -> Payment {
        let at = self.moment();
        let changed = self.changed(at);
        let card = self.rng.random_range(0..self.cards.len());
        let habits = &self.cards[card];
        let (region, favourite) = (habits.region, habits.favourite);
        let online = self.rng.random::<f64>() < habits.online_share + if changed { 0.25 } else { 0.0 };
        let price_level = if changed { 1.35 } else { 1.0 };
        let amount = habits.usual_amount * price_level * (bell(&mut self.rng) * 0.6).exp();
        let at_home = online || self.rng.random::<f64>() < 0.93;
        let merchant = self.pick_merchant(|merchant, rng| {
            let near = online || !at_home || merchant.region == region;
            let liked = merchant.category == favourite || rng.random::<f64>() < 0.25;
            near && liked && (merchant.category != 6 || rng.random::<f64>() < 0.3)
        });
        Payment { at, card, merchant, amount, online, fraud: false }
    }

    /// One ring empties a few cards within hours.
    fn ring_attack(&mut self, payments: &mut Vec<Payment>, events_max: usize) {
        let begin = self.moment();
        let changed = self.changed(begin);
        let victims = self.rng.random_range(1..4);
        for _ in 0..victims {
            let card = self.rng.random_range(0..self.cards.len());
            let region = self.cards[card].region;
            let count = if changed { self.rng.random_range(4..10) } else { self.rng.random_range(1..4) };
            let mut at = begin + self.rng.random_range(0..4 * 3600);
            for _ in 0..count {
                if payments.len() >= events_max {
                    return;
                }
                let payment = if changed { self.small_burst(card, at) } else { self.far_splurge(card, region, at) };
                payments.push(payment);
                at += if changed { self.rng.random_range(20..600) } else { self.rng.random_range(600..7200) };
            }
        }
    }

    /// The old scheme: expensive goods far from the card's home.
    fn far_splurge(&mut self, card: usize, home: usize, at: i64) -> Payment {
        let merchant = self.pick_merchant(|merchant, rng| {
            merchant.region != home && (matches!(merchant.category, 3 | 4) || rng.random::<f64>() < 0.2)
        });
        let amount = self.cards[card].usual_amount * 3.0 * (bell(&mut self.rng) * 0.7).exp();
        let online = self.rng.random::<f64>() < 0.3;
        Payment { at, card, merchant, amount, online, fraud: true }
    }

    /// The new scheme: small sums at gift-card merchants, one after another.
    fn small_burst(&mut self, card: usize, at: i64) -> Payment {
        let merchant = self.pick_merchant(|merchant, rng| merchant.category == 6 || rng.random::<f64>() < 0.1);
        let amount = 9.0 * (bell(&mut self.rng) * 0.5).exp();
        Payment { at, card, merchant, amount, online: true, fraud: true }
    }

    fn pick_merchant(&mut self, mut fits: impl FnMut(&Merchant, &mut ChaCha8Rng) -> bool) -> usize {
        // Bounded: after enough refusals any merchant will do.
        for _ in 0..200 {
            let index = self.rng.random_range(0..self.merchants.len());
            if fits(&self.merchants[index], &mut self.rng) {
                return index;
            }
        }
        self.rng.random_range(0..self.merchants.len())
    }
}

fn to_batch(payments: &[Payment], world: &World) -> Result<RecordBatch> {
    let ints = |value: &dyn Fn(&Payment) -> i64| -> ArrayRef {
        Arc::new(payments.iter().map(|payment| Some(value(payment))).collect::<Int64Array>())
    };
    let away = |payment: &Payment| {
        let distance = world.cards[payment.card].region.abs_diff(world.merchants[payment.merchant].region);
        distance.min(REGIONS - distance) as i64
    };
    let category = |payment: &Payment| CATEGORIES[world.merchants[payment.merchant].category];
    let times = payments.iter().map(|payment| Some(payment.at * 1_000_000)).collect::<TimestampMicrosecondArray>();
    let amounts = payments.iter().map(|payment| Some((payment.amount * 100.0).round() / 100.0));
    let hour = |payment: &Payment| (payment.at - world.start).rem_euclid(DAY) / 3600;
    Ok(RecordBatch::try_from_iter([
        (EVENT_ID, Arc::new((0..payments.len() as i64).map(Some).collect::<Int64Array>()) as ArrayRef),
        (EVENT_TIMESTAMP, Arc::new(times.with_timezone("UTC"))),
        ("card_id", ints(&|payment| payment.card as i64)),
        ("merchant_id", ints(&|payment| payment.merchant as i64)),
        ("amount", Arc::new(amounts.collect::<Float64Array>())),
        ("category", Arc::new(payments.iter().map(|payment| Some(category(payment))).collect::<StringArray>())),
        ("online", ints(&|payment| i64::from(payment.online))),
        ("regions_from_home", ints(&away)),
        ("hour", ints(&hour)),
        (LABEL, ints(&|payment| i64::from(payment.fraud))),
    ])?)
}
