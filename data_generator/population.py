"""The users: who they are (persona) and how they vary around it.

Everything here depends on the seed only, never on a date, and user *n* is the same whatever the number of users.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from data_generator.catalogue import Catalogue, FloatArray, IntArray
from data_generator.random_streams import random_stream

PERSONAS_FILE = Path(__file__).with_name("personas.yaml")

EVENT_TYPES = ("page_view", "search", "click", "view", "cart", "remove_from_cart", "checkout", "purchase")
PAGE_VIEW, SEARCH, CLICK, VIEW, CART, REMOVE_FROM_CART, CHECKOUT, PURCHASE = range(len(EVENT_TYPES))
# The same index is the last column of a transition table ("end") and its last row ("start").
END = START = len(EVENT_TYPES)
NEEDS_CART = (REMOVE_FROM_CART, CHECKOUT, PURCHASE)

HOURS = 24
WEEKDAYS = 7
FIRST_WEEKEND_DAY = 5

# A user's sessions per week is the persona's times a Pareto draw: the n-th most active of the users has about
# n ** -1/PARETO_SHAPE of the first one's. The ceiling keeps one user from being the whole shop.
PARETO_SHAPE = 1.3
PARETO_CEILING = 40.0

FAVOURITE_CATEGORIES = 3
FAVOURITE_WEIGHTS = (0.5, 0.2, 0.1)  # the rest of the sessions follow the shop's popularity

# Spread of users around their persona: standard deviation of the log of a factor, except hours.
TASTE_SPREAD = 0.38
PRICE_SPREAD = 0.5
PACE_SPREAD = 0.3
WEEKEND_SPREAD = 0.35
HOUR_SHIFT_SPREAD_HOURS = 1.4

USER_ID_DIGITS = 10
# Odd and not a multiple of 5, so that number -> number * factor mod 10^10 gives every user another id.
USER_ID_FACTOR = 2_654_435_761

DEVICES: tuple[tuple[str, str, str], ...] = (
    ("mobile", "Android", "Chrome"),
    ("mobile", "iOS", "Safari"),
    ("desktop", "Windows", "Chrome"),
    ("desktop", "Windows", "Edge"),
    ("desktop", "macOS", "Safari"),
    ("mobile", "Android", "Samsung Internet"),
    ("tablet", "iPadOS", "Safari"),
    ("desktop", "Linux", "Firefox"),
)
DEVICE_WEIGHTS = (0.30, 0.22, 0.17, 0.08, 0.08, 0.06, 0.06, 0.03)
CITIES: tuple[tuple[str, str], ...] = (
    ("DE", "Berlin"),
    ("DE", "München"),
    ("FR", "Paris"),
    ("GB", "London"),
    ("ES", "Madrid"),
    ("PL", "Kraków"),
    ("IT", "Milano"),
    ("NL", "Amsterdam"),
    ("US", "New York"),
    ("US", "Chicago"),
    ("BR", "São Paulo"),
    ("IN", "Mumbai"),
)
CITY_WEIGHTS = (0.14, 0.08, 0.12, 0.13, 0.08, 0.06, 0.07, 0.06, 0.1, 0.06, 0.05, 0.05)

Int8Array = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Persona:
    """One entry of personas.yaml; `transitions` is 9 x 9, rows = last event (8: start), columns = next (8: end)."""

    name: str
    share: float
    sessions_per_week: float
    weekday: FloatArray
    hours: FloatArray
    seconds_per_event: float
    prices: FloatArray
    quantity_mean: float
    transitions: FloatArray


@dataclass(frozen=True)
class PersonaMove:
    """From `since` on, `share` of all users behave as another persona than before; those who move are the seed's."""

    since: date
    from_persona: str
    to_persona: str
    share: float

    def __str__(self) -> str:
        return f"{self.since} {self.from_persona} {self.to_persona} {self.share}"

    @classmethod
    def parse(cls, text: str) -> PersonaMove:
        """`2025-05-01 window_shopper loyal_buyer 0.1`. Raises ValueError."""
        try:
            since, from_persona, to_persona, share = text.split()
            move = cls(date.fromisoformat(since), from_persona, to_persona, float(share))
        except ValueError:
            raise ValueError(f"{text!r} is not: YYYY-MM-DD FROM-PERSONA TO-PERSONA SHARE") from None
        known = [persona.name for persona in load_personas()]
        if unknown := {from_persona, to_persona}.difference(known):
            raise ValueError(f"{', '.join(sorted(unknown))}: no persona; there are {', '.join(known)}")
        if not 0 < move.share <= 1:
            raise ValueError(f"the share {share} is not between 0 and 1")
        return move


@dataclass(frozen=True)
class Population:
    """One entry per user; weights are relative, `taste` (users x 9) multiplies the persona's transition weights."""

    personas: tuple[Persona, ...]
    persona: Int8Array
    sessions_per_week: FloatArray
    weekend_factor: FloatArray
    hour_shift: FloatArray
    pace: FloatArray
    taste: FloatArray
    price_weights: FloatArray
    favourite_categories: IntArray
    devices: Int8Array
    city: Int8Array

    def __len__(self) -> int:
        return len(self.persona)

    def user_ids(self) -> list[str]:
        """Decimal strings of 10 digits, some beginning with zeros."""
        numbers = (np.arange(1, len(self) + 1, dtype=np.int64) * USER_ID_FACTOR) % 10**USER_ID_DIGITS
        return [f"{number:0{USER_ID_DIGITS}d}" for number in numbers.tolist()]

    def persona_names(self) -> list[str]:
        """Persona of each user, the truth."""
        return [self.personas[number].name for number in self.persona.tolist()]

    def sessions_per_day(self, weekday: int) -> FloatArray:
        """Expected sessions of each user on a weekday (0 = Monday) in an ordinary week."""
        factors = np.array([persona.weekday / persona.weekday.mean() for persona in self.personas])
        weekend = self.weekend_factor if weekday >= FIRST_WEEKEND_DAY else 1 / self.weekend_factor
        per_day: FloatArray = self.sessions_per_week / WEEKDAYS * factors[self.persona, weekday] * weekend
        return per_day

    def draw_hours(self, rng: np.random.Generator, user: IntArray) -> FloatArray:
        """A time of day in hours [0, 24) for each user, by the persona's rhythm and the user's own shift."""
        drawn = np.empty(len(user))
        persona = self.persona[user]
        uniform = rng.random(len(user))
        for number, kind in enumerate(self.personas):
            chosen = persona == number
            edges = np.concatenate(([0.0], np.cumsum(kind.hours / kind.hours.sum())))
            drawn[chosen] = np.interp(uniform[chosen], edges, np.arange(HOURS + 1))
        return (drawn + self.hour_shift[user]) % HOURS

    def draw_categories(self, rng: np.random.Generator, user: IntArray, shop_weights: FloatArray) -> IntArray:
        """A category for each user: mostly a favourite, else by the shop's popularity."""
        uniform = rng.random(len(user))
        rank = np.searchsorted(np.cumsum(FAVOURITE_WEIGHTS), uniform, side="right")
        elsewhere = draw_from(rng, shop_weights, len(user))
        favourite = self.favourite_categories[user, np.minimum(rank, FAVOURITE_CATEGORIES - 1)]
        return np.where(rank < FAVOURITE_CATEGORIES, favourite, elsewhere)


def draw_from(rng: np.random.Generator, weights: npt.ArrayLike, size: int) -> IntArray:
    """Draw `size` indices in proportion to `weights`; the first n of a longer draw equal a draw of n."""
    edges = np.cumsum(np.asarray(weights, dtype=np.float64))
    return np.searchsorted(edges / edges[-1], rng.random(size), side="right").astype(np.int64)


def load_personas(file: Path = PERSONAS_FILE) -> tuple[Persona, ...]:
    """Read personas.yaml.

    Raises:
        ValueError: a table breaks a rule (see `_transition_table`), or hours, weekdays or prices have a wrong length.
    """
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    common = content["common_transitions"]
    return tuple(
        Persona(
            name=name,
            share=float(entry["share"]),
            sessions_per_week=float(entry["sessions_per_week"]),
            weekday=_weights(entry["weekday"], WEEKDAYS, f"{file}: {name}.weekday"),
            hours=_weights(entry["hours"], HOURS, f"{file}: {name}.hours"),
            seconds_per_event=float(entry["seconds_per_event"]),
            prices=_weights(entry["prices"], 3, f"{file}: {name}.prices"),
            quantity_mean=float(entry["quantity_mean"]),
            transitions=_transition_table({**common, **entry.get("transitions", {})}, f"{file}: {name}"),
        )
        for name, entry in content["personas"].items()
    )


def draw_population(
    seed: int, users: int, catalogue: Catalogue, personas: tuple[Persona, ...] | None = None
) -> Population:
    """The first `users` users of the seed's world."""
    personas = load_personas() if personas is None else personas

    def stream(name: str) -> np.random.Generator:
        return random_stream(seed, "population", name)

    persona = draw_from(stream("persona"), [p.share for p in personas], users)
    pareto = np.minimum((1 - stream("activity").random(users)) ** (-1 / PARETO_SHAPE), PARETO_CEILING)
    price_tilt = np.exp(PRICE_SPREAD * stream("prices").standard_normal((users, 3)))
    price_weights = np.array([p.prices for p in personas])[persona] * price_tilt
    categories = draw_from(stream("categories"), catalogue.category_weights, users * FAVOURITE_CATEGORIES)
    devices = draw_from(stream("devices"), DEVICE_WEIGHTS, users * 2)
    return Population(
        personas=personas,
        persona=persona.astype(np.int8),
        sessions_per_week=np.array([p.sessions_per_week for p in personas])[persona] * pareto,
        weekend_factor=np.exp(WEEKEND_SPREAD * stream("weekend").standard_normal(users)),
        hour_shift=HOUR_SHIFT_SPREAD_HOURS * stream("hours").standard_normal(users),
        pace=np.exp(PACE_SPREAD * stream("pace").standard_normal(users)),
        taste=np.exp(TASTE_SPREAD * stream("taste").standard_normal((users, END + 1))),
        price_weights=price_weights / price_weights.sum(axis=1, keepdims=True),
        favourite_categories=categories.reshape(users, FAVOURITE_CATEGORIES),
        devices=devices.reshape(users, 2).astype(np.int8),
        city=draw_from(stream("city"), CITY_WEIGHTS, users).astype(np.int8),
    )


def move_users(population: Population, move: PersonaMove, seed: int) -> Population:
    """The same users, some of them with another persona's behaviour; their own taste, pace and habits stay.

    Raises ValueError where fewer users than `share` have the persona.
    """
    names = [persona.name for persona in population.personas]
    before, after = names.index(move.from_persona), names.index(move.to_persona)
    candidates = np.flatnonzero(population.persona == before)
    wanted = round(move.share * len(population))
    if wanted > len(candidates):
        raise ValueError(f"{wanted} of {len(population)} users cannot move: {len(candidates)} are {move.from_persona}")
    chosen = random_stream(seed, "population", "persona-move").permutation(candidates)[:wanted]
    old, new = population.personas[before], population.personas[after]
    persona, sessions_per_week = population.persona.copy(), population.sessions_per_week.copy()
    price_weights = population.price_weights.copy()
    persona[chosen] = after
    sessions_per_week[chosen] *= new.sessions_per_week / old.sessions_per_week
    price_weights[chosen] *= new.prices / old.prices
    price_weights[chosen] /= price_weights[chosen].sum(axis=1, keepdims=True)
    return replace(population, persona=persona, sessions_per_week=sessions_per_week, price_weights=price_weights)


def _weights(values: Any, length: int, where: str) -> FloatArray:
    weights = np.array(values, dtype=np.float64)
    if weights.shape != (length,) or (weights < 0).any() or weights.sum() <= 0:
        raise ValueError(f"{where}: expected {length} weights, none negative, not all zero")
    return weights


def _transition_table(rows: dict[str, dict[str, float]], where: str) -> FloatArray:
    """Weights as a 9 x 9 table; refuses what would break a session.

    Every row but `start` must be able to end, or sessions need not end; `purchase` follows only `checkout`;
    a session does not begin with something that needs a filled cart.
    """
    row_names, column_names = (*EVENT_TYPES, "start"), (*EVENT_TYPES, "end")
    if set(rows) != set(row_names):
        raise ValueError(f"{where}: transitions need exactly the rows {', '.join(row_names)}")
    table = np.zeros((END + 1, END + 1))
    for row, weights in rows.items():
        if unknown := set(weights) - set(column_names):
            raise ValueError(f"{where}: {row} leads to unknown event types: {', '.join(sorted(unknown))}")
        for column, weight in weights.items():
            table[row_names.index(row), column_names.index(column)] = weight
    if (table[:START, END] <= 0).any() or table[START, END] > 0:
        raise ValueError(f"{where}: every event type must be able to lead to end, and start must not")
    if np.delete(table[:, PURCHASE], CHECKOUT).any():
        raise ValueError(f"{where}: only checkout may lead to purchase")
    if table[START, list(NEEDS_CART)].any() or table.min() < 0:
        raise ValueError(f"{where}: a session cannot start with a filled cart, and no weight may be negative")
    return table
