"""Sessions as the machine leaves them, personas as one can tell them apart, and the rhythm of a week."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from data_generator.catalogue import load_catalogue
from data_generator.date_batch import generate_date_batch
from data_generator.population import PERSONAS_FILE, draw_population, load_personas
from tests.unit.data_generator.builders import (
    SESSION_GAP_MS,
    TUESDAY,
    events_of,
    make_batch,
    make_parameters,
    sessions_of,
    time_ms,
)

SATURDAY = date(2025, 4, 5)


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    return events_of(make_batch(events=40_000, users=4000))


@pytest.fixture(scope="module")
def sessions(events: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Whole ones: the last session drawn is cut to reach the number of events."""
    batch = make_batch(events=40_000, users=4000)
    cut = batch.sessions_table()["session_id"].to_pylist()[-1]
    return [session for session_id, session in sessions_of(events).items() if session_id != cut]


@pytest.fixture(scope="module")
def persona_of() -> dict[str, str]:
    table = make_batch(events=40_000, users=4000).users_table()
    return dict(zip(table["user_id"].to_pylist(), table["persona"].to_pylist(), strict=True))


def test_a_cart_never_holds_less_than_nothing_and_purchases_empty_it(sessions: list[list[dict[str, Any]]]) -> None:
    purchases = 0
    for session in sessions:
        cart: Counter[tuple[str, int]] = Counter()
        for event in session:
            item = (event.get("product_id", ""), event.get("quantity", 0))
            if event["event_type"] == "cart":
                cart[item] += 1
            elif event["event_type"] in {"remove_from_cart", "purchase"}:
                assert cart[item] > 0, "only what was put into the cart leaves it"
                cart[item] -= 1
                purchases += event["event_type"] == "purchase"
            elif event["event_type"] == "checkout":
                assert cart.total() > 0
    assert purchases > 500


def test_a_purchase_follows_a_checkout_and_the_whole_cart_is_bought(sessions: list[list[dict[str, Any]]]) -> None:
    for session in sessions:
        types = [event["event_type"] for event in session]
        in_cart = 0
        for position, event_type in enumerate(types):
            if event_type == "purchase":
                assert types[position - 1] in {"checkout", "purchase"}
            elif position and types[position - 1] == "purchase":
                assert in_cart == 0
            in_cart += {"cart": 1, "remove_from_cart": -1, "purchase": -1}.get(event_type, 0)


def test_a_view_after_a_click_is_of_the_clicked_product(sessions: list[list[dict[str, Any]]]) -> None:
    for session in sessions:
        for click, view in pairwise(session):
            if (click["event_type"], view["event_type"]) == ("click", "view"):
                assert view["product_id"] == click["product_id"]


def test_sessions_end_and_vary_in_length(sessions: list[list[dict[str, Any]]]) -> None:
    lengths = [len(session) for session in sessions]
    assert max(lengths) < 120, "no session was stopped by the limit"
    assert 4 < np.mean(lengths) < 12
    assert 0.03 < np.mean([length == 1 for length in lengths]) < 0.4


def test_pauses_within_a_session_are_shorter_than_thirty_minutes(sessions: list[list[dict[str, Any]]]) -> None:
    pauses = [time_ms(b) - time_ms(a) for session in sessions for a, b in pairwise(session)]
    assert min(pauses) > 0
    assert max(pauses) < SESSION_GAP_MS
    assert 5_000 < np.median(pauses) < 60_000


def test_sessions_of_a_user_lie_more_than_thirty_minutes_apart(events: list[dict[str, Any]]) -> None:
    by_user: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        by_user[event["user_id"]].append(event)
    borders = 0
    for own in by_user.values():
        for earlier, later in pairwise(own):
            if earlier["session_id"] != later["session_id"]:
                assert time_ms(later) - time_ms(earlier) > SESSION_GAP_MS
                borders += 1
    assert borders > 500


def test_sessions_stay_apart_over_midnight_too() -> None:
    last: dict[str, int] = {}
    crossings = 0
    for day in range(4):
        batch = make_batch(events=20_000, users=2000, date=TUESDAY + timedelta(days=day))
        table = batch.sessions_table().sort_by("first_event_time").to_pylist()
        for row in table:
            first = row["first_event_time"].timestamp() * 1000
            assert first - last.get(row["user_id"], 0) > SESSION_GAP_MS
            last[row["user_id"]] = round(row["last_event_time"].timestamp() * 1000)
            crossings += row["first_event_time"].date() != row["last_event_time"].date()
    assert crossings >= 5


def share_of(events: list[dict[str, Any]], event_type: str) -> float:
    return sum(1 for event in events if event["event_type"] == event_type) / len(events)


def test_personas_behave_differently(events: list[dict[str, Any]], persona_of: dict[str, str]) -> None:
    by_persona: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        by_persona[persona_of[event["user_id"]]].append(event)

    searches = {persona: share_of(own, "search") for persona, own in by_persona.items()}
    assert max(searches, key=searches.__getitem__) == "researcher"
    assert searches["researcher"] > 3 * searches["window_shopper"]

    bought = {p: share_of(own, "purchase") / max(share_of(own, "cart"), 1e-9) for p, own in by_persona.items()}
    assert bought["loyal_buyer"] > 2.5 * bought["cart_abandoner"]
    carts = {persona: share_of(own, "cart") for persona, own in by_persona.items()}
    assert min(carts, key=carts.__getitem__) == "window_shopper"

    # Prices within a category, so that the taste for categories does not speak.
    phones = {
        p: np.median([e["price"] for e in own if e.get("category_code") == "electronics.smartphone"])
        for p, own in by_persona.items()
    }
    assert min(phones, key=phones.__getitem__) == "bargain_hunter"
    quantities = {
        p: np.mean([e["quantity"] for e in own if e["event_type"] == "cart"]) for p, own in by_persona.items()
    }
    assert max(quantities, key=quantities.__getitem__) == "gift_buyer"


def test_users_vary_around_their_persona_so_that_personas_overlap(
    events: list[dict[str, Any]], persona_of: dict[str, str]
) -> None:
    by_user: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        by_user[event["user_id"]].append(event)
    searches: dict[str, list[float]] = defaultdict(list)
    for user, own in by_user.items():
        if len(own) >= 15:
            searches[persona_of[user]].append(share_of(own, "search"))
    assert np.percentile(searches["researcher"], 10) < np.percentile(searches["bargain_hunter"], 90)


def test_a_fifth_of_the_users_makes_more_than_two_fifths_of_the_events(
    events: list[dict[str, Any]], persona_of: dict[str, str]
) -> None:
    counts = sorted(Counter(event["user_id"] for event in events).values(), reverse=True)
    assert sum(counts[: len(persona_of) // 5]) > 0.4 * len(events)


def test_few_products_get_most_of_the_views(events: list[dict[str, Any]]) -> None:
    views = Counter(event["product_id"] for event in events if event["event_type"] == "view")
    products = len(load_catalogue(7))
    top_tenth = sum(count for _, count in views.most_common(products // 10))
    assert top_tenth > 0.4 * views.total()


def test_events_follow_the_hours_of_the_personas(events: list[dict[str, Any]], persona_of: dict[str, str]) -> None:
    def night_share(persona: str) -> float:
        hours = [event["event_time"][11:13] for event in events if persona_of[event["user_id"]] == persona]
        return sum(hour in {"23", "00", "01"} for hour in hours) / len(hours)

    hours = Counter(event["event_time"][11:13] for event in events)
    assert hours.total() / 24 * 0.6 > min(hours.values())
    assert hours.most_common(1)[0][0] in {"17", "18", "19", "20", "21"}
    assert night_share("cart_abandoner") > 2 * night_share("loyal_buyer")


def test_events_follow_the_days_of_the_week() -> None:
    def researchers_share(on: date) -> float:
        batch = make_batch(events=40_000, users=4000, date=on)
        names = np.array(batch.population.persona_names())
        return float(np.mean(names[batch.sessions.user[batch.events.session]] == "researcher"))

    assert researchers_share(TUESDAY) > 1.4 * researchers_share(SATURDAY)


def test_products_of_a_category_keep_to_its_brands_and_prices(events: list[dict[str, Any]]) -> None:
    categories = {category.code: category for category in load_catalogue(7).categories}
    seen: set[str] = set()
    for event in events:
        if "product_id" in event:
            category = categories[event["category_code"]]
            assert event["brand"] in category.brands
            assert category.price[0] - 0.1 <= event["price"] <= category.price[1] + 0.1
            seen.add(category.code)
    assert seen == set(categories)


def test_a_bigger_population_begins_with_the_smaller_one() -> None:
    catalogue = load_catalogue(1)
    small, big = draw_population(1, 50, catalogue), draw_population(1, 500, catalogue)
    for name in ("persona", "sessions_per_week", "taste", "hour_shift", "price_weights", "favourite_categories"):
        np.testing.assert_array_equal(getattr(small, name), getattr(big, name)[:50])


def broken_personas(tmp_path: Path, row: str, weights: dict[str, float]) -> Path:
    content = yaml.safe_load(PERSONAS_FILE.read_text(encoding="utf-8"))
    content["personas"]["researcher"]["transitions"][row] = weights
    file = tmp_path / "personas.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("row", "weights", "complaint"),
    [
        ("view", {"view": 1}, "lead to end"),
        ("view", {"purchase": 1, "end": 1}, "only checkout may lead to purchase"),
        ("view", {"swipe": 1, "end": 1}, "unknown event types: swipe"),
        ("start", {"checkout": 1}, "cannot start with a filled cart"),
    ],
)
def test_a_persona_that_breaks_the_rules_is_refused(
    tmp_path: Path, row: str, weights: dict[str, float], complaint: str
) -> None:
    with pytest.raises(ValueError, match=f"researcher.*{complaint}"):
        load_personas(broken_personas(tmp_path, row, weights))


def test_a_dense_date_still_keeps_sessions_apart() -> None:
    batch = generate_date_batch(make_parameters(events=30_000, users=600))
    rows = batch.sessions_table().sort_by("first_event_time").to_pylist()
    last: dict[str, Any] = {}
    for row in rows:
        if row["user_id"] in last:
            assert row["first_event_time"] - last[row["user_id"]] > timedelta(minutes=30)
        last[row["user_id"]] = row["last_event_time"]
    assert len(rows) > 5 * len(last), "dense: many sessions for each user"
