"""Sessions as state machines, all of them moved one event forward by each array step."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from data_generator.catalogue import PRICE_THIRDS, Catalogue, FloatArray, IntArray
from data_generator.population import (
    CART,
    CHECKOUT,
    CLICK,
    END,
    EVENT_TYPES,
    NEEDS_CART,
    PAGE_VIEW,
    PURCHASE,
    REMOVE_FROM_CART,
    SEARCH,
    START,
    VIEW,
    Population,
)

MAX_EVENTS_PER_SESSION = 120
CART_SIZE = 8
NONE = -1

# Pauses between two events: log-normal, in milliseconds; well under the 30 idle minutes that end a session.
SHORTEST_PAUSE_MS = 150
LONGEST_PAUSE_MS = 25 * 60_000
PAUSE_SPREAD = 0.9
INTERRUPTION_RATE = 0.01  # the telephone rings
INTERRUPTION_MS = (2 * 60_000, LONGEST_PAUSE_MS)
# The pause before an event, relative to the persona's.
PAUSE_FACTORS = {SEARCH: 0.8, CLICK: 0.5, VIEW: 0.6, CART: 1.3, CHECKOUT: 1.4, PURCHASE: 2.6}
# The articles of one order are reported one after the other.
SAME_ORDER_PAUSE_MS = (40, 400)

CATEGORY_CHANGE_RATE = 0.12  # at a page view or a search
HOME_RATE = 0.3  # of page views; at the beginning of a session:
FIRST_HOME_RATE = 0.6
LARGEST_QUANTITY = 20


@dataclass(frozen=True)
class EventColumns:
    """One entry per event. -1 = does not apply.

    `session` is an index into the sessions simulated together, `time_ms` milliseconds since 1970 UTC, `category` the
    page's category (-1 = home), `query` an index into the category's queries, `position` the rank in the session.
    """

    session: npt.NDArray[np.int32]
    position: npt.NDArray[np.int16]
    time_ms: npt.NDArray[np.int64]
    event_type: npt.NDArray[np.int8]
    product: npt.NDArray[np.int32]
    quantity: npt.NDArray[np.int8]
    category: npt.NDArray[np.int16]
    query: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.session)

    def take(self, rows: npt.NDArray[np.bool_] | IntArray) -> Self:
        """The events at `rows` (indices or a mask), in that order."""
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def concatenate(cls, parts: list[Self]) -> Self:
        """One set of columns after the other."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})


def simulate_sessions(
    rng: np.random.Generator, population: Population, catalogue: Catalogue, user: IntArray, start_ms: IntArray
) -> EventColumns:
    """All events of one session per entry of `user`, which begins at `start_ms`; ordered by position, then session."""
    tables = np.array([persona.transitions for persona in population.personas])
    seconds = np.array([persona.seconds_per_event for persona in population.personas])
    extra_quantity = np.array([persona.quantity_mean - 1 for persona in population.personas])
    pause_factors = np.array([PAUSE_FACTORS.get(event_type, 1.0) for event_type in range(len(EVENT_TYPES))])
    queries = np.array([len(category.queries) for category in catalogue.categories])
    price_edges = np.cumsum(population.price_weights, axis=1)

    sessions = len(user)
    last = np.full(sessions, START, dtype=np.int8)
    now = start_ms.astype(np.int64)
    category = population.draw_categories(rng, user, catalogue.category_weights)
    product = np.full(sessions, NONE, dtype=np.int32)
    cart = np.full((sessions, CART_SIZE), NONE, dtype=np.int32)
    cart_quantity = np.zeros((sessions, CART_SIZE), dtype=np.int8)
    in_cart = np.zeros(sessions, dtype=np.int64)

    active = np.arange(sessions)
    steps: list[EventColumns] = []
    for position in range(MAX_EVENTS_PER_SESSION):
        event_type = _draw_event_types(rng, population, tables, user[active], last[active], in_cart[active])
        active, event_type = active[event_type != END], event_type[event_type != END]
        if not len(active):
            break
        size = len(active)
        users = user[active]
        persona = population.persona[users]
        previous = last[active]

        if position:
            median_ms = 1000 * seconds[persona] * population.pace[users] * pause_factors[event_type]
            same_order = (previous == PURCHASE) & (event_type == PURCHASE)
            now[active] += _draw_pauses_ms(rng, median_ms, same_order)

        wanders = rng.random(size) < CATEGORY_CHANGE_RATE
        wanders &= (event_type == PAGE_VIEW) | (event_type == SEARCH)
        category[active[wanders]] = population.draw_categories(rng, users[wanders], catalogue.category_weights)

        opens = (event_type == CLICK) | ((event_type == VIEW) & (previous != CLICK))
        opens |= (event_type == CART) & (product[active] == NONE)
        third = (price_edges[users[opens]] <= rng.random(int(opens.sum()))[:, None]).sum(axis=1)
        opened = catalogue.draw_products(rng, category[active[opens]], np.minimum(third, PRICE_THIRDS - 1))
        product[active[opens]] = opened

        event_product = np.full(size, NONE, dtype=np.int32)
        event_quantity = np.full(size, NONE, dtype=np.int8)
        shown = (event_type == CLICK) | (event_type == VIEW) | (event_type == CART)
        event_product[shown] = product[active[shown]]

        added = event_type == CART
        rows, slot = active[added], in_cart[active[added]]
        units = 1 + rng.poisson(extra_quantity[persona[added]])
        event_quantity[added] = np.minimum(units, LARGEST_QUANTITY)
        cart[rows, slot], cart_quantity[rows, slot] = event_product[added], event_quantity[added]
        in_cart[rows] += 1

        taken = (event_type == REMOVE_FROM_CART) | (event_type == PURCHASE)
        rows = active[taken]
        in_cart[rows] -= 1
        event_product[taken] = cart[rows, in_cart[rows]]
        event_quantity[taken] = cart_quantity[rows, in_cart[rows]]

        searched = event_type == SEARCH
        query = np.full(size, NONE, dtype=np.int8)
        # The square makes the first queries of a category the common ones.
        query[searched] = (rng.random(int(searched.sum())) ** 2 * queries[category[active[searched]]]).astype(np.int8)
        page_category = category[active].astype(np.int16)
        page_category[(event_type == PAGE_VIEW) & (rng.random(size) < (HOME_RATE if position else FIRST_HOME_RATE))] = (
            NONE
        )

        last[active] = event_type
        steps.append(
            EventColumns(
                session=active.astype(np.int32),
                position=np.full(size, position, dtype=np.int16),
                time_ms=now[active],
                event_type=event_type,
                product=event_product,
                quantity=event_quantity,
                category=page_category,
                query=query,
            )
        )
    return EventColumns.concatenate(steps)


def _draw_event_types(
    rng: np.random.Generator,
    population: Population,
    tables: FloatArray,
    user: IntArray,
    last: npt.NDArray[np.int8],
    in_cart: IntArray,
) -> npt.NDArray[np.int8]:
    weights = tables[population.persona[user], last] * population.taste[user]
    weights[np.ix_(in_cart == 0, NEEDS_CART)] = 0
    weights[in_cart == CART_SIZE, CART] = 0
    edges = np.cumsum(weights, axis=1)
    drawn = (edges <= (rng.random(len(user)) * edges[:, -1])[:, None]).sum(axis=1, dtype=np.int8)
    drawn[(last == PURCHASE) & (in_cart > 0)] = PURCHASE
    # Rounding may put a draw on the last edge.
    event_type: npt.NDArray[np.int8] = np.minimum(drawn, np.int8(END))
    return event_type


def _draw_pauses_ms(
    rng: np.random.Generator, median_ms: FloatArray, same_order: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    size = len(median_ms)
    pause = median_ms * np.exp(PAUSE_SPREAD * rng.standard_normal(size))
    interrupted = rng.random(size) < INTERRUPTION_RATE
    pause[interrupted] += rng.uniform(*INTERRUPTION_MS, int(interrupted.sum()))
    pause = np.clip(pause, SHORTEST_PAUSE_MS, LONGEST_PAUSE_MS)
    pause[same_order] = rng.uniform(*SAME_ORDER_PAUSE_MS, int(same_order.sum()))
    return pause.astype(np.int64)
